"""Exercises of notebook 02."""

from collections.abc import Callable

import torch
from torch import Tensor

from asrlib.exercises import attempt, say


def check_bin(answer: float | None) -> None:
    """Check the frequency of bin 40 of a 512-point transform at 16 kHz.

    Args:
        answer: the reader's number in Hz, or None.

    Example:
        >>> check_bin(1600)
        not yet: that divides by the window's 400 samples; the transform takes 512
    """
    messages = {
        1250.0: (True, "40 whole turns in 512 samples, and 16,000 / 512 of those in a second"),
        1600.0: (
            False,
            "that divides by the window's 400 samples; the transform takes 512",
        ),
        2500.0: (
            False,
            "twice too high: 256 is how many bins there are above bin 0; 512 samples go in",
        ),
        625.0: (False, "half of it: the bins reach 8,000 Hz, the sample rate is 16,000"),
        1245.1: (False, "you shared 8,000 Hz among 257 bins; the steps between them are 256"),
        40.0: (False, "that is the number of the bin, not its frequency"),
    }
    if answer is None:
        return say(None, "")
    for value, verdict in messages.items():
        if abs(answer - value) < 0.1:
            return say(*verdict)
    return say(False, "bin k makes k whole turns in 512 samples; how many turns in a second?")


def check_window(function: Callable[[int], Tensor | None]) -> None:
    """Check a reader's Hann window.

    Args:
        function: takes a number of samples and returns the periodic window, float (samples,).

    Example:
        >>> check_window(lambda size: torch.hann_window(size, periodic=False))
        not yet: the last value is 0: that is the symmetric window; divide by size, not by size - 1
    """
    for size in (8, 400):
        window, problem = attempt(function, size)
        if window is None and not problem:
            return say(None, "")
        if not problem:
            problem = _window_problem(torch.as_tensor(window).double(), size)
        if problem:
            return say(False, problem)
    return say(True, "0 at the start, 1 in the middle, and two copies half a window apart sum to 1")


def _window_problem(window: Tensor, size: int) -> str:
    """Say what is wrong with a Hann window, or nothing."""
    expected = torch.hann_window(size, dtype=torch.float64)
    if window.shape != (size,):
        return f"for size {size} its shape is {tuple(window.shape)}, expected ({size},)"
    if torch.allclose(window, expected, atol=1e-5):
        return ""
    if torch.allclose(window, torch.hann_window(size, periodic=False).double(), atol=1e-5):
        return "the last value is 0: that is the symmetric window; divide by size, not by size - 1"
    if torch.allclose(window, torch.hamming_window(size).double(), atol=1e-5):
        return "it begins at 0.08: that is a Hamming window; Hann begins at 0"
    if torch.allclose(window, torch.ones(size).double()):
        return "all ones is the rectangular window: it cuts, which is what we want to avoid"
    if torch.allclose(window, 1 - expected, atol=1e-5):
        return "it is upside down: 1 at the edges and 0 in the middle; the cosine wants a minus"
    if torch.allclose(window, expected.sqrt(), atol=1e-5):
        return "that is half a sine wave, the square root of a Hann window"
    if float(window.abs().max()) > 1.01:
        return f"its peak is {float(window.abs().max()):.2f}, expected 1"
    return "expected 0.5 - 0.5 cos(2 pi n / size) for n = 0 .. size - 1"


