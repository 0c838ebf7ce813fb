"""Figures of notebook 01: what is in a speech corpus, who speaks, and what a leak does."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from asrlib.plots import BLACK, BLUE, GREEN, ORANGE, SKY, VERMILION, panels

_LINES = ((BLUE, "-", "o"), (VERMILION, "--", "s"), (GREEN, "-.", "^"), (ORANGE, ":", "D"))


def histogram(
    values: Sequence[float],
    *,
    xlabel: str,
    title: str = "",
    marks: Mapping[str, float] | None = None,
    unit: str = "clips",
    bins: int = 40,
) -> tuple[Figure, str]:
    """Draw how often each value occurs, and name some places.

    Args:
        values: one a clip.
        xlabel: what they are, with the unit.
        title: of the figure.
        marks: names of places on the axis, drawn as arrows from above.
        unit: what is counted.
        bins: how many bars.

    Returns:
        The figure, and its alternative text made from the same numbers.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, alt = histogram([1.0, 2.0, 4.0], xlabel="seconds", marks={"median": 2.0})
        >>> alt
        'Histogram of 3 clips by seconds, from 1.0 to 4.0, fullest near 1.0; median 2.0.'
        >>> plt.close(figure)
    """
    with panels(height=2.5) as (figure, [axes]):
        counts, edges, _ = axes.hist(values, bins=bins, color=SKY, edgecolor="white", lw=0.6)
        top = float(counts.max())
        for row, (name, place) in enumerate((marks or {}).items()):
            height = float(counts[min(_bin_of(place, values, bins), bins - 1)])
            axes.annotate(
                f"{name} {place:.1f}",
                xy=(place, height + 0.02 * top),
                xytext=(place, max(height + 0.28 * top, 0.3 * top) + 0.16 * top * (row % 2)),
                ha="center",
                color=BLACK,
                arrowprops={"arrowstyle": "->", "color": BLACK, "lw": 1.0},
                annotation_clip=False,
            )
        axes.set(xlabel=xlabel, ylabel=unit, title=title, ylim=(0, 1.6 * top if marks else None))
    places = "".join(f"; {name} {place:.1f}" for name, place in (marks or {}).items())
    return figure, (
        f"Histogram of {len(values)} {unit} by {xlabel}, from {min(values):.1f} to"
        f" {max(values):.1f}, fullest near {edges[counts.argmax()]:.1f}{places}."
    )


def _bin_of(place: float, values: Sequence[float], bins: int) -> int:
    low, high = min(values), max(values)
    return int((place - low) / max(high - low, 1e-9) * bins)


def character_bars(counts: Mapping[str, int]) -> tuple[Figure, str]:
    """Draw how often each character occurs, the most frequent first.

    Args:
        counts: of each character; a space is drawn as an open box.

    Returns:
        The figure, with its share above some bars, and its alternative text.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, alt = character_bars({"e": 12, " ": 18, "z": 1})
        >>> alt
        'Bars: how often each character occurs, from most to least: ␣ez.'
        >>> plt.close(figure)
    """
    order = sorted(counts, key=counts.__getitem__, reverse=True)
    total = sum(counts.values())
    shares = [100 * counts[character] / total for character in order]
    with panels(height=2.4) as (figure, [axes]):
        bars = axes.bar(range(len(order)), shares, color=SKY, edgecolor=BLUE, lw=0.8)
        for bar, share in list(zip(bars, shares))[:3] + [(bars[-1], shares[-1])]:
            axes.text(
                bar.get_x() + bar.get_width() / 2,
                share + 0.3,
                f"{share:.1f}" if share >= 1 else f"{share:.2f}",
                ha="center",
                fontsize=8,
            )
        axes.set_xticks(range(len(order)), [c.replace(" ", "␣") for c in order])
        axes.set(ylabel="percent", xlim=(-0.7, len(order) - 0.3), ylim=(0, 1.12 * shares[0]))
        axes.set_title("characters of all transcripts (␣ is the space)")
    ranked = "".join(order).replace(" ", "␣")
    return figure, f"Bars: how often each character occurs, from most to least: {ranked}."


def voice_map(
    levels: Sequence[float],
    pitches: Sequence[float],
    labels: Sequence[str],
    *,
    names: Mapping[int, str] | None = None,
) -> tuple[Figure, str]:
    """Draw each speaker as a point: how loud, how high, and what the speaker list says.

    Args:
        levels: mean level of each speaker, in dB below full scale.
        pitches: median pitch, in Hz.
        labels: "F" or "M" as the list of speakers has it; shape and color tell them apart.
        names: points (by index) to name.

    Returns:
        The figure, and its alternative text made from the same numbers.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, alt = voice_map([-20, -30], [200, 110], ["F", "M"], names={0: "84"})
        >>> alt
        'Speakers by level and pitch. Median pitch F 200 Hz, M 110 Hz. 84: F, -20 dB, 200 Hz.'
        >>> plt.close(figure)
    """
    looks = {"F": (BLUE, "o"), "M": (ORANGE, "s")}
    with panels(height=3.2) as (figure, [axes]):
        for label, (color, marker) in looks.items():
            chosen = [n for n, this in enumerate(labels) if this == label]
            axes.scatter(
                [levels[n] for n in chosen],
                [pitches[n] for n in chosen],
                s=44,
                color=color,
                marker=marker,
                edgecolor=BLACK,
                lw=0.6,
                label=f'listed as "{label}"',
            )
        for n, name in (names or {}).items():
            axes.annotate(
                name,
                (levels[n], pitches[n]),
                xytext=(9, 9),
                textcoords="offset points",
                fontsize=9,
                arrowprops={"arrowstyle": "-", "color": BLACK, "lw": 0.8},
            )
        axes.set(
            xlabel="level (dB below full scale; 6 dB more is twice the amplitude)",
            ylabel="median pitch (Hz)",
            title="each point is one speaker",
        )
        axes.grid(alpha=0.7)
        figure.legend(loc="outside lower center", ncols=2)
    middles = [
        f"{label} {np.median([p for p, this in zip(pitches, labels) if this == label]):.0f} Hz"
        for label in looks
        if label in labels
    ]
    points = "".join(
        f" {name}: {labels[n]}, {levels[n]:.0f} dB, {pitches[n]:.0f} Hz."
        for n, name in (names or {}).items()
    )
    return figure, f"Speakers by level and pitch. Median pitch {', '.join(middles)}.{points}"


def split_map(
    splits: Mapping[str, tuple[Sequence[str], Sequence[str]]], *, order: Sequence[str]
) -> tuple[Figure, str]:
    """Draw, for some ways to split, how many clips of each speaker are on either side.

    Args:
        splits: for each way (training, exam): the speaker of each clip.
        order: the speakers, from left to right.

    Returns:
        The figure (one panel a way, one bar a speaker; hatched is the exam), and its alternative
        text.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, alt = split_map({"by speaker": (["a", "a"], ["b"])}, order=["a", "b"])
        >>> alt
        'Clips of each speaker in training and in the exam. by speaker: 0 of 2 are in both.'
        >>> plt.close(figure)
    """
    shared = []
    with panels(len(splits), height=1.7, sharex=True) as (figure, rows):
        for axes, (name, (train, exam)) in zip(rows, splits.items()):
            below = np.array([list(train).count(speaker) for speaker in order])
            above = np.array([list(exam).count(speaker) for speaker in order])
            places = np.arange(len(order))
            axes.bar(places, below, color=SKY, label="training")
            axes.bar(
                places,
                above,
                bottom=below,
                color=VERMILION,
                edgecolor="white",
                lw=0,
                hatch="////",
                label="exam",
            )
            both = int(((below > 0) & (above > 0)).sum())
            axes.set(ylabel="clips", xticks=[], xlim=(-0.7, len(order) - 0.3))
            axes.set_title(f"{name}: {both} of {len(order)} speakers on both sides")
            shared.append(f"{name}: {both} of {len(order)} are in both.")
        rows[-1].set_xlabel("speakers, one bar each")
        handles, texts = rows[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside lower center", ncols=2)
    return figure, f"Clips of each speaker in training and in the exam. {' '.join(shared)}"


def leak_curves(curves: Mapping[str, Sequence[float]]) -> tuple[Figure, str]:
    """Draw the word error rate on one and the same exam after each pass of several trainings.

    Args:
        curves: word error rates (1.0 is 100 %) by pass, by the name of the training.

    Returns:
        The figure, and its alternative text made from the same numbers.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, alt = leak_curves({"honest": [1.0, 0.4], "leaked": [1.0, 0.1]})
        >>> alt
        'Word error rate on the same exam by pass; at the end: honest 40 %, leaked 10 %.'
        >>> plt.close(figure)
    """
    with panels(height=3.0) as (figure, [axes]):
        for (name, rates), (color, line, marker) in zip(curves.items(), _LINES):
            passes = np.arange(1, len(rates) + 1)
            percent = [100 * rate for rate in rates]
            axes.plot(passes, percent, color=color, ls=line, marker=marker, ms=5, label=name)
            axes.annotate(
                f"{percent[-1]:.0f}",
                (passes[-1], percent[-1]),
                xytext=(8, -3),
                textcoords="offset points",
                color=color,
                fontweight="bold",
            )
        axes.set(xlabel="pass over the training clips", ylabel="word error rate (percent)")
        axes.set(ylim=(0, None), title="the same exam, unseen and seen in training")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y")
        axes.legend(loc="upper right")
    ends = ", ".join(f"{name} {100 * rates[-1]:.0f} %" for name, rates in curves.items())
    return figure, f"Word error rate on the same exam by pass; at the end: {ends}."


def winners(chosen: Sequence[float], again: Sequence[float], *, truth: float) -> tuple[Figure, str]:
    """Draw what the luckiest of many equal recipes scored, and what it scores on new clips.

    Args:
        chosen: the lowest word error rate of each trial, on the exam it was chosen by.
        again: the word error rate of the same recipes on another exam.
        truth: the word error rate that every recipe really has.

    Returns:
        The figure (two histograms of different outline, the truth as a line), and its alternative
        text made from the same numbers.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, alt = winners([0.16, 0.18], [0.19, 0.21], truth=0.2)
        >>> alt
        'The winner on the exam it was chosen by: 17 % on average; on another exam: 20 %.'
        >>> plt.close(figure)
    """
    with panels(height=2.6) as (figure, [axes]):
        low, high = 100 * min(*chosen, *again), 100 * max(*chosen, *again)
        bins = np.arange(low - 0.1, high + 0.4, 0.4)  # scores of 500 words lie 0.2 apart
        chosen, again = 100 * np.asarray(chosen), 100 * np.asarray(again)
        axes.hist(chosen, bins, color=VERMILION, alpha=0.85, label="on the exam it was chosen by")
        axes.hist(
            again, bins, histtype="step", color=BLUE, lw=1.8, hatch="///", label="on another exam"
        )
        axes.axvline(100 * truth, color=BLACK, ls=":", label="the truth, for every recipe")
        axes.set(xlabel="word error rate of the winner (percent)", ylabel="trials")
        figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure, (
        f"The winner on the exam it was chosen by: {chosen.mean():.0f} % on average; on another"
        f" exam: {again.mean():.0f} %."
    )
