"""Figures of notebook 02: waves, windows, filters, and what a spectrogram keeps.

Each function returns the figure with its alternative text, made from the numbers that it drew.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from asrlib.features import hz_to_mel
from asrlib.plots import BLACK, BLUE, GREEN, ORANGE, SKY, VERMILION, panels

# Few colors keep a picture small: 24 levels look like 256 and store in half the bytes.
_MAGMA = plt.get_cmap("magma", 24)
_GRAY = "#8a8a99"
_RATE = 16_000


class _Palette(FigureCanvasAgg):
    """Write PNG files with 96 colors: a third of the bytes, and no difference to see."""

    def print_png(self, file: Any, **_options: Any) -> None:
        self.draw()
        image = Image.fromarray(np.asarray(self.buffer_rgba())).convert("RGB")
        image.quantize(96, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)


def _light(figure: Figure) -> Figure:
    """Let a figure be stored with few colors."""
    _Palette(figure)  # becomes the figure's canvas
    return figure


def _decibels(power: Tensor) -> np.ndarray:
    """Power in dB under its maximum, cut at -100."""
    power = power.double()
    return (10 * torch.log10(power / power.max() + 1e-10)).numpy()


def _picture(
    axes: Axes, values: np.ndarray, extent: tuple[float, float, float, float], low: float
) -> None:
    """Draw (rows, columns), lowest row at the bottom, from `low` to the maximum."""
    options = {"origin": "lower", "aspect": "auto", "interpolation": "nearest", "cmap": _MAGMA}
    axes.imshow(values, extent=extent, vmin=low, vmax=float(values.max()), **options)


def waves_in_a_frame(
    frame: Float[Tensor, " samples"], spectrum: Tensor, count: int = 3
) -> tuple[Figure, str]:
    """Draw a frame, the waves at the highest peaks of its spectrum, and the power of all waves.

    Args:
        frame: samples at 16 kHz.
        spectrum: its discrete Fourier transform, complex (samples // 2 + 1,).
        count: how many peaks, at most 3; each has a marker of its own.

    Returns:
        The figure and its alternative text.

    Example:
        >>> frame = torch.cos(torch.arange(400.0) * 0.3)
        >>> figure, alt = waves_in_a_frame(frame, torch.fft.rfft(frame), 1)
        >>> alt
        'A frame of 25 ms, the waves at its highest peaks, 760 Hz, and the power of all waves.'
        >>> plt.close(figure)
    """
    size = len(frame)
    milliseconds = 1000 * np.arange(size) / _RATE
    hertz = np.arange(len(spectrum)) * _RATE / size
    power = _decibels(spectrum.abs() ** 2)
    peaks = [k for k in range(1, len(power) - 1) if power[k] > max(power[k - 1], power[k + 1])]
    picks = sorted(sorted(peaks, key=lambda k: -power[k])[:count])
    looks = [(BLUE, "o", "-"), (VERMILION, "s", "--"), (GREEN, "^", "-.")]
    with panels(2, height=2.3) as (figure, [top, bottom]):
        top.plot(milliseconds, frame.numpy(), color=_GRAY, lw=1, label="the frame")
        bottom.plot(hertz, power, color=_GRAY, lw=1)
        for k, (color, marker, style) in zip(picks, looks):
            turns = 2 * np.pi * k * np.arange(size) / size + float(spectrum[k].angle())
            wave = 2 / size * float(spectrum[k].abs()) * np.cos(turns)
            label = f"{hertz[k]:.0f} Hz (bin {k})"
            top.plot(milliseconds, wave, color=color, ls=style, lw=1.8, label=label)
            bottom.plot(hertz[k], power[k], color=color, marker=marker, ms=8, ls="", label=label)
        top.set(xlabel="time (milliseconds)", ylabel="amplitude", xlim=(0, milliseconds[-1]))
        top.legend(ncols=4, loc="lower left", bbox_to_anchor=(-0.01, 0.98), fontsize=9)
        bottom.set(xlabel="frequency (Hz)", ylabel="power (dB)", xlim=(0, 4000), ylim=(-60, 4))
        bottom.set_title("how much of each wave is in it")
        bottom.legend(loc="upper right", fontsize=9)
    where = ", ".join(f"{hertz[k]:.0f}" for k in picks)
    milliseconds = f"{1000 * size / _RATE:.0f} ms"
    return _light(figure), (
        f"A frame of {milliseconds}, the waves at its highest peaks, {where} Hz, and the power of"
        " all waves."
    )


def same_samples(low_hz: float, high_hz: float) -> tuple[Figure, str]:
    """Draw two waves that pass through the same samples.

    Args:
        low_hz: below half the sample rate of 16 kHz.
        high_hz: the same distance above it.

    Returns:
        The figure and its alternative text.

    Example:
        >>> plt.close(same_samples(7000, 9000)[0])
    """
    fine, samples = np.linspace(0, 0.5, 1000), 1000 * np.arange(9) / _RATE
    with panels(height=2.1) as (figure, [axes]):
        looks = [(low_hz, BLUE, "-"), (high_hz, ORANGE, "--")]
        for hertz, color, style in looks:
            wave = np.cos(2 * np.pi * hertz * fine / 1000)
            axes.plot(fine, wave, color=color, ls=style, label=f"{hertz:.0f} Hz")
        dots = np.cos(2 * np.pi * low_hz * samples / 1000)
        axes.plot(samples, dots, "o", color=BLACK, ms=7, label="the samples of both")
        axes.set(xlabel="time (milliseconds)", ylabel="amplitude")
        figure.legend(loc="outside upper left", ncols=3, fontsize=9)
    return _light(figure), (
        f"Half a millisecond of a wave of {low_hz:.0f} Hz and of one of {high_hz:.0f} Hz. They"
        " differ between the samples and meet at every sample."
    )


def leakage(
    frames: dict[str, Float[Tensor, " samples"]], powers: dict[str, Float[Tensor, " bins"]]
) -> tuple[Figure, str]:
    """Draw one tone under several windows, and where its power went.

    Args:
        frames: windowed samples at 16 kHz, by the name of the window; at most two.
        powers: their power spectra, by the same names.

    Returns:
        The figure and its alternative text.

    Example:
        >>> frame = torch.cos(2 * torch.pi * torch.arange(400.0) / 16)
        >>> power = torch.fft.rfft(frame).abs() ** 2
        >>> figure, alt = leakage({"whole turns": frame}, {"whole turns": power})
        >>> alt
        'A tone under a window. Bins above a ten-thousandth of the peak: whole turns 1.'
        >>> plt.close(figure)
    """
    looks = [(VERMILION, "--", "s"), (BLUE, "-", "o")]
    counts = []
    with panels(2, height=2.1) as (figure, [top, bottom]):
        for (name, frame), (color, style, _) in zip(frames.items(), looks):
            milliseconds = 1000 * np.arange(len(frame)) / _RATE
            top.plot(milliseconds, frame.numpy(), color=color, ls=style, lw=1.5, label=name)
        for (name, power), (color, style, marker) in zip(powers.items(), looks):
            hertz = np.arange(len(power)) * _RATE / 2 / (len(power) - 1)
            decibels = _decibels(power)
            bottom.plot(hertz, decibels, color=color, ls=style, marker=marker, ms=2.5, lw=1.2)
            counts.append(f"{name} {int((decibels > -40).sum())}")
        bottom.axhline(-40, color=BLACK, lw=1, ls=":")
        bottom.annotate("a ten-thousandth", (7900, -38), ha="right", fontsize=9)
        top.set(xlabel="time (milliseconds)", ylabel="amplitude", xlim=(0, 25))
        bottom.set(xlabel="frequency (Hz)", ylabel="power (dB)", xlim=(0, 8000), ylim=(-100, 4))
        figure.legend(loc="outside upper left", ncols=2)
    return _light(figure), (
        f"A tone under a window. Bins above a ten-thousandth of the peak: {', '.join(counts)}."
    )


def window_lengths(
    rows: Sequence[tuple[str, Tensor, Tensor]], seconds: float
) -> tuple[Figure, str]:
    """Draw spectrograms of a test sound and of speech, one row for each window length.

    Args:
        rows: (name of the window, power of the test sound, power of the speech); both powers are
            (bins, frames) up to 8 kHz. Shortest window first.
        seconds: how long both sounds are.

    Returns:
        The figure, the test sound up to 2 kHz and the speech up to 4 kHz; its alternative text.

    Example:
        >>> plt.close(window_lengths([("5 ms", torch.rand(257, 40), torch.rand(257, 40))], 0.4)[0])
    """
    with panels(len(rows), height=1.75, ncols=2) as (figure, _):
        for (name, test, speech), left, right in zip(rows, figure.axes[::2], figure.axes[1::2]):
            for axes, power, top_hz, low in ((left, test, 2000, -40), (right, speech, 4000, -55)):
                bins = round((len(power) - 1) * top_hz / 8000) + 1
                _picture(axes, _decibels(power[:bins]), (0, seconds, 0, top_hz / 1000), low)
            left.set(ylabel=f"{name} window\nfrequency (kHz)")
        figure.axes[0].set_title("two clicks, then two tones")
        figure.axes[1].set_title("speech")
        for axes in figure.axes[-2:]:
            axes.set(xlabel="time (seconds)")
    return _light(figure), (
        f"Spectrograms with {len(rows)} windows. {rows[0][0]}: two sharp clicks, one blurred tone,"
        f" upright stripes in speech. {rows[-1][0]}: one blurred click, two sharp tones, level"
        " stripes in speech."
    )


def mel_triangles(
    good: Float[Tensor, "bins n_mels"], bad: Float[Tensor, "rows mels"]
) -> tuple[Figure, str]:
    """Draw a set of mel filters, and the low end of one that has empty filters.

    Args:
        good: filters on the bins from 0 to 8 kHz.
        bad: more filters, on fewer bins; those that catch no bin are marked.

    Returns:
        The figure and its alternative text.

    Example:
        >>> from asrlib.features import mel_filters
        >>> figure, alt = mel_triangles(mel_filters(80, 512), mel_filters(128, 400))
        >>> alt[alt.index("Filters") :]
        'Filters 0, 3, 6, 13 lie between two bins and catch none.'
        >>> plt.close(figure)
    """
    dead = (bad.sum(dim=0) == 0).nonzero().flatten().tolist()
    with panels(2, height=2.1) as (figure, [top, bottom]):
        hertz = np.linspace(0, 8000, len(good))
        for m in range(good.shape[1]):
            bold = m % 8 == 4
            look = (
                {"color": BLUE, "lw": 1.8, "zorder": 2} if bold else {"color": "#c9c9d4", "lw": 0.8}
            )
            top.plot(hertz, good[:, m].numpy(), **look)
        top.set(xlabel="frequency (Hz)", ylabel="weight", xlim=(0, 8000), ylim=(0, 1.05))
        top.set_title(f"{good.shape[1]} filters on {len(good)} bins (every eighth is bold)")
        step = 8000 / (len(bad) - 1)
        for m, corners in enumerate(_corners(bad.shape[1])[:16]):
            color, width = (VERMILION, 2.4) if m in dead else (BLUE, 1.2)
            bottom.plot(corners, [0, 1, 0], color=color, lw=width)
            if m in dead:
                mark = {"ha": "center", "color": VERMILION, "annotation_clip": False}
                bottom.annotate(f"✗ {m}", (corners[1], 1.07), **mark)
        for k in range(8):
            bottom.axvline(k * step, color=BLACK, lw=1.2, ls=":")
        bottom.set(xlabel="frequency (Hz)", ylabel="weight", xlim=(-3, 262), ylim=(0, 1.05))
        text = f"the lowest of {bad.shape[1]} filters (dotted: the bins; ✗: catches none)"
        bottom.set_title(text, pad=20)
    return _light(figure), (
        f"Above, {good.shape[1]} triangles that get wider with frequency. Below, the lowest of"
        f" {bad.shape[1]} triangles with the bins as dotted lines. Filters"
        f" {', '.join(map(str, dead))} lie between two bins and catch none."
    )


def _corners(n_mels: int) -> list[tuple[float, float, float]]:
    """Left end, peak and right end of each triangle in Hz, as in `asrlib.features.mel_filters`."""
    mels = np.linspace(0, hz_to_mel(_RATE / 2), n_mels + 2)
    hertz = (700 * (10 ** (mels / 2595) - 1)).tolist()
    return list(zip(hertz, hertz[1:], hertz[2:]))


def dead_bands(
    log_mel: Float[Tensor, "n_mels frames"], dead: Sequence[int], shown: int = 24
) -> tuple[Figure, str]:
    """Draw the lowest bands of a spectrogram and point at the dead ones.

    Args:
        log_mel: natural log of the mel power; frames 12.5 ms apart (200 samples).
        dead: bands without any input.
        shown: how many bands.

    Returns:
        The figure and its alternative text.

    Example:
        >>> figure, alt = dead_bands(torch.randn(128, 100), [0, 3])
        >>> alt
        'The lowest 24 of 128 bands of a log-mel spectrogram. Bands 0, 3 are black throughout.'
        >>> plt.close(figure)
    """
    with panels(height=2.4) as (figure, [axes]):
        values = log_mel[:shown].numpy()
        alive = np.delete(values, [band for band in dead if band < shown], axis=0)
        seconds = log_mel.shape[1] * 200 / _RATE
        _picture(axes, values, (0, seconds, -0.5, shown - 0.5), float(np.quantile(alive, 0.05)))
        for band in dead:
            mark = {"va": "center", "color": BLACK, "annotation_clip": False}
            axes.annotate(f"◀ {band}", (seconds * 1.005, band), **mark)
        axes.set(xlabel="time (seconds)", ylabel="mel band")
    return _light(figure), (
        f"The lowest {shown} of {len(log_mel)} bands of a log-mel spectrogram. Bands"
        f" {', '.join(map(str, dead))} are black throughout."
    )


def before_and_after_log(power: Float[Tensor, " cells"]) -> tuple[Figure, str]:
    """Draw how the cells of spectrograms are distributed, as they are and after the log.

    Args:
        power: mel power of many cells, above 0.

    Returns:
        The figure and its alternative text.

    Example:
        >>> plt.close(before_and_after_log(torch.rand(1000) + 0.1)[0])
    """
    with panels(height=2.5, ncols=2) as (figure, _):
        left, right = figure.axes
        look = {"bins": 60, "edgecolor": BLACK, "lw": 0.3}
        counts, _, _ = left.hist(power.numpy(), color=ORANGE, hatch="//", **look)
        left.set(xlabel="mel power", ylabel="cells", title="before the log")
        right.hist(power.log().numpy(), color=SKY, **look)
        right.set(xlabel="log of the mel power", title="after the log")
    share = 100 * counts[0] / counts.sum()
    return _light(figure), (
        f"Two histograms of the same cells. Before the log {share:.0f} percent lie in the first of"
        " 60 columns; after it they spread over the whole range."
    )


def two_trainings(errors: dict[str, list[list[float]]]) -> tuple[Figure, str]:
    """Draw how the error of trainings of two kinds fell, pass by pass.

    Args:
        errors: for each kind, a list of runs; a run is its error rates in percent, pass by pass.

    Returns:
        The figure and its alternative text.

    Example:
        >>> figure, alt = two_trainings({"with": [[100.0, 50.0]], "without": [[100.0, 90.0]]})
        >>> alt
        'Character error rate after each pass. At the end, in percent: with 50; without 90.'
        >>> plt.close(figure)
    """
    looks = [(BLUE, "o", "-"), (VERMILION, "s", "--")]
    with panels(height=2.6) as (figure, [axes]):
        for (name, runs), (color, marker, style) in zip(errors.items(), looks):
            for n, run in enumerate(runs):
                label = name if n == 0 else None
                passes = range(1, len(run) + 1)
                axes.plot(passes, run, color=color, marker=marker, ls=style, label=label, lw=1.6)
        axes.set(xlabel="passes over the training set", ylabel="percent", ylim=(0, 105))
        axes.set_title("character error rate on voices it never heard")
        axes.set_xticks(list(passes))
        axes.grid(axis="y")
        axes.legend(loc="lower left")
    ends = "; ".join(
        f"{name} {' and '.join(f'{run[-1]:.0f}' for run in runs)}" for name, runs in errors.items()
    )
    return _light(figure), f"Character error rate after each pass. At the end, in percent: {ends}."


def edge_differences(curves: dict[str, Float[Tensor, " frames"]]) -> tuple[Figure, str]:
    """Draw how far each frame of a clip moves when the clip joins a batch.

    Args:
        curves: the largest change of a log-mel in each frame, by the way of padding; at most two.

    Returns:
        The figure and its alternative text.

    Example:
        >>> figure, alt = edge_differences({"zeros": torch.zeros(200)})
        >>> alt
        'Change of the last frames of a clip when it joins a batch. The largest: zeros 0.0.'
        >>> plt.close(figure)
    """
    looks = [(VERMILION, "s", "--"), (BLUE, "o", "-")]
    with panels(height=2.3) as (figure, [axes]):
        for (name, curve), (color, marker, style) in zip(curves.items(), looks):
            last = curve[-12:].numpy()
            at = np.arange(-len(last), 0)
            axes.plot(at, last, color=color, marker=marker, ls=style, label=name)
        axes.set(xlabel="frame, counted from the end (-1 is the last)", ylabel="change of log-mel")
        axes.legend(loc="upper left")
        axes.grid(axis="y")
    most = ", ".join(f"{name} {float(curve.max()):.1f}" for name, curve in curves.items())
    return _light(figure), (
        f"Change of the last frames of a clip when it joins a batch. The largest: {most}."
    )


def stacked(
    pictures: Sequence[tuple[str, Float[Tensor, "rows columns"]]],
    *,
    seconds: float,
    top: float,
    unit: str,
    depth: float = 10.0,
    start: float = 0.0,
) -> Figure:
    """Draw spectrograms one above the other.

    Args:
        pictures: (title, log values), all of sounds of the same length.
        seconds: how long.
        top: the value at the upper edge.
        unit: what the upright axis counts.
        depth: how far below the loudest cell black begins, in natural log units.
        start: time of the left edge in seconds.

    Returns:
        The figure. What it says depends on the sounds: the notebook writes the alternative text.

    Example:
        >>> image = torch.randn(80, 100)
        >>> plt.close(stacked([("noise", image)], seconds=1.0, top=80, unit="mel band"))
    """
    with panels(len(pictures), height=1.75, sharex=True) as (figure, axes):
        for row, (title, values) in zip(axes, pictures):
            values = values.numpy()
            _picture(row, values, (start, start + seconds, 0, top), float(values.max()) - depth)
            row.set(title=title, ylabel=unit)
        axes[-1].set(xlabel="time (seconds)")
    return _light(figure)


def hidden_cells(
    pictures: dict[str, Bool[Tensor, "batch frames"]], lengths: Sequence[int]
) -> tuple[Figure, str]:
    """Draw which frames of each clip of a batch were hidden, under several ways to choose them.

    Args:
        pictures: True where hidden, by the way of choosing.
        lengths: real frames of each clip.

    Returns:
        The figure, hidden speech filled and hidden padding crossed; its alternative text.

    Example:
        >>> mask = torch.zeros(2, 50, dtype=torch.bool)
        >>> mask[:, 10:20] = True
        >>> figure, alt = hidden_cells({"a mask": mask}, [50, 15])
        >>> alt
        'Clips of 50, 15 frames and what was hidden. Hidden frames of padding: a mask 5.'
        >>> plt.close(figure)
    """
    wasted = []
    with panels(len(pictures), height=1.5, sharex=True) as (figure, panes):
        for (title, hidden), axes in zip(pictures.items(), panes):
            outside = torch.arange(hidden.shape[1]) >= torch.tensor(lengths)[:, None]
            wasted.append(f"{title} {int((hidden & outside).sum())}")
            for row, length in enumerate(lengths):
                axes.barh(row, length, color="#e4e4ee", edgecolor=BLACK, lw=0.8, height=0.8)
                for mask, look in (
                    (hidden[row] & ~outside[row], {"color": BLUE}),
                    (hidden[row] & outside[row], {"fc": "white", "ec": VERMILION, "hatch": "xxx"}),
                ):
                    at = mask.nonzero().flatten().tolist()
                    if at:  # one stretch a clip
                        axes.barh(row, at[-1] + 1 - at[0], left=at[0], height=0.8, **look)
            axes.set(title=title, ylabel="clip")
            axes.set_yticks(range(len(lengths)))
            axes.invert_yaxis()
        panes[-1].set(xlabel="frame (light: the clip, filled: hidden, crossed: hidden padding)")
    clips = ", ".join(map(str, lengths))
    return _light(figure), (
        f"Clips of {clips} frames and what was hidden. Hidden frames of padding:"
        f" {', '.join(wasted)}."
    )
