"""Figures of notebook 00: a spectrogram, what the network says, and how it learned."""

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from asrlib.features import frame_to_seconds
from asrlib.metrics import align_words
from asrlib.plots import BLACK, BLUE, ORANGE, SKY, VERMILION, panels
from asrlib.text import ALPHABET, BLANK
from asrlib.training import History


def spectrogram(log_mel: Float[Tensor, "n_mels frames"], *, title: str = "") -> Figure:
    """Draw a log-mel spectrogram: time to the right, pitch upward, bright is loud.

    Args:
        log_mel: natural log of the mel power, 100 frames a second.
        title: of the figure.

    Returns:
        The figure.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> plt.close(spectrogram(torch.randn(80, 100)))
    """
    with panels(height=2.8) as (figure, [axes]):
        seconds = frame_to_seconds(log_mel.shape[1])
        image = axes.imshow(
            log_mel.numpy(),
            origin="lower",
            aspect="auto",
            cmap="magma",
            extent=(0, seconds, 0, len(log_mel)),
            vmin=float(torch.quantile(log_mel, 0.05)),
        )
        axes.set(title=title, xlabel="time (seconds)", ylabel="mel band")
        bar = figure.colorbar(image, ax=axes, pad=0.01)
        bar.set_label("log power")
        bar.outline.set_visible(False)
    return figure


def posteriors(
    log_probs: Float[Tensor, "frames vocab"], *, seconds: float, title: str = ""
) -> Figure:
    """Draw what the network says at each moment: the blank, or a letter at its peak.

    Args:
        log_probs: natural log, of one utterance.
        seconds: its duration.
        title: of the figure.

    Returns:
        The figure. Letters stand above their peaks, so color is not needed to read it.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> plt.close(posteriors(torch.randn(50, 29).log_softmax(-1), seconds=2.0))
    """
    probabilities = log_probs.exp()
    times = ((torch.arange(len(log_probs)) + 0.5) * seconds / len(log_probs)).numpy()
    with panels(height=2.4) as (figure, [axes]):
        axes.fill_between(
            times,
            probabilities[:, BLANK].numpy(),
            color=SKY,
            alpha=0.25,
            lw=0,
            label="blank (no letter)",
        )
        letters = probabilities[:, 1:].max(dim=1)
        axes.plot(times, letters.values.numpy(), color=BLUE, lw=1.2, label="likeliest letter")
        best = log_probs.argmax(dim=1)
        for frame, symbol in enumerate(best.tolist()):
            if symbol != BLANK and (frame == 0 or best[frame - 1] != symbol):
                axes.annotate(
                    ALPHABET[symbol - 1].replace(" ", "␣"),
                    (times[frame], 1.02),
                    ha="center",
                    fontsize=10,
                    color=BLACK,
                    annotation_clip=False,
                )
        axes.set(xlim=(0, seconds), ylim=(0, 1), xlabel="time (seconds)", ylabel="probability")
        axes.set_title(title, pad=18)
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def learning(history: History) -> tuple[Figure, str]:
    """Draw how a run learned: the loss, the share of blanks, the word error rate.

    Args:
        history: of a run with a validation set.

    Returns:
        The figure, and its alternative text made from the same numbers.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> history = History()
        >>> history.append({"kind": "step", "epoch": 1, "step": 1, "loss": 3.0})
        >>> for n, wer in (1, 1.0), (2, 0.5):
        ...     row = {"kind": "epoch", "epoch": n, "step": n, "wer": wer, "blank_fraction": 0.9}
        ...     history.append(row)
        >>> figure, alt = learning(history)
        >>> alt
        'Loss from 3.0 to 3.0; blanks from 90 % to 90 %; word error rate from 100 % to 50 %.'
        >>> plt.close(figure)
    """
    steps, losses = history.column("step", "step"), history.column("step", "loss")
    ends = history.column("epoch", "step")
    blanks = [100 * x for x in history.column("epoch", "blank_fraction")]
    errors = [100 * x for x in history.column("epoch", "wer")]
    with panels(2, height=2.2, sharex=True) as (figure, [top, bottom]):
        top.plot(steps, losses, color=BLUE, lw=1.2)
        top.set(ylabel="loss\n(nats a letter)", ylim=(0, None))
        top.set_title("training loss")
        bottom.plot(ends, errors, color=VERMILION, marker="o", ms=4, label="word error rate")
        bottom.plot(ends, blanks, color=ORANGE, marker="s", ms=4, ls="--", label="blank frames")
        bottom.set(ylabel="percent", xlabel="training step", ylim=(0, max(105, *errors)))
        bottom.set_title("on voices and sentences it never trained on")
        bottom.legend(loc="upper right")
        for axes in (top, bottom):
            axes.grid(axis="y")
    return figure, (
        f"Loss from {losses[0]:.1f} to {losses[-1]:.1f}; blanks from {blanks[0]:.0f} % to"
        f" {blanks[-1]:.0f} %; word error rate from {errors[0]:.0f} % to {errors[-1]:.0f} %."
    )


def transcript_table(references: list[str], hypotheses: list[str]) -> str:
    """Lay transcripts beside the truth as an HTML table with the errors marked.

    Args:
        references: what was said.
        hypotheses: what the recognizer wrote.

    Returns:
        HTML: a wrong word is struck out and the one that was said stands behind it in brackets,
        an invented word carries a plus, a missed one brackets and a minus. Marks, not colors.

    Example:
        >>> "<del>rat</del> [cat]" in transcript_table(["the cat"], ["the rat"])
        True
    """
    from html import escape

    rows = []
    for reference, hypothesis in zip(references, hypotheses):
        words = []
        for kind, said, heard in align_words(reference, hypothesis):
            said, heard = escape(said or ""), escape(heard or "")
            words.append(
                {
                    "equal": heard,
                    "substitute": f"<del>{heard}</del> [{said}]",
                    "insert": f"<del>{heard}</del> [+]",
                    "delete": f"[− {said}]",
                }[kind]
            )
        mark = "✓" if reference == hypothesis else "✗"
        rows.append(
            f"<tr><td>{mark}</td><td>{escape(reference)}</td><td>{' '.join(words)}</td></tr>"
        )
    head = "<tr><th></th><th>what was said</th><th>what the recognizer wrote</th></tr>"
    style = "text-align:left;font-size:14px"
    return f'<table style="{style}">{head}{"".join(rows)}</table>'.replace(
        "<td>", '<td style="text-align:left">'
    ).replace("<th>", '<th style="text-align:left">')
