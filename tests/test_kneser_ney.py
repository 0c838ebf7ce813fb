"""Counting and smoothing, against dictionaries that follow the formulas word by word."""

import itertools
import math
import warnings
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.kneser_ney import _discounts, estimate
from asrlib.language_model import NGramModel
from tests.ngrams import TEXT, corpora, long_text, orders, splitter, sums, units, words

# Corpora of tests are far too small for counts of counts, save where that is the question.
pytestmark = pytest.mark.filterwarnings("ignore:n-grams of order:UserWarning")


class SlowKneserNey:
    """Interpolated modified Kneser-Ney with dictionaries: the formulas and nothing else."""

    def __init__(self, lines, order, split):
        self.order = order
        sentences = [["<s>", *split(line), "</s>"] for line in lines]
        self.vocabulary = {w for s in sentences for w in s} - {"<s>"} | {"<unk>"}
        raw = [Counter() for _ in range(order + 1)]
        for sentence, k in itertools.product(sentences, range(1, order + 1)):
            for at in range(len(sentence) - k + 1):
                raw[k][tuple(sentence[at : at + k])] += 1
        self.counts = raw[: order + 1]
        for k in range(1, order):
            before = defaultdict(set)
            for gram in raw[k + 1]:
                before[gram[1:]].add(gram[0])
            self.counts[k] = {
                gram: n if gram[0] == "<s>" else len(before[gram]) for gram, n in raw[k].items()
            }
        self.counts[1] = {g: n for g, n in self.counts[1].items() if g != ("<s>",)}
        self.discounts = [None, *(self.estimate(self.counts[k]) for k in range(1, order + 1))]

    @staticmethod
    def estimate(counts):
        n = [sum(1 for c in counts.values() if c == i) for i in range(5)]
        if all(n[1:]):
            y = n[1] / (n[1] + 2 * n[2])
            d = [1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
            if min(d) > 0:
                return d
        return [0.5, 0.5, 0.5]

    def prob(self, word, history):
        history = tuple(history)[max(0, len(history) - self.order + 1) :]
        k = len(history) + 1
        lower = self.prob(word, history[1:]) if history else 1 / len(self.vocabulary)
        here = {g: n for g, n in self.counts[k].items() if g[:-1] == history}
        if not here:
            return lower
        discount = {g: self.discounts[k][min(n, 3) - 1] for g, n in here.items()}
        gram, total = (*history, word), sum(here.values())
        own = here[gram] - discount[gram] if gram in here else 0
        return own / total + sum(discount.values()) / total * lower


@given(corpora, orders, units)
def test_probabilities_sum_to_one_after_every_history(lines, order, unit):
    model = NGramModel.train(lines, order, unit=unit)
    np.testing.assert_allclose(sums(model), 1, atol=1e-5)
    seen = {w for line in lines for w in splitter(unit)(line)}
    assert sorted(model.words) == sorted(seen | {"<s>", "</s>", "<unk>"})


@given(corpora, st.integers(2, 4), units)
def test_sums_hold_for_histories_of_words(lines, order, unit):
    # By log_prob alone, so that the states of score() are not trusted here.
    model = NGramModel.train(lines, order, unit=unit)
    some = [*model.words[3:6], "<unk>", "never seen"]
    for history in [[], ["<s>"], *([a, b] for a in some for b in some[:2])]:
        total = sum(math.exp(model.log_prob(w, history)) for w in model.words if w != "<s>")
        assert total == pytest.approx(1, abs=1e-5)


@settings(max_examples=25)
@given(corpora, orders, units, st.lists(words, max_size=4))
def test_against_dictionaries(lines, order, unit, history):
    slow = SlowKneserNey(lines, order, splitter(unit))
    model = NGramModel.train(lines, order, unit=unit)
    if unit == "character":
        history = [symbol[0] for symbol in history]
    for given_words in (history, ["<s>", *history], history[1:]):
        for word in sorted(slow.vocabulary):
            expected = math.log(slow.prob(word, given_words))
            assert model.log_prob(word, given_words) == pytest.approx(expected, abs=1e-5)


def test_against_dictionaries_with_three_real_discounts():
    lines = long_text()
    slow = SlowKneserNey(lines, 3, str.split)
    assert all(len(set(d)) == 3 for d in slow.discounts[1:]), "the text gives no discounts"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = NGramModel.train(lines)
    for line in lines[:25]:
        history = ["<s>"]
        for word in [*line.split(), "</s>"]:
            expected = math.log(slow.prob(word, history))
            assert model.log_prob(word, history) == pytest.approx(expected, abs=1e-5)
            history.append(word)


def test_discounts_by_hand():
    # n1 = 8, n2 = 4, n3 = 2, n4 = 1: Y = 8 / 16.
    counts = np.array([1] * 8 + [2] * 4 + [3] * 2 + [4] + [9] * 3)
    expected = [1 - 2 * 0.5 * 4 / 8, 2 - 3 * 0.5 * 2 / 4, 3 - 4 * 0.5 * 1 / 2]
    np.testing.assert_allclose(_discounts(counts), expected)


@pytest.mark.parametrize(
    "counts",
    [[1, 1, 2, 2, 4], [2, 2, 3, 4], [1, 2, 3], [1, 2] + [3] * 9 + [4]],
    ids=["no n3", "no n1", "no n4", "below zero"],
)
def test_degenerate_counts_of_counts_give_no_discounts(counts):
    assert _discounts(np.array(counts)) is None


def test_degenerate_counts_of_counts_warn_and_become_one_half():
    with pytest.warns(UserWarning, match="order 1, 2: .* so 0.5 is taken") as caught:
        model = NGramModel.train(["a"], order=2)
    assert len(caught) == 1
    # p(a) = (1 - 0.5) / 2 + 0.5 / 3; p(a|<s>) = 0.5 + 0.5 p(a).
    assert math.exp(model.log_prob("a", ["<s>"])) == pytest.approx(0.5 + 0.5 * (0.25 + 0.5 / 3))


def test_a_bigram_by_hand():
    # All discounts 0.5. Bigram types: <s>a, ab, b</s>, <s>b -> unigram counts a 1, b 2, </s> 1.
    model = NGramModel.train(["a b", "b"], order=2)
    p = {"a": 0.5 / 4, "b": 1.5 / 4, "</s>": 0.5 / 4, "<unk>": 0}
    p = {word: own + 1.5 / 4 / 4 for word, own in p.items()}  # four words share 3 * 0.5 / 4
    assert math.exp(model.log_prob("<unk>")) == pytest.approx(1.5 / 16)
    assert math.exp(model.log_prob("b")) == pytest.approx(p["b"])
    assert math.exp(model.log_prob("b", ["a"])) == pytest.approx(0.5 + 0.5 * p["b"])
    assert math.exp(model.log_prob("a", ["<s>"])) == pytest.approx(0.25 + 0.5 * p["a"])
    assert math.exp(model.log_prob("a", ["a"])) == pytest.approx(0.5 * p["a"])
    product = (0.25 + 0.5 * p["b"]) * (0.75 + 0.25 * p["</s>"])  # b</s> occurs twice
    assert model.perplexity(["b"]) == pytest.approx(product**-0.5, rel=1e-5)


def test_the_lower_order_counts_contexts_not_occurrences():
    model = NGramModel.train(["san francisco"] * 9 + ["a dog", "my dog", "the dog"], order=2)
    assert model.log_prob("dog") > model.log_prob("francisco")
    assert model.log_prob("francisco", ["san"]) > math.log(0.9)


def test_uniform_text_is_learned_as_uniform():
    model = NGramModel.train(list("abcdefgh"), order=1)
    assert math.exp(model.log_prob("a")) == pytest.approx(math.exp(model.log_prob("h")))
    assert model.log_prob("</s>") > model.log_prob("a")


@pytest.mark.parametrize("unit", ["word", "character"])
def test_empty_lines_and_white_space_around_change_nothing(unit):
    plain = NGramModel.train(TEXT, unit=unit)
    spaced = NGramModel.train(["", *(f" {line} \r\n" for line in TEXT), "\n"], unit=unit)
    assert plain.words == spaced.words
    assert plain.perplexity(TEXT) == spaced.perplexity(["\t", *TEXT])


def test_a_cut_vocabulary_keeps_the_most_frequent_words():
    lines = ["a a a b b c", "a b d"]
    model = NGramModel.train(lines, order=2, max_words=2)
    assert model.words == ["<unk>", "<s>", "</s>", "a", "b"]
    assert model.index["b"] == 4 and (model.unknown, model.end) == (0, 2)
    same = NGramModel.train(["a a a b b <unk>", "a b <unk>"], order=2)
    assert model.log_prob("c", ["b"]) == pytest.approx(same.log_prob("<unk>", ["b"]))
    assert model.log_prob("<unk>", ["b"]) > model.log_prob("a", ["b"])
    rare = NGramModel.train(lines, order=2, min_counts=(2, 2))
    assert rare.words == model.words
    np.testing.assert_allclose(sums(rare), 1, atol=1e-5)


@given(corpora, st.sampled_from([(1, 2), (1, 1, 2), (1, 2, 3, 3), (2, 2, 2)]))
def test_cut_offs_leave_sums_alone(lines, min_counts):
    model = NGramModel.train(lines, order=4, min_counts=min_counts)
    np.testing.assert_allclose(sums(model), 1, atol=1e-5)


def test_cut_offs_drop_what_is_rare(tmp_path):
    NGramModel.train(["a b", "a b", "a c"], order=2, min_counts=(1, 2)).save_arpa(tmp_path / "m")
    grams = (tmp_path / "m").read_text().partition("\\2-grams:")[2]
    assert "\ta b\n" in grams and "<s> a" in grams and "a c" not in grams


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lines": []}, "no word"),
        ({"lines": ["", " \n"]}, "no word"),
        ({"lines": "the cat"}, "put it into a list"),
        ({"lines": ["a <s> b"]}, "<s> and </s> are added"),
        ({"order": 0}, "order 0"),
        ({"unit": "phone"}, "'phone'"),
        ({"min_counts": (2, 1)}, r"\(2, 1\) must begin"),
        ({"min_counts": (0, 1)}, r"\(0, 1\) must begin"),
        ({"min_counts": ()}, r"\(\) must begin"),
        ({"max_words": 0}, "max_words is 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        NGramModel.train(**{"lines": TEXT, **arguments})


def test_numbers_of_each_order_follow_one_another():
    ngrams = estimate(["a b", "b"], order=3)
    assert ngrams.first == [0, 1, 6, 10, 13]  # five words; <s> a, <s> b, a b, b </s>; ...
    assert len(ngrams.keys) + 1 == len(ngrams.log_prob) == len(ngrams.backoff)
    assert (np.diff(ngrams.keys) > 0).all()
