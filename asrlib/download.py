"""Fetch LibriSpeech: resumable downloads from several mirrors, checked by SHA-256, then unpacked.

Example:
    >>> sorted(librispeech_digests())[:2]
    ['dev-clean', 'dev-other']
"""

import datetime
import errno
import gzip
import hashlib
import http.client
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

# The first is the host torchaudio 2.11 downloads from (there over http); the others are the US, EU
# and CN mirrors that public recipes quote from openslr.org/12. None of the four was tried by us:
# this was written without network access. A dead one costs a timeout, a wrong one fails the digest.
LIBRISPEECH_MIRRORS = (
    "https://www.openslr.org/resources/12/",
    "https://us.openslr.org/resources/12/",
    "https://openslr.elda.org/resources/12/",
    "https://openslr.magicdatatech.com/resources/12/",
)
# FLAC does not compress further, so a tree is about as large as its archive; the tenth on top is
# for the file system's blocks, of which every one of some 28,000 files wastes a half.
TREE_BYTES_PER_ARCHIVE_BYTE = 1.1
SPACE_MARGIN_BYTES = 64 * 1024**2
CHUNK_BYTES = 1024**2
# A server slower than this only pretends to be alive: dev-clean would take days.
MIN_BYTES_PER_SECOND = 1000


def download(
    urls: str | Iterable[str],
    destination: str | Path,
    sha256: str,
    *,
    expected_bytes: int | None = None,
    progress: bool = True,
    timeout_seconds: float = 30.0,
    attempts: int = 3,
    space_factor: float = 1.0,
) -> Path:
    """Download one file from the first mirror that delivers the right bytes.

    Data goes to `<destination>.part`, which is renamed only when its digest is right. An
    interrupted download resumes with an HTTP Range request, in the same call or in a later one. A
    `destination` that has the digest is left alone, one that has not is replaced. Proxies set in
    the environment are honored. Only one process at a time may write the same destination.

    Args:
        urls: The file's http(s) address on each mirror, best first; one string is one address.
        destination: The file to write; missing parent folders are made.
        sha256: The file's SHA-256 digest, 64 hexadecimal digits.
        expected_bytes: The file's exact size, if known; else the servers' word is taken.
        progress: Print percent, MB, MB/s and time left: on a terminal one line that redraws
            itself, elsewhere a line for each tenth of the file.
        timeout_seconds: How long a server may be silent before it is given up.
        attempts: How many connections in a row may break before the next mirror is tried, not
            counting those that brought 1 MiB or more of new data.
        space_factor: Free disk space to ask for, as a multiple of the file's size.

    Returns:
        `destination` as a Path.

    Raises:
        ValueError: An argument is out of range, or `destination` is a folder.
        ConnectionError: Every mirror failed; the message gives each one's reason.
        OSError: The disk is too full (errno ENOSPC) or cannot be written.

    Example:
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Path(folder.name) / "hello.txt"
        >>> _ = path.write_bytes(b"hello")
        >>> digest = hashlib.sha256(b"hello").hexdigest()
        >>> download("https://example.org/hello.txt", path, digest).name  # there: no connection
        'hello.txt'
        >>> folder.cleanup()
    """
    urls = [urls] if isinstance(urls, str) else list(urls)
    destination, sha256 = Path(destination), sha256.lower()
    if not urls or any(urlsplit(url).scheme not in ("http", "https") for url in urls):
        raise ValueError(f"urls must be one or more http:// or https:// addresses, got {urls}")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, got {sha256!r}")
    if timeout_seconds <= 0:
        raise ValueError(f"timeout_seconds must be above 0, got {timeout_seconds}")
    if attempts < 1:
        raise ValueError(f"attempts must be at least 1, got {attempts}")
    if destination.is_dir():
        raise ValueError(f"destination {destination} is a folder, not a file")
    if destination.exists() and _hash_file(destination).hexdigest() == sha256:
        return destination

    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    shown = _Progress(destination.name, progress)
    reasons: list[str] = []
    disk_full = False
    with _Transfer(part, expected_bytes, timeout_seconds, space_factor, shown) as transfer:
        # True at once if an earlier run died between the last byte and the renaming.
        done = transfer.hasher.hexdigest() == sha256
        if not done and expected_bytes is not None:
            transfer.require_space(expected_bytes)
        while not done and len(reasons) < len(urls):
            url = urls[len(reasons)]
            try:
                transfer.run(url, sha256, attempts)
                done = True
            except _Refusal as refusal:
                reasons.append(f"{url} {refusal}")
                shown.say(reasons[-1])
            except OSError as error:
                # The size may be only this server's word, so the others are asked as well.
                if error.errno != errno.ENOSPC:
                    raise
                disk_full = True
                reasons.append(f"{url} was not used: {error.strerror}")
        if not done:
            message = "\n  ".join([f"{destination.name} could not be downloaded:", *reasons])
            message += f"\nRunning again resumes; {transfer.size / 1e6:.1f} MB are kept in {part}"
            raise OSError(errno.ENOSPC, message) if disk_full else ConnectionError(message)
    os.replace(part, destination)
    return destination


