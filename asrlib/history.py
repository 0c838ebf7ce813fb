"""The record of a training run, a line of JSON at a time, so that a killed run loses nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asrlib.files import atomic_file


class History:
    """The record of a run: a dictionary a line, in memory and in a JSON-lines file.

    Example:
        >>> history = History()
        >>> history.append({"kind": "step", "step": 1, "loss": 3.4})
        >>> history.column("step", "loss")
        [3.4]
    """

    def __init__(
        self,
        path: Path | None = None,
        up_to_step: int | None = None,
        up_to_epoch: int | None = None,
    ) -> None:
        """Open a record.

        Args:
            path: the file; None keeps it in memory.
            up_to_step: forget later lines, which a resumed run will write again.
            up_to_epoch: and the ends of later epochs (one may fall on `up_to_step` itself).
        """
        self.path, self.rows = path, []
        if path and path.is_file():
            lines = path.read_text().splitlines(keepends=True)
            whole = (line for line in lines if line.endswith("}\n"))
            self.rows = [json.loads(line) for line in whole]  # a kill can cut the last line
            if up_to_step is not None:
                self.rows = [row for row in self.rows if row["step"] <= up_to_step]
                if up_to_epoch is not None:
                    self.rows = [
                        r for r in self.rows if r["kind"] != "epoch" or r["epoch"] <= up_to_epoch
                    ]
                with atomic_file(path) as part:
                    part.write_text("".join(json.dumps(row) + "\n" for row in self.rows))

    def append(self, row: dict[str, Any]) -> None:
        """Add a line."""
        self.rows.append(row)
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")

    def column(self, kind: str, name: str) -> list[Any]:
        """Collect one number over all lines of a kind ("step" or "epoch")."""
        return [row[name] for row in self.rows if row["kind"] == kind]


def blank_plateau(
    steps: Sequence[int], blank_fractions: Sequence[float], level: float = 0.95
) -> tuple[int, int] | None:
    """Find where a network answered (nearly) every frame with the blank.

    CTC networks learn early that the blank is a safe answer, and sit there until they tell sounds
    apart. The plateau is the longest stretch of logged steps at or above the level. One step below
    is a batch that differs; where two in a row are below, the first of them is the end.

    Args:
        steps: that were logged, rising: of the lines of a history, or of the moments of a film.
        blank_fractions: of each, in [0, 1].
        level: the least fraction that counts.

    Returns:
        The first step of the plateau and the step of its end, which is the last logged step where
        the network never left it; None where there is no plateau.

    Example:
        >>> blank_plateau([1, 20, 40, 60, 80, 100], [0.05, 0.98, 0.93, 1.0, 0.7, 0.6])
        (20, 80)
    """
    stretches, first, end = [], None, None
    for step, fraction in zip(steps, blank_fractions):
        if fraction >= level:
            first, end = step if first is None else first, None
        elif first is not None and end is None:
            end = step  # if the next one is below, too
        elif first is not None:
            stretches.append((first, end))
            first = end = None
    if first is not None:
        stretches.append((first, steps[-1] if end is None else end))
    return max(stretches, key=lambda stretch: stretch[1] - stretch[0], default=None)
