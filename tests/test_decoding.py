"""From rows of log-probabilities to text: greedy search, and prefix beam search by its oracles."""

import itertools
import math

import fast_ctc_decode
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.ctc import ctc_loss, forced_align
from asrlib.decoding import beam_search, greedy_search, prefix_beam_search
from asrlib.fusion import Fusion
from asrlib.language_model import NGramModel
from asrlib.text import BLANK, Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:order")  # tiny texts have no discounts
paths = st.lists(st.sampled_from([0, 0, 1, 2, 3, 14, 28]), min_size=1, max_size=25)


def log_probs_of(path, vocab=29, seed=0):
    """Log-probabilities whose likeliest symbol in each frame is the path's."""
    logits = torch.rand(len(path), vocab, generator=torch.Generator().manual_seed(seed))
    logits[torch.arange(len(path)), torch.tensor(path, dtype=torch.int64)] += 1.0
    return logits.log_softmax(dim=-1)


def search_one(path):
    return greedy_search(log_probs_of(path)[None], torch.tensor([len(path)]))[0]


@given(paths)
def test_the_text_is_the_collapsed_path(path):
    assert search_one(path).text == Tokenizer().collapse(path)


@given(paths)
def test_text_tokens_timesteps_and_score_fit_together(path):
    found = search_one(path)
    assert found.text == Tokenizer().decode(found.tokens)  # nothing stripped
    assert len(found.tokens) == len(found.timesteps)
    for token, frame in zip(found.tokens, found.timesteps, strict=True):
        assert path[frame] == token != BLANK
        assert frame == 0 or path[frame - 1] != token  # the first frame of its run
    assert found.timesteps == sorted(set(found.timesteps))
    assert found.score == pytest.approx(
        float(log_probs_of(path).max(dim=-1).values.sum()), abs=1e-5
    )


@pytest.mark.parametrize(
    ("path", "text", "timesteps"),
    [
        ([0, 5, 5, 3, 0, 22], "cat", [1, 3, 5]),
        ([14, 14, 0, 14], "ll", [0, 3]),  # a blank keeps two equal letters apart
        ([1, 3, 1, 1], " a ", [0, 1, 2]),  # outer spaces stay
        ([3, 0, 0, 0], "a", [0]),
        ([7], "e", [0]),
        ([0], "", []),
        ([0, 0, 0], "", []),
    ],
)
def test_repeats_merge_and_blanks_separate(path, text, timesteps):
    found = search_one(path)
    assert (found.text, found.timesteps) == (text, timesteps)


def test_rows_past_the_length_are_ignored_even_nan():
    log_probs = torch.full((3, 6, 29), math.nan)
    log_probs[0, :4] = log_probs_of([3, 4, 0, 4])
    log_probs[1] = log_probs_of([8, 8, 8, 8, 8, 5])
    log_probs[2, :0] = 0
    found = greedy_search(log_probs, torch.tensor([4, 6, 0]))
    assert [hypothesis.text for hypothesis in found] == ["abb", "fc", ""]
    assert [hypothesis.timesteps for hypothesis in found] == [[0, 1, 3], [0, 5], []]
    assert found[0].score == pytest.approx(search_one([3, 4, 0, 4]).score)
    assert found[2].score == 0


def test_a_letter_past_the_length_does_not_appear():
    log_probs = log_probs_of([3, 0, 4])[None]
    assert greedy_search(log_probs, torch.tensor([2]))[0].text == "a"


def test_nan_within_the_length_is_refused_with_the_utterance():
    log_probs = torch.stack([log_probs_of([3, 4]), log_probs_of([3, 4])])
    log_probs[1, 1, 7] = math.nan
    with pytest.raises(ValueError, match="utterance 1: NaN"):
        greedy_search(log_probs, torch.tensor([2, 2]))


