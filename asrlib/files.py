"""Replace a file so that it is the old one or the new one, never half of each."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file so that a crash, a full disk or a power cut leaves the old one whole.

    Args:
        path: the file to replace; missing folders are made.

    Yields:
        A temporary path in the same folder; it takes the place of `path` if the block succeeds.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_file(folder / "note.txt") as part:
        ...     _ = part.write_text("hello")
        >>> [file.name for file in folder.iterdir()]
        ['note.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}-{os.getpid()}.part")
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())  # on the disk before the name moves
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
