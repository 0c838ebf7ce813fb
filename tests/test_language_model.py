"""N-gram models: states, perplexity, pruning, and the compact file."""

import itertools
import math
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.language_model import SHIPPED, NGramModel
from tests.ngrams import (
    TEXT,
    assert_same,
    corpora,
    every_state,
    long_text,
    orders,
    sentences,
    sizes,
    sums,
    units,
)

# Corpora of tests are far too small for counts of counts, save where that is the question.
pytestmark = pytest.mark.filterwarnings("ignore:n-grams of order:UserWarning")


@given(corpora, orders, sentences)
def test_log_prob_is_score_word_by_word(lines, order, sentence):
    model = NGramModel.train(lines, order)
    states, history = np.array([model.start_state]), ["<s>"]
    for word in [*sentence.split(), "</s>"]:
        i = model.index.get(word, model.unknown)
        log_probs, states = model.score(states, np.array([i]))
        assert model.log_prob(word, history) == pytest.approx(log_probs[0], abs=1e-9)
        history.append(word)


def test_score_of_many_is_score_of_each():
    model = NGramModel.train(TEXT, order=4)
    dice = np.random.default_rng(0)
    states = dice.choice(every_state(model), 200)
    ids = dice.integers(len(model.words), size=200)
    log_probs, following = model.score(states, ids)
    for n in range(200):
        one, state = model.score(states[n : n + 1], ids[n : n + 1])
        assert (one[0], state[0]) == (log_probs[n], following[n])
    none = np.zeros(0, np.int64)
    assert [len(array) for array in model.score(none, none)] == [0, 0]


def test_a_word_id_out_of_range_is_named():
    model = NGramModel.train(TEXT, order=1)
    for i in (-1, len(model.words)):
        with pytest.raises(ValueError, match=f"outside 0..{len(model.words) - 1}"):
            model.score(np.array([0]), np.array([i]))


def test_a_word_id_out_of_range_is_named_after_every_history():
    model = NGramModel.train(TEXT, order=3)
    for state in every_state(model):
        for i in (-1, len(model.words), 10**6):  # as a key, each may be that of another n-gram
            with pytest.raises(ValueError, match=f"outside 0..{len(model.words) - 1}"):
                model.score(np.array([state, 0]), np.array([3, i]))


def test_histories_that_the_model_cannot_tell_apart_share_a_state():
    model = NGramModel.train(TEXT, order=3)

    def state_after(*history):
        state = np.array([model.empty_state])
        for word in history:
            state = model.score(state, np.array([model.index.get(word, model.unknown)]))[1]
        return state[0]

    assert state_after("the", "cat") != state_after("cat")
    assert state_after("away", "cat") == state_after("cat")  # "away cat" was never seen
    assert state_after("the", "zebra") == state_after("sat", "</s>") == model.empty_state
    assert state_after("<s>") == model.start_state != model.empty_state


def test_history_longer_than_the_order_and_unknown_words():
    model = NGramModel.train(TEXT, order=3)
    near = model.log_prob("sat", ["the", "cat"])
    assert model.log_prob("sat", ["on", "a", "zebra", "the", "cat"]) == near
    assert model.log_prob("sat", ("<s>", "the", "cat")) == near
    assert model.log_prob("zebra", ["the"]) == model.log_prob("<unk>", ["the"])
    assert model.log_prob("cat", ["zebra", "the"]) == model.log_prob("cat", ["the"])
    assert (
        model.log_prob("cat", ["the", "zebra"])
        == model.log_prob("cat")
        == model.log_prob("cat", [])
    )
    assert model.log_prob("cat") != model.log_prob("cat", ["<s>"])
    assert model.log_prob("<s>", ["the"]) < -200  # finite: sums with it stay numbers


def test_a_text_as_history_is_refused_for_words_only():
    with pytest.raises(ValueError, match="'the cat' is a text"):
        NGramModel.train(TEXT).log_prob("sat", "the cat")
    model = NGramModel.train(TEXT, unit="character")
    assert model.log_prob("e", "th") == model.log_prob("e", ["t", "h"]) > model.log_prob("a", "th")
    assert model.log_prob(" ", "e") > model.log_prob("z", "e")


