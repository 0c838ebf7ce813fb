"""Every figure of the series. One look for all: calm, safe for color blindness, never color alone.

A figure is shown with `show(figure, alt=...)`, which stores the alternative text in the notebook
and refuses to draw without one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito 2008: eight colors that people with any kind of color vision tell apart.
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#1b1b1b",
)
GRID = "#d9d9e3"

_STYLE = {
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8a99",
    "axes.labelcolor": BLACK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.grid": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": "#4a4a57",
    "ytick.color": "#4a4a57",
    "font.size": 10,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
}


@contextmanager
def panels(
    rows: int = 1, *, width: float = 7.5, height: float = 2.6, **options: object
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Make panels one above the other in the look of the series.

    Args:
        rows: how many.
        width: of the figure, in inches.
        height: of one panel, in inches.
        options: for `plt.subplots`, such as sharex.

    Yields:
        The figure and its axes, top first.

    Example:
        >>> with panels(2) as (figure, axes):
        ...     len(axes)
        2
        >>> plt.close(figure)
    """
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            rows, figsize=(width, height * rows), squeeze=False, layout="constrained", **options
        )
        yield figure, [row[0] for row in axes]


def show(figure: Figure, *, alt: str) -> None:
    """Show a figure in the notebook, with the text that takes its place for who cannot see it.

    Args:
        figure: what to show; it is closed afterwards.
        alt: what the figure says, in one or two sentences.

    Raises:
        ValueError: no alternative text.

    Example:
        >>> with panels() as (figure, axes):
        ...     show(figure, alt=" ")
        Traceback (most recent call last):
        ValueError: a figure needs alternative text: what does it show?
    """
    if not alt.strip():
        plt.close(figure)
        raise ValueError("a figure needs alternative text: what does it show?")
    from IPython.display import display  # outside notebooks nobody needs it

    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)