def extract(archive: str | Path, destination: str | Path) -> Path:
    """Unpack a .tar.gz into a folder, safely and without ever showing half of it.

    The archive is unpacked into a temporary folder, and each folder that `destination` lacks then
    appears by one rename; folders that exist are added to, files of the same name replaced.
    A killed process may leave a hidden `.<archive>.extracting-*` folder, which can be deleted.

    Args:
        archive: A gzip-compressed tar file.
        destination: The folder to unpack into; made if missing.

    Returns:
        `destination` as a Path.

    Raises:
        FileNotFoundError: There is no such archive.
        ValueError: The archive is damaged, or a member would be written outside `destination`.

    Example:
        >>> folder = tempfile.TemporaryDirectory()
        >>> archive = Path(folder.name) / "a.tar.gz"
        >>> with tarfile.open(archive, "w:gz") as tar:
        ...     tar.addfile(tarfile.TarInfo("LibriSpeech/README.TXT"))
        >>> sorted(path.name for path in extract(archive, Path(folder.name) / "data").rglob("*"))
        ['LibriSpeech', 'README.TXT']
        >>> folder.cleanup()
    """
    archive, destination = Path(archive), Path(destination)
    if not archive.is_file():
        raise FileNotFoundError(f"archive {archive} does not exist")
    if not hasattr(tarfile, "data_filter"):
        raise RuntimeError(
            f"Python {sys.version.split()[0]} cannot unpack safely (3.10.12, 3.11.4 and 3.12 can); "
            f"update it, or unpack by hand: tar -xzf {archive} -C {destination}"
        )
    # Inside an existing destination, since its parent may be another disk, across which nothing is
    # renamed; beside a missing one, so that it appears complete or not at all.
    beside = destination if destination.is_dir() else destination.parent
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{archive.name}.extracting-", dir=beside, ignore_cleanup_errors=True
    ) as temporary:
        # One level down, because the temporary folder itself is closed to other users.
        tree = Path(temporary) / "tree"
        tree.mkdir()
        try:
            with tarfile.open(archive, "r:gz") as tar:
                tar.extractall(tree, filter="data")
                while tar.fileobj.read(CHUNK_BYTES):
                    pass  # tar stops before gzip's checksum, which is checked at the very end
        except tarfile.FilterError as error:
            raise ValueError(f"{archive} is unsafe and was not unpacked: {error}") from error
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(
                f"{archive} is not a complete tar.gz ({error}); delete it and download it again"
            ) from error
        _move_into(tree, destination)
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
    """Download and unpack one LibriSpeech subset, unless it is already there.

    The archive `<root>/<subset>.tar.gz` is deleted after unpacking, unless it was there before.

    Args:
        subset: One of torchaudio's subset names, such as "dev-clean".
        root: The folder that holds, or will hold, `LibriSpeech/<subset>`.
        progress: Print how far the download is.
        mirrors: Base URLs, best first.

    Returns:
        The folder `<root>/LibriSpeech/<subset>`.

    Raises:
        ValueError: There is no such subset, or the archive does not hold it.
        ConnectionError: Every mirror failed.
        OSError: There is no room for archive and tree (2.1 times the archive).

    Example:
        >>> folder = tempfile.TemporaryDirectory()
        >>> speaker = Path(folder.name) / "LibriSpeech" / "dev-clean" / "84"
        >>> speaker.mkdir(parents=True)
        >>> download_librispeech("dev-clean", folder.name) == speaker.parent  # there: nothing to do
        True
        >>> folder.cleanup()
    """
    digests = librispeech_digests()
    if subset not in digests:
        raise ValueError(f"subset {subset!r} is not one of {', '.join(sorted(digests))}")
    root = Path(root)
    tree = root / "LibriSpeech" / subset
    if tree.is_dir() and any(tree.iterdir()):
        return tree
    archive = root / f"{subset}.tar.gz"
    keep_archive = archive.exists()
    urls = [f"{base.rstrip('/')}/{archive.name}" for base in mirrors]
    space_factor = 1 + TREE_BYTES_PER_ARCHIVE_BYTE
    download(urls, archive, digests[subset], progress=progress, space_factor=space_factor)
    tree_bytes = TREE_BYTES_PER_ARCHIVE_BYTE * archive.stat().st_size
    _require_space(root, tree_bytes, f"unpacking {archive.name}")
    if progress:
        print(f"unpacking {archive} ...", flush=True)
    extract(archive, root)
    if not tree.is_dir():
        raise ValueError(f"{archive} holds no folder LibriSpeech/{subset}")
    if not keep_archive:
        archive.unlink()
    return tree