def test_perplexity_is_of_words_and_ends_together():
    model = NGramModel.train(TEXT, order=3)
    total, n = 0.0, 0
    for line in ["the dog sat", "zebra", "the cat"]:
        history = ["<s>"]
        for word in [*line.split(), "</s>"]:
            total += model.log_prob(word, history)
            history.append(word)
            n += 1
    lines = iter(["the dog sat\n", "", "zebra", "  \n", "the cat"])
    assert model.perplexity(lines) == pytest.approx(math.exp(-total / n))


def test_perplexity_of_nothing_is_an_error():
    model = NGramModel.train(TEXT)
    for lines in ([], [""], "the cat", ["a </s> b"]):
        with pytest.raises(ValueError):
            model.perplexity(lines)


@given(corpora, orders, units, st.data())
def test_pruning_keeps_sums_at_one(lines, order, unit, data):
    model = NGramModel.train(lines, order, unit=unit)
    size = data.draw(st.integers(len(model.words), 2 * len(model.words) + 20))
    pruned = model.prune(max_ngrams=size)
    assert sum(sizes(pruned)) <= size
    np.testing.assert_allclose(sums(pruned), 1, atol=1e-5)


def test_pruning_takes_away_little_by_little():
    lines = long_text(600)
    model = NGramModel.train(lines)
    kept, perplexities = [], []
    for share in (1, 0.9, 0.7, 0.5, 0.3, 0.2):
        pruned = model.prune(max_ngrams=max(int(share * sum(sizes(model))), len(model.words)))
        kept.append(sum(sizes(pruned)))
        perplexities.append(pruned.perplexity(lines))
    assert kept == sorted(kept, reverse=True) and kept[-1] < 0.21 * kept[0]
    assert kept[0] == sum(sizes(model))
    assert perplexities[0] == pytest.approx(model.perplexity(lines), rel=1e-5)
    assert perplexities == sorted(perplexities)
    assert perplexities[1] < 1.05 * perplexities[0]


def test_the_loss_of_an_ngram_is_the_relative_entropy_of_leaving_it_out():
    model = NGramModel.train(TEXT, order=2)
    n = len(model.words)
    unigrams = np.exp(model.score(np.zeros(n, np.int64), np.arange(n))[0])
    losses = model._losses()
    for number, key in enumerate(model._keys.tolist()):
        if number <= n:  # the empty n-gram and the unigrams
            continue
        context, word = divmod(key, n)
        p = np.exp(model.score(np.full(n, context), np.arange(n))[0])
        listed = np.isin(context * n + np.arange(n), model._keys)
        listed[word] = False
        without = np.where(
            listed, p, unigrams * (1 - p[listed].sum()) / (1 - unigrams[listed].sum())
        )
        history = unigrams[model.end if model.words[context - 1] == "<s>" else context - 1]
        possible = np.arange(n) != model.index["<s>"]
        expected = history * (p * np.log(p / without))[possible].sum()
        assert losses[number] == pytest.approx(expected, abs=1e-7)


def test_a_pruned_model_survives_its_files(tmp_path):
    pruned = NGramModel.train(long_text(60), order=4).prune(max_ngrams=400)
    suffixes_gone = (
        np.diff(pruned._first)[3] > 0
        and (pruned._suffix < pruned._first[2])[pruned._first[3] :].any()
    )
    assert suffixes_gone, "no n-gram outlived its suffix: the case is not tested"
    pruned.save_arpa(tmp_path / "m.arpa")
    assert_same(pruned, NGramModel.load_arpa(tmp_path / "m.arpa"), atol=1e-5)
    pruned.save(tmp_path / "m.npz")
    assert_same(pruned, NGramModel.load(tmp_path / "m.npz"), atol=2e-3)


def test_pruning_by_threshold_and_its_limits():
    model = NGramModel.train(TEXT)
    assert sizes(model.prune(threshold=1e9)) == [len(model.words), 0, 0]
    assert sizes(model.prune(threshold=-1e9)) == sizes(model)
    assert sizes(model.prune(max_ngrams=len(model.words))) == [len(model.words), 0, 0]
    assert sum(sizes(model)) > sum(sizes(model.prune(threshold=0.01))) > len(model.words)
    for arguments in ({}, {"max_ngrams": 9, "threshold": 0.1}, {"max_ngrams": 3}):
        with pytest.raises(ValueError, match="max_ngrams"):
            model.prune(**arguments)


