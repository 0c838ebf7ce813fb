"""Exercises of notebook 03."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from asrlib.exercises import attempt, say


def check_required(answer: int | None) -> None:
    """Check how many output frames the text "mississippi" needs.

    Args:
        answer: the reader's number, or None.

    Example:
        >>> check_required(11)
        not yet: 11 frames write the letters, but "ss" would collapse to "s": count the blanks too
    """
    messages = {
        14: (True, "11 letters, and a blank inside ss, ss and pp"),
        11: (
            False,
            '11 frames write the letters, but "ss" would collapse to "s": count the blanks too',
        ),
        13: (False, "ss occurs twice: each of the two needs a blank of its own"),
        12: (False, "there are three pairs of equal neighbors, each needs a blank"),
        17: (False, "a pair of equal letters needs one blank between them, not two"),
        22: (False, "no blank is needed between letters that differ"),
        21: (False, "no blank is needed between letters that differ"),
        23: (False, "those are the states of the CTC trellis (2 x 11 + 1), not the frames"),
    }
    if answer is None:
        say(None, "")
    else:
        say(*messages.get(answer, (False, "one frame a letter, and one between equal neighbors")))


def check_waste(function: Callable[[Sequence[float], Sequence[Sequence[int]]], object]) -> None:
    """Check a reader's padding waste of a plan of batches.

    Args:
        function: takes durations in seconds and batches of indices, returns padded over real sound.

    Example:
        >>> check_waste(lambda durations, batches: 1.0)
        not yet: for durations [1.0, 3.0] in one batch it gave 1, expected 1.5
    """
    cases = [
        ([1.0, 3.0], [[0, 1]], "durations [1.0, 3.0] in one batch"),
        ([2.0, 4.0, 10.0], [[0, 1], [2]], "durations [2.0, 4.0] and [10.0] in two batches"),
        ([5.0, 1.0, 2.0, 2.0], [[3, 1], [0, 2]], "batches whose indices are not in order"),
    ]
    for durations, batches, name in cases:
        result, problem = attempt(function, durations, batches)
        if result is None and not problem:
            return say(None, "")
        if problem:
            return say(False, f"for {name} {problem}")
        boxes = [len(batch) * max(durations[i] for i in batch) for batch in batches]
        sounds = [sum(durations[i] for i in batch) for batch in batches]
        truth = sum(boxes) / sum(sounds)
        mean = sum(box / sound for box, sound in zip(boxes, sounds)) / len(batches)
        everything = len(durations) * max(durations) / sum(durations)
        share = 1 - sum(sounds) / sum(boxes)
        if not isinstance(result, int | float) and not isinstance(result, Tensor):
            return say(False, f"for {name} it gave {result!r}, expected a number")
        result = float(result)
        if abs(result - truth) < 1e-6:
            continue
        hint = ""
        if abs(result - share) < 1e-6:
            hint = ": that is the share of padding; the question is padded over real sound"
        elif abs(result - 1 / truth) < 1e-6:
            hint = ": upside down; padded sound over real sound is never below 1"
        elif abs(result - (truth - 1)) < 1e-6:
            hint = ": you left out the sound itself; a box holds sound and padding"
        elif abs(result - mean) < 1e-6:
            hint = ": you took the mean over batches; divide the two sums instead"
        elif abs(result - everything) < 1e-6:
            hint = ": you padded all to the longest of all; each batch has a longest of its own"
        return say(False, f"for {name} it gave {result:.4g}, expected {truth:.4g}{hint}")
    say(True, "every batch is a rectangle; sum the rectangles, then divide by the sound once")


def check_output_lengths(function: Callable[[Tensor, Sequence[int]], object]) -> None:
    """Check a reader's lengths after several strided convolutions.

    Args:
        function: takes whole-number lengths (batch,) and strides, returns lengths of the same kind.

    Example:
        >>> check_output_lengths(lambda lengths, strides: lengths // strides[0])
        not yet: 201 frames and strides [2] gave 100, expected 101: that rounds down, round up
    """
    for strides in ([2], [2, 2], [2, 3], [1], []):
        lengths = torch.tensor([201, 1, 7, 400, 13])
        result, problem = attempt(function, lengths.clone(), list(strides))
        if result is None and not problem:
            return say(None, "")
        if problem:
            return say(False, f"for strides {strides} {problem}")
        down = truth = lengths
        for stride in strides:
            truth, down = (truth + stride - 1) // stride, down // stride
        if not isinstance(result, Tensor) or result.shape != truth.shape:
            kind = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            return say(False, f"expected a tensor (batch,) = (5,) of lengths, got {kind}")
        if result.is_floating_point():
            return say(False, f"lengths are counts: {result.dtype} should be whole numbers")
        if torch.equal(result, truth):
            continue
        first = int((result != truth).nonzero()[0])
        hint = ""
        if torch.equal(result, down):
            hint = ": that rounds down, round up"
        elif len(strides) > 1 and torch.equal(result, -(-lengths // strides[0])):
            hint = ": only the first stride was used"
        elif torch.equal(result, down + 1):
            hint = ": // and + 1 is right for odd lengths only"
        return say(
            False,
            f"{int(lengths[first])} frames and strides {strides} gave {int(result[first])},"
            f" expected {int(truth[first])}{hint}",
        )
    say(True, "round up once a layer; for 3 x 3 kernels with padding 1 this equals torch")


def check_reverse(function: Callable[[Tensor, Tensor], object]) -> None:
    """Check a reader's reversal of each utterance within its own length.

    Args:
        function: takes x (batch, frames) and lengths (batch,), returns x with the real frames of
            each row reversed and its padding where it was.

    Example:
        >>> check_reverse(lambda x, lengths: x.flip(1))
        not yet: row [1, 2, 3, 0, 0] of length 3 became [0, 0, 3, 2, 1]: the padding is in front now
    """
    x = torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8], [9, 0, 0, 0, 0]])
    for filler in (0, -1):  # padding may hold anything
        rows = torch.where(torch.arange(5) < torch.tensor([[3], [5], [1]]), x, filler)
        lengths, before = torch.tensor([3, 5, 1]), rows.clone()
        result, problem = attempt(function, rows, lengths)
        if result is None and not problem:
            return say(None, "")
        if problem:
            return say(False, problem)
        if not isinstance(result, Tensor) or result.shape != before.shape:
            kind = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            return say(False, f"expected a tensor (batch, frames) = (3, 5), got {kind}")
        if not torch.equal(rows, before):
            return say(False, "it changed the tensor it was given; make a copy")
        truth = torch.stack(
            [torch.cat([row[:n].flip(0), row[n:]]) for row, n in zip(before, lengths.tolist())]
        )
        if torch.equal(result, truth):
            continue
        at = int((result != truth).any(dim=1).nonzero()[0])
        row, n, got = before[at].tolist(), int(lengths[at]), result[at].tolist()
        hint = ""
        if torch.equal(result, before):
            hint = ": nothing was reversed"
        elif torch.equal(result, before.flip(0)):
            hint = ": you reversed the batch, not time"
        elif torch.equal(result, before.flip(1)):
            hint = ": the padding is in front now"
        elif got[:n] == truth[at, :n].tolist():
            hint = ": right in front, but the padding must stay as it was"
        return say(False, f"row {row} of length {n} became {got}{hint}")
    say(True, "this is how a backward GRU starts at each utterance's own last frame")