@pytest.mark.parametrize("lengths", [[3, 2], [2, -1]])
def test_lengths_outside_the_frames_are_refused(lengths):
    with pytest.raises(ValueError, match=r"must lie in 0\.\.2"):
        greedy_search(torch.zeros(2, 2, 29), torch.tensor(lengths))


def test_shapes_that_do_not_match_are_refused(unchecked_types):
    for log_probs, lengths in [
        (torch.zeros(2, 29), torch.tensor([2, 2])),
        (torch.zeros(2, 2, 29), torch.tensor([2])),
    ]:
        with pytest.raises(ValueError, match="lengths disagree"):
            greedy_search(log_probs, lengths)


def test_impossible_symbols_do_not_disturb():
    log_probs = torch.full((1, 2, 29), -math.inf)
    log_probs[0, 0, 3] = log_probs[0, 1, 4] = 0.0
    found = greedy_search(log_probs, torch.tensor([2]))[0]
    assert (found.text, found.score) == ("ab", 0.0)


def test_another_alphabet_spells_its_own_text():
    log_probs = log_probs_of([2, 0, 1], vocab=3)[None]
    assert greedy_search(log_probs, torch.tensor([3]), Tokenizer("xy"))[0].text == "yx"


def test_hypotheses_come_in_the_order_of_the_batch():
    log_probs = torch.stack([log_probs_of([n]) for n in (5, 3, 22)])
    found = greedy_search(log_probs, torch.tensor([1, 1, 1]))
    assert [hypothesis.text for hypothesis in found] == ["c", "a", "t"]


# ---- prefix beam search


@st.composite
def utterances(draw, most_frames=5, most_symbols=4):
    """(frames, vocab) in float64; some with symbols of probability 0."""
    frames, vocab = draw(st.integers(0, most_frames)), draw(st.integers(2, most_symbols))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    logits = 2 * torch.randn(frames, vocab, generator=generator, dtype=torch.float64)
    if draw(st.booleans()):
        logits[torch.rand(frames, vocab, generator=generator) < 0.3] = -math.inf
        logits[:, 0] = 0.0  # something is always possible
    return logits.log_softmax(-1)


def every_text(log_probs):
    """The probability of each text: the sum over all paths there are."""
    totals = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        text = tuple(s for s, _ in itertools.groupby(path) if s != BLANK)
        p = math.exp(sum(float(row[symbol]) for row, symbol in zip(log_probs, path)))
        totals[text] = totals.get(text, 0.0) + p
    return {text: p for text, p in totals.items() if p}


def search_all(log_probs, beam_size, **options):
    options.setdefault("tokenizer", Tokenizer("abcdefghijkl"[: log_probs.shape[1] - 1]))
    return beam_search(log_probs[None], torch.tensor([len(log_probs)]), beam_size, **options)[0]


@settings(max_examples=150)
@given(utterances())
def test_a_beam_that_drops_nothing_gives_every_text_its_whole_probability(log_probs):
    expected = every_text(log_probs)
    found = search_all(log_probs, 2000)
    assert {tuple(h.tokens) for h in found} == set(expected)
    for hypothesis in found:
        assert math.exp(hypothesis.score) == pytest.approx(expected[tuple(hypothesis.tokens)])
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    for tokens, score in prefix_beam_search(log_probs, 2000):
        assert math.exp(score) == pytest.approx(expected[tuple(tokens)])


@settings(max_examples=150)
@given(utterances(most_frames=25, most_symbols=7), st.integers(1, 12))
def test_the_fast_search_returns_what_the_readable_one_returns(log_probs, beam_size):
    slow = prefix_beam_search(log_probs, beam_size)
    fast = search_all(log_probs, beam_size)
    assert [h.tokens for h in fast] == [tokens for tokens, _ in slow]
    assert [h.score for h in fast] == pytest.approx([score for _, score in slow], abs=1e-9)


