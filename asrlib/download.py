"""Fetch LibriSpeech: resumable, verified download of one archive from the first mirror that works.

What arrives is kept in `<file>.part`. A broken connection is followed by another that asks only for
the rest (an HTTP Range request), and the file gets its name only when its SHA-256 digest is right.
"""

import hashlib
import http.client
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

# The first is the host torchaudio 2.11 downloads from; the others are mirrors that public recipes
# quote. We tried none, having no network: a dead one costs a timeout, a wrong one fails the digest.
LIBRISPEECH_MIRRORS = (
    "https://www.openslr.org/resources/12/",
    "https://us.openslr.org/resources/12/",
    "https://openslr.elda.org/resources/12/",
    "https://openslr.magicdatatech.com/resources/12/",
)
ARCHIVE_AND_TREE = 2.1  # times the archive: FLAC does not compress further; a disk has blocks
CHUNK_BYTES = 64 * 1024  # also the most that a timeout loses


def download(
    urls: str | Iterable[str],
    destination: str | Path,
    sha256: str,
    *,
    progress: bool = True,
    timeout_seconds: float = 30.0,
    attempts: int = 3,
) -> Path:
    """Download one file from the first mirror that delivers the right bytes.

    Args:
        urls: The file's address on each mirror, best first; one string is one address.
        destination: The file to write; missing parent folders are made.
        sha256: The file's SHA-256 digest, 64 hexadecimal digits.
        progress: Print percent, MB, MB/s and time left; outside a terminal once a tenth.
        timeout_seconds: How long a server may be silent.
        attempts: How many connections to try before going on to the next mirror.

    Returns:
        `destination` as a Path. If it already has the digest, nothing is fetched.

    Raises:
        ConnectionError: Every mirror failed; the message gives each one's reason.
        OSError: The disk cannot be written or lacks room: for a .tar.gz, archive and tree.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:  # the file is there: not fetched
        ...     path = Path(folder) / "empty"
        ...     path.touch()
        ...     download("https://example.org/", path, hashlib.sha256().hexdigest()) == path
        True
    """
    destination, sha256 = Path(destination), sha256.lower()
    if destination.exists() and _sha256(destination) == sha256:
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    reasons = {}
    for url in [urls] if isinstance(urls, str) else urls:
        for attempt in range(attempts):
            time.sleep(attempt)
            resumed, found = part.exists(), None
            try:
                _receive(url, part, progress, timeout_seconds)
                found = _sha256(part)
                if found == sha256:
                    return part.replace(destination)
                part.unlink()
                reasons[url] = f"wrong SHA-256 {found[:8]}..., not {sha256[:8]}..."
            except ConnectionError as error:
                reasons[url] = str(error)
            if progress:
                print(f"{url}: {reasons[url]}", flush=True)
            if found and not resumed:
                break  # every byte came from this mirror; else the earlier ones may be the wrong
    listed = "".join(f"\n  {url}: {reason}" for url, reason in reasons.items())
    raise ConnectionError(f"no mirror brought {destination}; running again resumes.{listed}")


def extract(archive: str | Path, destination: str | Path) -> Path:
    """Unpack a .tar.gz into a folder, safely and without ever showing half of it.

    All is unpacked into a hidden folder in `destination` (a rename works only within one disk);
    then each folder that is new appears by one rename, and to those that exist, files are added.

    Args:
        archive: A gzip-compressed tar file.
        destination: The folder to unpack into; made if missing.

    Returns:
        `destination` as a Path.

    Raises:
        FileNotFoundError: There is no such archive.
        ValueError: The archive is damaged, or a member would be written outside `destination`.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with tarfile.open(f"{folder}/a.tar.gz", "w:gz") as tar:
        ...         tar.addfile(tarfile.TarInfo("LibriSpeech/README.TXT"))
        ...     tree = extract(f"{folder}/a.tar.gz", f"{folder}/data")
        ...     sorted(path.name for path in tree.rglob("*"))
        ['LibriSpeech', 'README.TXT']
    """
    destination = Path(destination)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            destination.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=destination) as temporary:
                tar.extractall(temporary, filter="data")
                _move_into(Path(temporary), destination)
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{archive} is damaged or unsafe, not unpacked: {error}") from error
    return destination