def check_mask(function: Callable[[Tensor, Tensor, int], Tensor | None]) -> None:
    """Check a reader's time mask: one stretch a clip, inside its real length.

    Args:
        function: takes features (batch, n_mels, frames), lengths (batch,) and a width; returns a
            copy of the features in which `width` real frames in a row of each clip are 0.

    Example:
        >>> check_mask(lambda features, lengths, width: features)
        not yet: clip 0 has 0 hidden frames, expected 6
    """
    lengths, width, bands = torch.tensor([60, 20, 9]), 6, 4
    starts: list[list[int]] = []
    for _ in range(60):
        features = torch.rand(len(lengths), bands, 60) + 1.0
        before = features.clone()
        masked, problem = attempt(function, features, lengths, width)
        if masked is None and not problem:
            return say(None, "")
        problem = problem or _mask_problem(before, features, masked, lengths, width)
        if problem:
            return say(False, problem)
        hidden = (masked == 0).all(dim=1)  # (batch, frames)
        starts.append([int(row.nonzero()[0]) for row in hidden])
    columns = torch.tensor(starts)  # (tries, batch)
    if int((columns.max(dim=0).values == columns.min(dim=0).values).sum()):
        return say(False, "in 60 tries a clip was hidden at the same place each time: draw it")
    if bool((columns[:, 0] == columns[:, 1]).all()):
        return say(False, "all clips are hidden at the same place: draw a start for each")
    return say(True, "each clip loses frames of its own speech, never of its padding")


def _mask_problem(
    before: Tensor, features: Tensor, masked: Tensor, lengths: Tensor, width: int
) -> str:
    """Say what is wrong with a masked batch, or nothing."""
    if not torch.equal(before, features):
        return "it changed the features it was given: mask a clone"
    if not isinstance(masked, Tensor) or masked.shape != before.shape:
        shape = tuple(masked.shape) if isinstance(masked, Tensor) else type(masked).__name__
        return f"it returned {shape}, expected {tuple(before.shape)}"
    zero = masked == 0  # (batch, n_mels, frames)
    if bool((zero.all(dim=2).any(dim=1)).any()) and not bool(zero.all(dim=1).any()):
        return "it hid whole bands: time is the last axis"
    hidden = zero.all(dim=1)  # (batch, frames)
    for row, length in enumerate(lengths.tolist()):
        outside = hidden[row, length:].nonzero().flatten()
        if len(outside):
            frame = length + int(outside[0])
            return f"clip {row} has {length} real frames, and frame {frame} was hidden: padding"
        if int(hidden[row].sum()) != width:
            return f"clip {row} has {int(hidden[row].sum())} hidden frames, expected {width}"
        places = hidden[row].nonzero().flatten()
        if int(places[-1] - places[0]) != width - 1:
            return f"the hidden frames of clip {row} are not in a row"
    if not torch.equal(torch.where(hidden[:, None], before, masked), before):
        return "values outside the mask changed too"
    return ""


def check_halve(function: Callable[[Tensor], Tensor | None]) -> None:
    """Check a reader's way from 16 kHz to 8 kHz.

    Args:
        function: takes float (samples,) at 16 kHz and returns (samples / 2,) at 8 kHz, in which
            nothing above 4 kHz has folded down.

    Example:
        >>> check_halve(lambda waveform: waveform[::2])
        not yet: a tone of 6000 Hz came through (0 dB): it folded to 2000 Hz; filter first
    """
    seconds = torch.arange(16_000) / 16_000
    for hertz, passes in ((500, True), (3000, True), (6000, False), (7500, False)):
        tone = torch.sin(2 * torch.pi * hertz * seconds)
        half, problem = attempt(function, tone)
        if half is None and not problem:
            return say(None, "")
        if problem:
            return say(False, problem)
        half = torch.as_tensor(half)
        if half.dim() != 1 or abs(len(half) - 8000) > 2:
            shape = tuple(half.shape)
            return say(False, f"one second came out as {shape}, expected (8000,)")
        inner = half[1000:7000].double()  # the ends are another story
        level = 20 * float(torch.log10(inner.square().mean().sqrt() * 2**0.5 + 1e-6))
        if passes and not -3 < level < 3:
            return say(False, f"a tone of {hertz} Hz came out at {level:.0f} dB; it should stay")
        if not passes and level > -30:
            text = f"a tone of {hertz} Hz came through ({level:.0f} dB): it folded to"
            return say(False, f"{text} {8000 - hertz} Hz; filter first")
    return say(True, "what 8 kHz cannot hold is gone, what it can hold stayed")
