"""The pictures of the README and of RESULTS.md, redrawn from their stored results."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from asrlib.ablation import Row, load_table
from asrlib.history import History
from asrlib.plots import BLUE, ORANGE, panels
from asrlib.plots.start_here import learning

FIGURES = Path(__file__).parents[2] / "figures"


def redraw(folder: Path = FIGURES) -> list[Path]:
    """Draw every stored figure anew; `python -m asrlib figures` does it.

    Args:
        folder: where to write; the results are read from `figures/`.

    Returns:
        The files written.

    Example:
        >>> import tempfile
        >>> [path.name for path in redraw(Path(tempfile.mkdtemp()))]
        ['start_here.png', 'ablation_tiny.png']
    """
    drawn = {
        "start_here": learning(History(FIGURES / "start_here.jsonl"))[0],
        "ablation_tiny": ablation(load_table(FIGURES / "ablation_tiny.jsonl")),
    }
    for name, figure in drawn.items():
        source = hashlib.sha256((FIGURES / f"{name}.jsonl").read_bytes()).hexdigest()
        figure.savefig(folder / f"{name}.png", dpi=130, metadata={"Source": source})
        plt.close(figure)
    return [folder / f"{name}.png" for name in drawn]


def ablation(rows: Sequence[Row]) -> Figure:
    """Draw what each change does to the word error rate, the best change on top.

    Args:
        rows: of `asrlib.ablation.table`, the recipe first.

    Returns:
        The figure: a mark a change with its 95 % interval over voices, a hollow square where that
        holds zero, and a small line for each seed, which the interval knows nothing of.

    Example:
        >>> rows = [Row("the recipe", [], [0.2], [0.1], [1.0], 0.0, 0.0, 0.0)]
        >>> rows += [Row("no dropout", ["dropout=0"], [0.3], [0.1], [1.0], 0.1, 0.05, 0.15)]
        >>> figure = ablation(rows)
        >>> figure.axes[0].get_yticklabels()[0].get_text()
        'no dropout'
        >>> plt.close(figure)
    """
    changes = sorted(rows[1:], key=lambda row: row.worse)
    with panels(height=0.7 + 0.32 * len(changes)) as (figure, [axis]):
        axis.axvline(0, color="#8a8a99", linewidth=1)
        for place, row in enumerate(changes):
            sure = row.low > 0 or row.high < 0
            color = BLUE if row.worse < 0 else ORANGE
            axis.plot([100 * row.low, 100 * row.high], [place, place], color=color)
            for seed, rate in enumerate(row.wer):
                own = 100 * (rate - rows[0].wer[seed])
                axis.plot(own, place, color="#4a4a57", marker="|", markersize=11)
            look = {"marker": "o"} if sure else {"marker": "s", "markerfacecolor": "white"}
            axis.plot(100 * row.worse, place, color=color, linestyle="none", **look)
        axis.set_yticks(range(len(changes)), [row.change for row in changes])
        axis.invert_yaxis()
        axis.set_xlabel(
            "WER minus the recipe's, in points (left: better)\nbar: 95 % over voices; |: a seed"
        )
        base = " and ".join(f"{100 * rate:.1f}" for rate in rows[0].wer)
        axis.set_title(f"One thing changed; the recipe: {base} %")
    return figure