def librispeech_digests() -> dict[str, str]:
    """Give the SHA-256 digest of each LibriSpeech archive, as torchaudio carries them.

    Returns:
        For each subset name 64 hexadecimal digits.

    Example:
        >>> len(librispeech_digests()["test-clean"])
        64
    """
    # Imported here since it takes seconds. The table is private, but torchaudio is pinned exactly.
    from torchaudio.datasets.librispeech import _CHECKSUMS

    return {url.rpartition("/")[2].removesuffix(".tar.gz"): sha for url, sha in _CHECKSUMS.items()}


def download_librispeech(
    subset: str,
    root: str | Path,
    progress: bool = True,
    *,
    mirrors: Iterable[str] = LIBRISPEECH_MIRRORS,
) -> Path:
    """Download and unpack one LibriSpeech subset, unless it is there; the archive is then deleted.

    Args:
        subset: One of torchaudio's subset names, such as "dev-clean".
        root: The folder that holds, or will hold, `LibriSpeech/<subset>`.
        progress: Print how far the download is.
        mirrors: Base URLs, best first.

    Returns:
        The folder `<root>/LibriSpeech/<subset>`.

    Raises:
        ValueError: There is no such subset.
        ConnectionError: Every mirror failed.
        OSError: There is no room for archive and tree (2.1 times the archive).

    Example:
        >>> with tempfile.TemporaryDirectory() as root:
        ...     speaker = Path(root) / "LibriSpeech" / "dev-clean" / "84"
        ...     speaker.mkdir(parents=True)
        ...     download_librispeech("dev-clean", root) == speaker.parent  # there: nothing to do
        True
    """
    digests = librispeech_digests()
    if subset not in digests:
        raise ValueError(f"subset {subset!r} is not one of {', '.join(sorted(digests))}")
    tree = Path(root) / "LibriSpeech" / subset
    if tree.is_dir() and any(tree.iterdir()):
        return tree
    archive = Path(root) / f"{subset}.tar.gz"
    keep_archive = archive.exists()  # the reader's own
    urls = [f"{base.rstrip('/')}/{archive.name}" for base in mirrors]
    download(urls, archive, digests[subset], progress=progress)
    extract(archive, root)
    if not keep_archive:
        archive.unlink()
    return tree


def _receive(url: str, part: Path, progress: bool, timeout_seconds: float) -> None:
    """Append to `part` what one connection sends; return once the server has no more."""
    size = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout_seconds)
    except (OSError, http.client.HTTPException) as error:
        if size and getattr(error, "code", None) == 416:
            return  # no such range: `part` is as long as the file, or longer
        raise ConnectionError(str(error)) from error
    with response:
        if response.status != 206:
            size = 0  # the whole file comes, whatever was asked for
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {size}-"):
            part.unlink(missing_ok=True)
            raise ConnectionError("sent another range than asked for")
        total = None if response.length is None else size + response.length
        needed = (total or 0) * (ARCHIVE_AND_TREE if ".tar" in part.name else 1) - size
        if needed > (free := shutil.disk_usage(part.parent).free):
            raise OSError(f"{part} needs {needed / 1e6:.1f} MB more, {free / 1e6:.1f} MB are free")
        with open(part, "ab" if size else "wb") as file:
            for chunk in _chunks(response, size, total if progress else None):
                file.write(chunk)
            size = file.tell()
    if size < (total or 0):
        raise ConnectionError(f"broke off after {size} of {total} bytes")


def _chunks(response: http.client.HTTPResponse, done: int, total: int | None) -> Iterator[bytes]:
    """Yield what a server sends; given a total, print how far it is."""
    redraw, last_step = total and sys.stdout.isatty(), None
    start, before = time.monotonic(), done
    try:
        while chunk := response.read(CHUNK_BYTES):
            yield chunk
            done += len(chunk)
            if total and (step := (1000 if redraw else 10) * done // total) != last_step:
                speed = (done - before) / max(time.monotonic() - start, 1e-3)
                text = f"{100 * done // total:3} % of {total / 1e6:.1f} MB, {speed / 1e6:.1f} MB/s"
                text += f", {(total - done) / speed:.0f} s left"
                print(f"\r{text:<60}" if redraw else text, end="" if redraw else "\n", flush=True)
                last_step = step
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(str(error)) from error
    finally:
        print(end="\n" if redraw else "")


def _sha256(path: Path) -> str:
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest()


def _move_into(source: Path, target: Path) -> None:
    if source.is_dir() and target.is_dir():
        for child in sorted(source.iterdir(), key=Path.is_dir):  # a subset after its speaker list
            _move_into(child, target / child.name)
    else:
        source.replace(target)
