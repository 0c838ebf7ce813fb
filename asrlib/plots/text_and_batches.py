"""Figures of notebook 03: symbols in boxes, padding as wasted area, and what leaks through it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from asrlib.plots import BLACK, BLUE, GREEN, GRID, ORANGE, SKY, VERMILION, panels

_ABOVE = {"textcoords": "offset points", "ha": "center", "fontsize": 9}
_WASTE = {"facecolor": "white", "edgecolor": "#8a8a99", "hatch": "////", "linewidth": 0.0}


def strips(
    rows: Sequence[tuple[str, Sequence[str]]], *, by_frame: bool = False
) -> tuple[Figure, str]:
    """Draw rows of symbols in boxes, one row above the other.

    Args:
        rows: (title, symbols) of each row; the blank is written "-".
        by_frame: True gives every symbol one frame of width, False its number of characters.

    Returns:
        The figure and its alternative text. Blanks are hatched, spaces are written as an open box.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, alt = strips([("letters", "a cat"), ("pieces", ["a", " cat"])])
        >>> alt
        'letters: a, space, c, a, t. pieces: a, space cat.'
        >>> plt.close(figure)
    """
    with panels(height=0.35 + 0.72 * len(rows)) as (figure, [axes]):
        widest = 0
        for row, (title, symbols) in enumerate(rows):
            left, bottom = 0, -1.5 * row
            axes.text(0, bottom + 0.78, title, fontsize=9.5, color=BLACK)
            for symbol in symbols:
                width = 1 if by_frame else len(symbol)
                look = dict(facecolor="#eef4fa", edgecolor=BLUE, linewidth=0.9)
                if symbol == "-":
                    look |= dict(_WASTE, linewidth=0.6)
                axes.add_patch(Rectangle((left + 0.06, bottom), width - 0.12, 0.68, **look))
                if symbol != "-":
                    label = symbol.replace(" ", "␣")
                    middle = (left + width / 2, bottom + 0.32)
                    axes.text(*middle, label, ha="center", va="center", fontsize=9)
                left += width
            widest = max(widest, left)
        axes.set(xlim=(0, widest), ylim=(-1.5 * len(rows) + 1.4, 1.15))
        axes.axis("off")
    spelled = [
        ", ".join("blank" if s == "-" else s.replace(" ", " space ").strip() for s in symbols)
        for _, symbols in rows
    ]
    return figure, " ".join(f"{title}: {names}." for (title, _), names in zip(rows, spelled))


def vocabulary(
    sizes: Sequence[int], labels: Sequence[float], rarest: Sequence[float]
) -> tuple[Figure, str]:
    """Draw what a larger vocabulary buys and what it costs.

    Args:
        sizes: symbols in each vocabulary.
        labels: labels a second of speech, of each.
        rarest: how often the rarest tenth of its symbols occurs in the training texts, at most.

    Returns:
        The figure and its alternative text.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, alt = vocabulary([29, 256], [14.8, 6.6], [900, 30])
        >>> alt
        'From 29 to 256 symbols: 14.8 to 6.6 labels a second, and the rarest tenth of the symbols is
        seen at most 900 to 30 times.'
        >>> plt.close(figure)
    """
    with panels(2, height=1.9, sharex=True) as (figure, [top, bottom]):
        top.plot(sizes, labels, color=BLUE, marker="o")
        top.axhline(12.5, color=ORANGE, ls="--", lw=1.3)
        top.text(sizes[-1], 12.9, "12.5 output frames a second", ha="right", fontsize=9)
        top.set(ylabel="labels a second", ylim=(0, None))
        top.set_title("shorter targets ...")
        bottom.plot(sizes, rarest, color=VERMILION, marker="s")
        for size, times in zip(sizes, rarest):
            bottom.annotate(f"{times:.0f}", (size, times), (0, 7), **_ABOVE)
        bottom.set(
            xscale="log",
            ylabel="rarest tenth:\ntimes seen",
            xlabel="symbols",
            ylim=(0, 1.3 * max(rarest)),
        )
        bottom.set_title("... and, from some size on, symbols that training hardly sees")
        bottom.set_xticks(sizes, [str(size) for size in sizes])
        bottom.minorticks_off()
        for axes in (top, bottom):
            axes.grid(axis="y")
    return figure, (
        f"From {sizes[0]} to {sizes[-1]} symbols: {labels[0]:.1f} to {labels[-1]:.1f} labels a"
        f" second, and the rarest tenth of the symbols is seen at most {rarest[0]:.0f} to"
        f" {rarest[-1]:.0f} times."
    )


def batches(
    durations: Sequence[float], plans: Sequence[tuple[str, Sequence[Sequence[int]]]]
) -> tuple[Figure, str]:
    """Draw batches side by side: the sound in them, and the padding on top.

    Args:
        durations: of all utterances, in seconds.
        plans: (title, batches of indices) for each panel.

    Returns:
        The figure and its alternative text. Sound is blue, padding hatched, each batch in a box.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, alt = batches([1.0, 3.0, 3.0], [("two", [[0, 1], [2]]), ("one", [[0, 1, 2]])])
        >>> alt
        'two: with the padding 1.29 times the sound. one: with the padding 1.29 times the sound.'
        >>> plt.close(figure)
    """
    with panels(len(plans), height=2.1) as (figure, rows):
        for axes, (title, plan) in zip(rows, plans):
            left = 0
            for batch in plan:
                heights = sorted((durations[i] for i in batch), reverse=True)
                _box(axes, left, heights)
                left += len(batch)
            axes.set(xlim=(0, left), ylim=(0, None), ylabel="seconds", title=title)
        rows[-1].set_xlabel("utterances, side by side; one box is one batch")
        marks = [Patch(color=BLUE, label="sound"), Patch(label="padding", **_WASTE)]
        figure.legend(handles=marks, loc="outside lower center", ncols=2)
    alt = []
    for title, plan in plans:
        boxes = sum(len(batch) * max(durations[i] for i in batch) for batch in plan)
        ratio = boxes / sum(durations[i] for batch in plan for i in batch)
        alt.append(f"{title}: with the padding {ratio:.2f} times the sound.")
    return figure, " ".join(alt)


def _box(axes: Axes, left: float, heights: Sequence[float]) -> None:
    """One batch: its clips from tall to short, and the rectangle they are padded to."""
    edges = [left + n for n in range(len(heights) + 1)]
    top = max(heights)
    axes.stairs([top] * len(heights), edges, baseline=heights, fill=True, **_WASTE)
    axes.stairs(heights, edges, fill=True, color=BLUE, linewidth=0)
    outline = dict(fill=False, edgecolor=BLACK, linewidth=0.8)
    axes.add_patch(Rectangle((left, 0), len(heights), top, **outline))


def padded_features(
    features: Float[Tensor, "batch 1 n_mels frames"],
    lengths: Int[Tensor, " batch"],
    texts: Sequence[str],
) -> tuple[Figure, str]:
    """Draw a padded batch as the network gets it.

    Args:
        features: log-mels, one panel each.
        lengths: real frames of each; what follows is hatched.
        texts: what is said in each.

    Returns:
        The figure and its alternative text.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> x = torch.randn(2, 1, 80, 50)
        >>> figure, alt = padded_features(x, torch.tensor([50, 20]), ["hi", "you"])
        >>> alt
        'Spectrograms in one batch of 50 frames: hi (50 real), you (20 real); the rest is hatched.'
        >>> plt.close(figure)
    """
    few = ListedColormap(_magma()(torch.linspace(0, 1, 12).numpy()))  # few colors: a small file
    frames = features.shape[-1]
    with panels(len(features), height=0.95, sharex=True) as (figure, rows):
        for axes, picture, length, text in zip(rows, features[:, 0], lengths.tolist(), texts):
            small = picture[:, :length].reshape(len(picture) // 4, 4, length).mean(dim=1)
            low = float(torch.quantile(small, 0.05))
            style = dict(origin="lower", aspect="auto", interpolation="nearest", cmap=few, vmin=low)
            axes.imshow(small.numpy(), extent=(0, length, 0, 1), **style)
            axes.add_patch(Rectangle((length, 0), frames - length, 1, **_WASTE))
            note = f"{frames - length} padded"
            if frames - length > 60:
                box = dict(facecolor="white", edgecolor="none", pad=2)
                middle = ((length + frames) / 2, 0.5)
                axes.text(*middle, note, ha="center", va="center", fontsize=9, bbox=box)
            axes.set(xlim=(0, frames), ylim=(0, 1), yticks=[])
            axes.set_title(f"{text} ({length} frames)", fontsize=9, pad=2)
        rows[-1].set_xlabel("frame")
    named = ", ".join(f"{text} ({length} real)" for text, length in zip(texts, lengths.tolist()))
    return figure, f"Spectrograms in one batch of {frames} frames: {named}; the rest is hatched."


def _magma():
    import matplotlib

    return matplotlib.colormaps["magma"]


def strided(frames: int, stride: int = 2) -> tuple[Figure, str]:
    """Draw which input frames each output frame of a convolution of width 3 sees.

    Args:
        frames: of the input.
        stride: of the convolution.

    Returns:
        The figure and its alternative text. The output frame that
        frames // stride forgets is a vermilion diamond.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, alt = strided(7)
        >>> alt
        'Output frames 0 to 3 stand over input frames 0, 2, 4, 6; each sees three neighbors. There
        are 4, while 7 // 2 is 3.'
        >>> plt.close(figure)
    """
    out = -(-frames // stride)
    with panels(height=2.0) as (figure, [axes]):
        for t in range(out):
            forgotten = t >= frames // stride
            color = VERMILION if forgotten else BLUE
            for seen in range(stride * t - 1, stride * t + 2):
                axes.plot((seen, stride * t), (0, 1), color=color, lw=1, ls="-", zorder=1)
            axes.plot(stride * t, 1, "D" if forgotten else "s", color=color, ms=13, zorder=2)
            axes.annotate(str(t), (stride * t, 1), ha="center", va="center", color="white")
        for t in range(-1, stride * (out - 1) + 2):
            real = 0 <= t < frames
            face = GREEN if real else "white"
            axes.plot(t, 0, "o", color=face, mec=GREEN if real else "#8a8a99", ms=13, zorder=2)
            if real:
                axes.annotate(str(t), (t, 0), ha="center", va="center", color="white")
        axes.text(stride * (out - 1) + 1.6, 0, "(hollow: a zero outside)", va="center")
        axes.text(-1.6, 1, "output", ha="right", va="center")
        axes.text(-1.6, 0, "input", ha="right", va="center")
        if frames % stride:
            axes.text(stride * (out - 1) + 0.6, 1, "forgotten by T // 2", va="center")
        axes.set(xlim=(-2.6, stride * out + 2.2), ylim=(-0.4, 1.4))
        axes.axis("off")
    over = ", ".join(str(stride * t) for t in range(out))
    return figure, (
        f"Output frames 0 to {out - 1} stand over input frames {over}; each sees three neighbors."
        f" There are {out}, while {frames} // {stride} is {frames // stride}."
    )


def room(
    rates: Sequence[tuple[str, Sequence[float]]], frame_rates: Sequence[tuple[str, float]]
) -> tuple[Figure, str]:
    """Draw how many frames a second texts need, beside how many a network gives.

    Args:
        rates: (title, required frames a second of each utterance), at most three.
        frame_rates: (title, output frames a second), drawn as upright lines.

    Returns:
        The figure and its alternative text. Left of a line there is room,
        right of it a text has no path.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, alt = room([("letters", [14.0, 15.0, 26.0])], [("stride 4", 25.0)])
        >>> alt
        'In each second, half of the texts in letters need more than 15.0 frames. Lines of frames
        given: stride 4 at 25.'
        >>> plt.close(figure)
    """
    looks = [
        dict(color=BLUE, fill=True, alpha=0.55),
        dict(edgecolor=ORANGE, fill=False, hatch="\\\\\\", lw=1.4),
        dict(edgecolor=GREEN, fill=False, lw=1.8),
    ]
    with panels(height=2.9) as (figure, [axes]):
        edges = [0.5 * n for n in range(0, 61)]
        highest = 0
        for (title, values), look in zip(rates, looks):
            counts = torch.histogram(torch.tensor(values), torch.tensor(edges)).hist.tolist()
            axes.stairs(counts, edges, label=title, **look)
            highest = max(highest, *counts)
        for title, rate in frame_rates:
            axes.axvline(rate, color=BLACK, lw=1.6)
            axes.text(rate + 0.2, 1.22 * highest, title, fontsize=9, va="top")
        axes.set(xlim=(0, 30), ylim=(0, 1.25 * highest))
        axes.set(xlabel="frames a second that the text needs", ylabel="utterances")
        figure.legend(loc="outside lower center", ncols=len(rates))
    middle = "; ".join(
        f"half of the texts in {name} need more than {torch.tensor(values).median():.1f} frames"
        for name, values in rates
    )
    lines = ", ".join(f"{title} at {rate:g}" for title, rate in frame_rates).replace("\n", " ")
    return figure, f"In each second, {middle}. Lines of frames given: {lines}."


def hidden_losses(losses: Sequence[float]) -> tuple[Figure, str]:
    """Draw the loss of each utterance, true and as zero_infinity reports it.

    Args:
        losses: of each utterance; inf where it has no path.

    Returns:
        The figure and its alternative text. A cross at 0 under an
        infinity sign stands where the zero hides an infinite loss.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, alt = hidden_losses([3.0, float("inf"), 5.0])
        >>> alt
        'Losses of 3 utterances; 1 of them are infinite and would be reported as 0.'
        >>> plt.close(figure)
    """
    finite = [loss if loss < float("inf") else 0.0 for loss in losses]
    top = max(*finite, 1.0)
    with panels(height=2.2) as (figure, [axes]):
        axes.bar(range(len(losses)), finite, color=BLUE, width=0.7)
        for n, loss in enumerate(losses):
            if loss == float("inf"):
                axes.plot(n, 0, "X", color=VERMILION, ms=9, clip_on=False, zorder=3)
                axes.text(n, 0.07 * top, "∞", ha="center", fontsize=13)
        axes.set(xlabel="utterance", ylabel="loss (nats)", xticks=range(len(losses)))
        axes.set_title("blue: a real loss; cross: no path, reported as 0")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    infinite = sum(loss == float("inf") for loss in losses)
    return figure, (
        f"Losses of {len(losses)} utterances; {infinite} of them are infinite and would be reported"
        " as 0."
    )


def moved(
    distances: Sequence[tuple[str, Float[Tensor, " frames"]]], limit: float
) -> tuple[Figure, str]:
    """Draw how far the output of one utterance moves, frame by frame, when others join its batch.

    Args:
        distances: (title, distance of each frame) for each network, at most three.
        limit: what a test would allow.

    Returns:
        The figure, logarithmic (below 1e-8 counts as 1e-8), and its alternative text.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, alt = moved([("broken", torch.ones(50)), ("fixed", torch.zeros(50))], 1e-5)
        >>> alt
        'Frames whose output moves by more than 1e-05: broken 0 to 49, fixed none.'
        >>> plt.close(figure)
    """
    looks = [(VERMILION, "-", "o"), (ORANGE, "--", "s"), (BLUE, ":", "^")]
    with panels(height=3.1) as (figure, [axes]):
        for (title, distance), (color, line, marker) in zip(distances, looks):
            values = distance.clamp(min=1e-8).tolist()
            every = max(1, len(values) // 12)
            style = dict(color=color, ls=line, marker=marker, markevery=every, ms=5, lw=1.6)
            axes.plot(values, label=title, **style)
        axes.axhspan(1e-8, limit, color=SKY, alpha=0.18, lw=0)
        axes.text(0.01, limit * 0.55, "rounding: allowed", va="top", fontsize=9, color=BLACK)
        axes.set(yscale="log", ylim=(1e-8, 2), xlabel="frame of the utterance")
        axes.set(ylabel="largest change of\na log-probability", xlim=(0, None))
        axes.grid(axis="y", color=GRID)
        figure.legend(loc="outside lower center", ncols=3)
    spans = []
    for title, distance in distances:
        far = (distance > limit).nonzero().flatten().tolist()
        spans.append(f"{title} {far[0]} to {far[-1]}" if far else f"{title} none")
    return figure, f"Frames whose output moves by more than {limit:g}: {', '.join(spans)}."
