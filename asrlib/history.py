"""The record of a training run, a line of JSON at a time, so that a killed run loses nothing."""

import json
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
            whole = (line for line in path.read_text().splitlines() if line.endswith("}"))
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