def test_pruning_removes_what_the_lower_order_knows_already():
    # "b" follows both contexts as often as anything; "z" follows only x, and always.
    model = NGramModel.train(["x z"] * 20 + ["a b", "c b", "b b", "z b"], order=2)
    pruned = model.prune(max_ngrams=len(model.words) + 4)
    assert pruned.log_prob("z", ["x"]) == pytest.approx(model.log_prob("z", ["x"]), abs=1e-6)
    assert pruned.log_prob("b", ["c"]) != pytest.approx(model.log_prob("b", ["c"]), abs=1e-6)


@settings(max_examples=15)
@given(lines=corpora, order=orders, unit=units)
def test_save_and_load(tmp_path_factory, lines, order, unit):
    path = tmp_path_factory.mktemp("lm") / "model"
    model = NGramModel.train(lines, order, unit=unit)
    model.save(path)
    assert_same(model, NGramModel.load(path), atol=5e-4)
    model.save(path, bits=8)
    np.testing.assert_allclose(sums(NGramModel.load(path)), 1, atol=1e-5)


def test_rounding_to_few_bits_costs_little(tmp_path):
    lines = long_text()
    model = NGramModel.train(lines).prune(max_ngrams=1000)
    for bits, most in ((16, 1e-4), (8, 0.002), (6, 0.02)):
        model.save(tmp_path / "m", bits=bits)
        loaded = NGramModel.load(tmp_path / "m")
        assert loaded.perplexity(lines) == pytest.approx(model.perplexity(lines), rel=most)
        np.testing.assert_allclose(sums(loaded), 1, atol=1e-5)
    for bits in (3, 17):
        with pytest.raises(ValueError, match=f"bits is {bits}"):
            model.save(tmp_path / "m", bits=bits)


def test_a_saved_model_that_is_broken_is_named(tmp_path):
    path = tmp_path / "m.npz"
    NGramModel.train(TEXT).save(path)
    whole = path.read_bytes()
    for data in (b"", b"no zip", whole[:100], whole[:-30], whole.replace(b"steps", b"stops")):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"m\.npz: not a whole file"):
            NGramModel.load(path)
    np.savez(path, info=np.frombuffer(b'{"format": 99}', np.uint8))
    with pytest.raises(ValueError, match="format 99; this version reads 1"):
        NGramModel.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    model, path = NGramModel.train(TEXT), tmp_path / "m"
    for save in (model.save, model.save_arpa):
        path.write_text("old")
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
            with pytest.raises(OSError, match="disk full"):
                save(path)
        assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_the_shipped_model():
    assert SHIPPED["books"].stat().st_size <= 3_000_000
    begin = time.perf_counter()
    model = NGramModel.load()
    assert time.perf_counter() - begin < 5  # 0.4 s where it was measured
    assert (model.order, model.unit) == (3, "word")
    assert model.log_prob("been", ["had"]) > model.log_prob("bean", ["had"])
    assert model.perplexity(["he was not in the house"]) < 200
    states = np.array([0, model.start_state, model.score(np.array([0]), np.array([3]))[1][0]])
    for state in states:
        n = len(model.words)
        log_probs, _ = model.score(np.full(n, state), np.arange(n))
        assert np.exp(log_probs).sum() == pytest.approx(1, abs=1e-4)


def test_books_of_the_real_text():
    books = Path(os.environ.get("ASRLIB_DATA", "/nowhere")) / "lm" / "books.txt"
    if not books.is_file():
        pytest.skip("ASRLIB_DATA names no folder that holds lm/books.txt")
    with open(books, encoding="utf-8") as file:
        lines = [line.lower() for line in itertools.islice(file, 14_000)]
    held_out = lines[12_000:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # real text has the counts of counts it takes
        models = [NGramModel.train(lines[:12_000], order) for order in (1, 2, 3)]
    perplexities = [model.perplexity(held_out) for model in models]
    assert perplexities == sorted(perplexities, reverse=True)
