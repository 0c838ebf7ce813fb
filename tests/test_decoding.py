"""Greedy search: from rows of log-probabilities to text."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asrlib.decoding import greedy_search
from asrlib.text import BLANK, Tokenizer

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