def emissions(kind, frames=400, seed=0):
    """What a trained network gives, or hardly anything, or noise: (frames, 29) in float32."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(frames, 29, generator=generator)
    if kind != "random":
        text = Tokenizer().encode("the quick brown fox jumps over the lazy dog " * 3)
        sharpness = {"trained": 12.0, "flat": 2.0}[kind]
        logits[:, BLANK] += 0.8 * sharpness
        for n, token in enumerate(text.tolist()):
            start = n * frames // len(text)
            logits[start : start + 2, token] += 1.4 * sharpness
    return logits.log_softmax(-1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["trained", "flat", "random"])
def test_long_utterances_are_read_as_fast_ctc_decode_reads_them(kind, seed):
    log_probs = emissions(kind, seed=seed)
    theirs, _ = fast_ctc_decode.beam_search(
        log_probs.exp().numpy(), "-" + Tokenizer().alphabet, beam_size=50, beam_cut_threshold=0.0
    )
    found = search_all(log_probs, 50, tokenizer=Tokenizer())
    assert found[0].text == theirs
    assert len(found) == 50 == len({h.text for h in found})


@pytest.mark.parametrize("kind", ["trained", "flat", "random"])
def test_no_score_exceeds_the_text_s_probability_and_the_best_comes_close(kind):
    log_probs = emissions(kind, frames=120).double()
    found = search_all(log_probs, 64, tokenizer=Tokenizer())
    for n, hypothesis in enumerate(found):
        lengths = torch.tensor([120]), torch.tensor([len(hypothesis.tokens)])
        whole = -float(ctc_loss(log_probs[:, None], torch.tensor([hypothesis.tokens]), *lengths))
        assert hypothesis.score <= whole + 1e-9
        assert n > 0 or hypothesis.score > whole - 5  # the beam held the paths that matter


@settings(max_examples=100)
@given(utterances(most_frames=25, most_symbols=7), st.integers(1, 12))
def test_timesteps_rise_and_lie_on_frames(log_probs, beam_size):
    for hypothesis in search_all(log_probs, beam_size):
        assert len(hypothesis.timesteps) == len(hypothesis.tokens)
        assert hypothesis.timesteps == sorted(set(hypothesis.timesteps))
        assert all(0 <= t < len(log_probs) for t in hypothesis.timesteps)
        twins = zip(
            hypothesis.tokens, hypothesis.tokens[1:], itertools.pairwise(hypothesis.timesteps)
        )
        assert all(b - a > 1 for x, y, (a, b) in twins if x == y)  # room for a blank


def test_letters_appear_where_the_best_alignment_has_them():
    log_probs = emissions("trained")
    best = search_all(log_probs, 16, tokenizer=Tokenizer())[0]
    spans = forced_align(log_probs, torch.tensor(best.tokens))
    off = [abs(t - span.start_frame) for t, span in zip(best.timesteps, spans)]
    assert sum(off) / len(off) < 0.1 and max(off) <= 2


def test_a_letter_appears_where_it_is_likely_not_where_the_beam_first_had_room_for_it():
    chance = torch.tensor([0.05, 0.05, 0.05, 0.05, 0.9, 0.05])
    log_probs = torch.stack([1 - chance, chance], dim=1).log()
    best = search_all(log_probs, 8)[0]
    assert (best.text, best.timesteps) == ("a", [4])
    assert forced_align(log_probs, torch.tensor([1]))[0].start_frame == 4


@given(paths)
def test_a_sure_network_is_read_as_greedy_search_reads_it(path):
    log_probs = (20 * log_probs_of(path)).log_softmax(-1)
    greedy = greedy_search(log_probs[None], torch.tensor([len(path)]))[0]
    best = search_all(log_probs, 8, tokenizer=Tokenizer())[0]
    assert best.tokens == greedy.tokens


def test_each_utterance_is_searched_as_if_alone_and_padding_is_not_read():
    log_probs = torch.full((3, 30, 29), math.nan)
    lengths = [30, 12, 0]
    for n, length in enumerate(lengths):
        log_probs[n, :length] = emissions("flat", frames=30, seed=n)[:length]
    together = beam_search(log_probs, torch.tensor(lengths), 5)
    for n, length in enumerate(lengths):
        assert together[n] == search_all(log_probs[n, :length], 5, tokenizer=Tokenizer())
    assert [(h.text, h.score, h.timesteps) for h in together[2]] == [("", 0.0, [])]


def test_the_text_is_the_decoded_tokens_with_nothing_stripped():
    for hypothesis in search_all(log_probs_of([1, 3, 1, 1]), 20, tokenizer=Tokenizer()):
        assert hypothesis.text == Tokenizer().decode(hypothesis.tokens)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.__setitem__((1, 1, 7), math.nan), "utterance 1: NaN"),
        (lambda x: x.__setitem__((1, 1), -math.inf), "utterance 1, frame 1: no symbol is possible"),
    ],
)
def test_unusable_emissions_are_refused_by_name(change, message):
    log_probs = torch.stack([log_probs_of([3, 4]), log_probs_of([3, 4])])
    change(log_probs)
    with pytest.raises(ValueError, match=message):
        beam_search(log_probs, torch.tensor([2, 2]))


def test_a_beam_of_nothing_and_hot_words_without_a_model_are_refused():
    with pytest.raises(ValueError, match="beam_size 0"):
        beam_search(torch.zeros(1, 2, 29), torch.tensor([2]), beam_size=0)
    with pytest.raises(ValueError, match="hot words take part through a language model"):
        beam_search(torch.zeros(1, 2, 29), torch.tensor([2]), hot_words={"king": 5.0})


def test_without_a_language_model_alpha_and_beta_are_ignored():
    log_probs = emissions("flat", frames=40)
    plain = search_all(log_probs, 8, tokenizer=Tokenizer())
    assert search_all(log_probs, 8, tokenizer=Tokenizer(), alpha=3.0, beta=-9.0) == plain


# ---- with a language model: tests/test_fusion.py has the scores, here is the search


@settings(max_examples=20)
@given(utterances(most_frames=5, most_symbols=4), st.sampled_from(["word", "character"]))
def test_with_a_language_model_the_ranking_is_that_of_all_texts(log_probs, unit):
    tokenizer = Tokenizer(" ab"[: log_probs.shape[1] - 1])
    model = NGramModel.train(["ab a", "a b ab", "b", "aa b"], order=2, unit=unit)
    fusion = Fusion(model, 0.7, 0.4, tokenizer=tokenizer)
    expected = {t: math.log(p) + fusion.score(list(t)) for t, p in every_text(log_probs).items()}
    for found in (
        search_all(log_probs, 2000, tokenizer=tokenizer, language_model=fusion),
        search_all(log_probs, 2000, tokenizer=tokenizer, language_model=model, alpha=0.7, beta=0.4),
    ):
        scores = [h.score for h in found]
        assert scores == sorted(scores, reverse=True)
        assert {tuple(h.tokens) for h in found} == set(expected)
        assert scores == pytest.approx([expected[tuple(h.tokens)] for h in found])


def test_a_language_model_decides_between_words_that_sound_alike():
    sound = Tokenizer().encode("we sea it")
    logits = torch.full((2 * len(sound), 29), -4.0)
    logits[0::2].scatter_(1, sound[:, None], 2.0)
    logits[1::2, BLANK] = 2.0
    place = 2 * 5  # the last letter of "sea": an "e" is nearly as likely
    logits[place, Tokenizer().encode("e")] = 1.8
    log_probs = logits.log_softmax(-1)
    assert search_all(log_probs, 16, tokenizer=Tokenizer())[0].text == "we sea it"
    model = NGramModel.train(["we see it", "we see the sea", "see it"])
    heard = search_all(log_probs, 16, tokenizer=Tokenizer(), language_model=model)[0]
    assert heard.text == "we see it"
