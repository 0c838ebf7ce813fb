"""The picture of the README: a run of notebook 00, redrawn from its stored history."""

from pathlib import Path

from asrlib.history import History
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
        ['start_here.png']
    """
    figure, _ = learning(History(FIGURES / "start_here.jsonl"))
    path = folder / "start_here.png"
    figure.savefig(path, dpi=130)
    return [path]