class _Refusal(Exception):
    """Why a mirror is given up; the text continues a sentence that begins with its address."""


class _Transfer:
    """The .part file, the running digest of its content, and the connections that fill it."""

    def __init__(
        self,
        path: Path,
        expected_bytes: int | None,
        timeout_seconds: float,
        space_factor: float,
        progress: "_Progress",
    ) -> None:
        self.path, self.expected_bytes, self.progress = path, expected_bytes, progress
        self.timeout_seconds, self.space_factor = timeout_seconds, space_factor
        self.source: str | None = None  # who sent the first byte; None: an earlier run
        # Not urlopen, which keeps the proxies that were set at its first call.
        self.opener = urllib.request.build_opener()

    def __enter__(self) -> "_Transfer":
        self.file = open(self.path, "ab")
        self.size = self.file.tell()
        if self.size:
            self.progress.say(f"{self.size / 1e6:.1f} MB are already in {self.path}")
        self.hasher = _hash_file(self.path)
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        self.progress.say()
        with self.file:
            self.file.flush()
            os.fsync(self.file.fileno())
        if failure and not self.size:
            self.path.unlink()

    def require_space(self, total_bytes: int) -> None:
        needed_bytes = self.space_factor * total_bytes - self.size + SPACE_MARGIN_BYTES
        _require_space(self.path.parent, needed_bytes, f"a file of {total_bytes / 1e6:,.1f} MB")

    def clear(self, source: str) -> None:
        self.file.truncate(0)
        self.hasher = hashlib.sha256()
        self.size, self.source = 0, source

    def run(self, url: str, sha256: str, attempts: int) -> None:
        """Fill the file from one mirror, over as many connections as it takes."""
        failures, best = 0, self.size
        while failures < attempts:
            time.sleep(max(0, failures - 1))  # the first new connection is made at once
            trouble = self.receive(url)
            # Asked after trouble, too: a server that announces too many bytes always breaks off.
            if self.hasher.hexdigest() == sha256:
                return
            if not trouble and self.size >= (self.expected_bytes or 0):
                found, mixed = self.hasher.hexdigest(), self.source != url
                self.clear(url)
                if not mixed:
                    raise _Refusal(f"sent a wrong SHA-256: {found[:8]}..., not {sha256[:8]}...")
                # The beginning, from elsewhere, may be what is wrong: once more, all from here.
                failures = best = 0
                continue
            # Only beyond the most there ever was is progress: some servers start over each time.
            failures = 0 if self.size >= best + CHUNK_BYTES else failures + 1
            best = max(best, self.size)
        raise _Refusal(f"{trouble or f'ended after {self.size} bytes'} (attempts: {attempts})")

    def receive(self, url: str) -> str | None:
        """Append what one connection sends; return what broke it, or None if nothing did."""
        headers = {"User-Agent": "asrlib"} | ({"Range": f"bytes={self.size}-"} if self.size else {})
        request = urllib.request.Request(url, headers=headers)
        try:
            response = self.opener.open(request, timeout=self.timeout_seconds)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 416 or not self.size:
                raise _Refusal(f"answered HTTP {error.code} {error.reason}") from error
            self.clear(url)  # there is no such range: what is here is longer than the file
            return "has fewer bytes than were here"
        except TimeoutError as error:
            raise _Refusal(f"did not answer for {self.timeout_seconds:g} s") from error
        except ConnectionError as error:
            return f"broke the connection: {_describe(error)}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _Refusal(f"was not reached: {_describe(error)}") from error
        with response:
            if response.status not in (200, 206):
                raise _Refusal(f"answered HTTP {response.status}")
            content_range = response.headers.get("Content-Range", "")
            if response.status == 200:
                self.clear(url)  # the whole file comes, whatever was asked for
            elif not re.match(f"bytes {self.size}-", content_range):
                self.clear(url)
                return f"sent another range than asked for: {content_range!r}"
            return self.read_body(response)

    def read_body(self, response: http.client.HTTPResponse) -> str | None:
        # Counted here: before Python 3.11.8 read1 lets http.client forget how much is left.
        end = None if response.length is None else self.size + response.length
        total = end if self.expected_bytes is None else self.expected_bytes
        limit = min((size for size in (end, total) if size is not None), default=None)
        if total is not None:
            self.require_space(total)
        window_start, window_size = time.monotonic(), self.size
        while limit is None or self.size < limit:
            wanted = CHUNK_BYTES if limit is None else min(CHUNK_BYTES, limit - self.size)
            try:
                data = response.read1(wanted)
            except TimeoutError:
                return f"sent nothing for {self.timeout_seconds:g} s"
            except (OSError, http.client.HTTPException, ValueError) as error:
                return f"broke the connection: {_describe(error)}"
            if not data:
                break
            self.file.write(data)
            self.hasher.update(data)
            self.size += len(data)
            self.progress.advance(len(data), self.size, total)
            elapsed = time.monotonic() - window_start
            if elapsed > self.timeout_seconds:
                if self.size - window_size < MIN_BYTES_PER_SECOND * elapsed:
                    return f"sent less than {MIN_BYTES_PER_SECOND} bytes a second"
                window_start, window_size = time.monotonic(), self.size
        if limit is not None and self.size < limit:
            return f"broke off after {self.size} of {limit} bytes"
        return None


