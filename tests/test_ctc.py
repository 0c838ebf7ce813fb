"""CTC: what an utterance needs."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asrlib.ctc import required_frames
from asrlib.text import BLANK, Tokenizer


def shortest_path(targets, symbols):
    """Try all paths of 0, 1, 2, ... frames until one collapses to the targets."""
    for frames in itertools.count():
        for path in itertools.product((BLANK, *symbols), repeat=frames):
            runs = [symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK]
            if runs == list(targets):
                return frames


@pytest.mark.parametrize("labels", range(5))
def test_required_frames_equal_the_shortest_path_of_all(labels):
    for targets in itertools.product((3, 4), repeat=labels):
        assert required_frames(torch.tensor(targets, dtype=torch.int64)) == shortest_path(
            targets, (3, 4)
        )


@pytest.mark.parametrize(
    ("text", "frames"), [("", 0), ("a", 1), ("aa", 3), ("aaa", 5), ("hello", 6), ("a a", 3)]
)
def test_required_frames_of_words(text, frames):
    assert required_frames(Tokenizer().encode(text)) == frames


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_torch_has_a_path_from_the_required_frames_on_and_not_before(targets):
    frames = required_frames(torch.tensor(targets))

    def loss(frames):
        return torch.nn.functional.ctc_loss(
            torch.zeros(frames, 1, 5).log_softmax(-1),
            torch.tensor([targets]),
            torch.tensor([frames]),
            torch.tensor([len(targets)]),
            reduction="sum",
        )

    assert torch.isfinite(loss(frames))
    assert frames == 1 or torch.isinf(loss(frames - 1))
