"""Exercises of notebook 03: typical wrong answers fail and are named."""

import pytest
import torch

from asrlib.exercises import text_and_batches as check

CHECKS = {
    "my_frames": check.check_required,
    "my_waste": check.check_waste,
    "my_output_lengths": check.check_output_lengths,
    "my_reverse": check.check_reverse,
}


def mean_waste(durations, batches):
    ratios = [len(b) * max(durations[i] for i in b) / sum(durations[i] for i in b) for b in batches]
    return sum(ratios) / len(ratios)


def boxes(durations, batches):
    return sum(len(b) * max(durations[i] for i in b) for b in batches)


def reverse_in_place(x, lengths):
    for row, n in zip(x, lengths.tolist()):
        row[:n] = row[:n].flip(0)
    return x


def reverse_and_zero(x, lengths):
    real = torch.arange(x.shape[1]) < lengths[:, None]
    source = (lengths[:, None] - 1 - torch.arange(x.shape[1])).clamp(min=0)
    return x.gather(1, source) * real


WRONG = [
    ("my_frames", 11, 'would collapse to "s"'),
    ("my_frames", 13, "ss occurs twice"),
    ("my_frames", 12, "three pairs"),
    ("my_frames", 17, "one blank between"),
    ("my_frames", 22, "letters that differ"),
    ("my_frames", 23, "states of the CTC trellis"),
    ("my_frames", 5, "one frame a letter"),
    ("my_waste", mean_waste, "mean over batches"),
    ("my_waste", lambda d, b: 1 - sum(d) / boxes(d, b), "share of padding"),
    ("my_waste", lambda d, b: sum(d) / boxes(d, b), "upside down"),
    ("my_waste", lambda d, b: boxes(d, b) / sum(d) - 1, "left out the sound"),
    ("my_waste", lambda d, b: len(d) * max(d) / sum(d), "each batch has a longest"),
    ("my_waste", lambda d, b: "1.5", "expected a number"),
    ("my_waste", lambda d, b: max(d[tuple(b)]), "it raised TypeError"),
    ("my_waste", lambda d, b: 7.0, "expected 1.5"),
    ("my_output_lengths", lambda n, s: n // (s[0] if s else 1), "that rounds down, round up"),
    ("my_output_lengths", lambda n, s: -(-n // s[0]) if s else n, "only the first stride"),
    ("my_output_lengths", lambda n, s: n // s[0] + 1, "right for odd lengths only"),
    ("my_output_lengths", lambda n, s: (n / s[0]).ceil(), "should be whole numbers"),
    ("my_output_lengths", lambda n, s: int(n.max()), "expected a tensor"),
    ("my_output_lengths", lambda n, s: n + s, "it raised TypeError"),
    ("my_output_lengths", lambda n, s: n, "expected 101"),
    ("my_reverse", lambda x, lengths: x.flip(1), "the padding is in front now"),
    ("my_reverse", lambda x, lengths: x.flip(0), "reversed the batch"),
    ("my_reverse", lambda x, lengths: x.clone(), "nothing was reversed"),
    ("my_reverse", reverse_in_place, "make a copy"),
    ("my_reverse", reverse_and_zero, "the padding must stay"),
    ("my_reverse", lambda x, lengths: x[0], "expected a tensor (batch, frames)"),
    ("my_reverse", lambda x, lengths: x.flip(2), "it raised IndexError"),
    ("my_reverse", lambda x, lengths: x.roll(1, 1), "became"),
]


@pytest.mark.parametrize(("name", "answer", "message"), WRONG)
def test_a_typical_wrong_answer_is_named(name, answer, message, capsys):
    CHECKS[name](answer)
    out = capsys.readouterr().out
    assert out.startswith("not yet: ") and message in out


def test_every_exercise_has_three_typical_wrong_answers():
    for name in CHECKS:
        assert sum(row[0] == name for row in WRONG) >= 3