class _Progress:
    """Prints how far a download is: one redrawn line on a terminal, else a line a tenth."""

    def __init__(self, name: str, enabled: bool) -> None:
        self.name, self.enabled = name, enabled
        self.redraw = enabled and sys.stdout.isatty()
        self.line_open = False
        self.start = time.monotonic()
        self.received = 0  # in this run: what was there before says nothing about the speed
        self.step: int | None = None

    def advance(self, n_bytes: int, done: int, total: int | None) -> None:
        self.received += n_bytes
        seconds = max(time.monotonic() - self.start, 1e-3)
        # A terminal gets five lines a second, a notebook or log one for each tenth (or 100 MB).
        step = 10 * done // total if total else done // 100_000_000
        step = int(5 * seconds) if self.redraw and done != total else step
        if not self.enabled or step == self.step:
            return
        self.step = step
        speed = self.received / seconds
        text = f"{self.name}: {done / 1e6:.1f} MB at {speed / 1e6:.1f} MB/s"
        if total:
            left = datetime.timedelta(seconds=round((total - done) / speed))
            text += f", {100 * done // total} % of {total / 1e6:.1f} MB, {left} left"
        print(f"\r{text:<78}" if self.redraw else text, end="" if self.redraw else "\n", flush=True)
        self.line_open = self.redraw

    def say(self, *lines: str) -> None:
        """Print lines of their own, below a redrawn one."""
        if self.line_open:
            print()
        self.line_open = False
        if self.enabled and lines:
            print(*lines, sep="\n", flush=True)


def _require_space(folder: Path, needed_bytes: float, what: str) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise OSError(
            errno.ENOSPC,
            f"{what} needs {needed_bytes / 1e6:,.1f} MB of free space in {folder}, "
            f"which has {free_bytes / 1e6:,.1f} MB",
        )


def _hash_file(path: Path) -> "hashlib._Hash":
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return hasher


def _move_into(source: Path, target: Path) -> None:
    if source.is_dir() and target.is_dir():
        # Files first: a subset appears after the list of its speakers.
        for child in sorted(source.iterdir(), key=lambda path: (path.is_dir(), path.name)):
            _move_into(child, target / child.name)
    else:
        os.replace(source, target)


def _describe(error: Exception) -> str:
    cause = getattr(error, "reason", error)  # urllib wraps what went wrong
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
