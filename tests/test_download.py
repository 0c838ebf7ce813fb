"""asrlib.download against servers that misbehave; nothing here leaves 127.0.0.1."""

import hashlib
import http.server
import io
import os
import random
import re
import shutil
import socket
import sys
import tarfile
import threading
from collections import namedtuple
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from asrlib import download as module
from asrlib.download import download, download_librispeech, extract, librispeech_digests

DATA = random.Random(0).randbytes(200_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
WRONG = random.Random(1).randbytes(len(DATA))


@dataclass
class Mirror:
    """One way to serve a file, and a record of what was asked of it."""

    data: bytes = DATA
    status: int = 200
    ranges: bool = True
    shifted_range: int = 0  # added to the first byte of each range served
    says_length: bool = True
    extra_length: int = 0  # added to the truth in Content-Length, but for ranges
    cuts: tuple = ()  # bytes sent on each connection, before it is closed; then all
    stalls: bool = False  # after a cut, instead of closing
    mute: bool = False
    asked: list = field(default_factory=list)  # the Range headers

    def answer(self, handler, closing):
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        cut = self.cuts[len(self.asked) - 1] if len(self.asked) <= len(self.cuts) else None
        if self.mute:
            closing.wait(20)
        if self.mute or self.status != 200:
            return handler.send_error(self.status)
        start, extra_length = 0, self.extra_length
        if wanted and self.ranges:
            start, extra_length = int(wanted[6:-1]) + self.shifted_range, 0
            if start >= len(self.data):
                return handler.send_error(416)
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(self.data) - 1}/*")
        else:
            handler.send_response(200)
        body = self.data[start:]
        if self.says_length:
            handler.send_header("Content-Length", str(len(body) + extra_length))
        handler.end_headers()
        handler.wfile.write(body[:cut])
        if self.stalls and cut is not None:
            closing.wait(20)


class Site:
    def __init__(self):
        self.mirrors = {}
        self.closing = threading.Event()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                try:
                    site.mirrors[self.path.split("/")[1]].answer(self, site.closing)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the downloader hung up, as some tests want

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, name, **options):
        self.mirrors[name] = Mirror(**options)
        return self.mirrors[name], f"{self.base}/{name}/file.bin"


@pytest.fixture
def site():
    site = Site()
    yield site
    site.closing.set()
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    real = socket.getaddrinfo

    def look_up(host, *args, **kwargs):
        assert host == "127.0.0.1", f"a test tried to reach {host}"
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.bin"


def part_of(path):
    return path.with_name(path.name + ".part")


def check(path):
    assert path.read_bytes() == DATA and not part_of(path).exists()


def disk_with(free_bytes):
    return lambda _: namedtuple("usage", "total used free")(10**15, 0, free_bytes)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, [None]),
        ({"says_length": False}, [None]),
        ({"cuts": [120_000]}, [None, "bytes=120000-"]),  # no byte twice
        ({"cuts": [0, 70_000]}, [None, None, "bytes=70000-"]),
        ({"cuts": [90_000], "ranges": False}, [None, "bytes=90000-"]),
        ({"cuts": [90_000], "shifted_range": -10}, [None, "bytes=90000-", None]),
        ({"extra_length": 5_000}, [None, "bytes=200000-"]),  # announces too much
    ],
)
def test_one_mirror_is_enough(site, tmp_path, options, asked):
    mirror, url = site.add("mirror", **options)
    path = tmp_path / "new" / "folder" / "file.bin"
    assert download(url, str(path), SHA256.upper()) == path
    check(path)
    assert mirror.asked == asked


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (DATA[:90_000], ["bytes=90000-"]),
        (DATA, ["bytes=200000-"]),  # an earlier run died before the renaming
        (WRONG[:90_000], ["bytes=90000-", None]),  # garbage
        (WRONG, ["bytes=200000-", None]),
        (WRONG + WRONG, ["bytes=400000-", None]),
    ],
)
def test_a_part_of_an_earlier_run(site, path, capsys, part, asked):
    part_of(path).write_bytes(part)
    mirror, url = site.add("good")
    download([url], path, SHA256, progress=False)
    check(path)
    assert mirror.asked == asked and capsys.readouterr().out == ""


def test_a_right_file_is_not_fetched_again_and_a_wrong_one_replaced(site, path):
    mirror, url = site.add("good")
    path.write_bytes(DATA)
    assert download([url], path, SHA256) == path
    assert mirror.asked == []
    path.write_bytes(b"old")
    download([url], path, SHA256)
    check(path)


@pytest.mark.parametrize(
    ("options", "reason", "asked", "kept"),
    [
        ({"status": 404}, "HTTP Error 404", 2, 0),
        ({"status": 500}, "HTTP Error 500", 2, 0),
        ({"cuts": [50_000, 0]}, "broke off after 50000 of 200000 bytes", 2, 50_000),
        ({"cuts": [150_000, 0], "stalls": True}, "timed out", 2, 131_072),
        ({"mute": True}, "timed out", 2, 0),
        ({"data": WRONG}, f"wrong SHA-256 .*, not {SHA256[:8]}", 1, 0),
        ({"extra_length": -5_000}, "wrong SHA-256", 1, 0),  # announces too little
    ],
)
def test_the_next_mirror_goes_on(site, path, capsys, options, reason, asked, kept):
    bad, bad_url = site.add("bad", **options)
    good, good_url = site.add("good")
    download([bad_url, good_url], path, SHA256, attempts=2, timeout_seconds=0.3)
    check(path)
    assert len(bad.asked) == asked and good.asked == [f"bytes={kept}-" if kept else None]
    assert re.search(f"{bad_url}: .*{reason}", capsys.readouterr().out)


def test_all_mirrors_failing_are_listed_and_running_again_resumes(site, path):
    options = ({"data": WRONG}, {"status": 404}, {"cuts": [30_000, 0]})
    urls = [site.add(f"mirror{i}", **options[i])[1] for i in range(3)]
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        urls += [f"http://127.0.0.1:{closed.getsockname()[1]}/file.bin"]
        with pytest.raises(ConnectionError) as caught:
            download(urls, path, SHA256, attempts=2)
    first, *reasons = str(caught.value).splitlines()
    assert str(path) in first and "running again resumes" in first
    wanted = ("wrong SHA-256", "404", "broke off after 30000", "refused")
    for line, url, reason in zip(reasons, urls, wanted, strict=True):
        assert url in line and reason in line
    good, good_url = site.add("good")
    download([urls[1], good_url], path, SHA256)
    check(path)
    assert good.asked == ["bytes=30000-"]


def test_too_full_a_disk(site, path, monkeypatch):
    _, url = site.add("good", data=DATA * 10)
    monkeypatch.setattr(shutil, "disk_usage", disk_with(1_900_000))
    with pytest.raises(OSError, match="needs 2.0 MB more, 1.9 MB are free") as caught:
        download([url], path, SHA256)
    assert str(part_of(path)) in str(caught.value) and os.listdir(path.parent) == []
    part_of(path).write_bytes(DATA)  # only what is missing must fit
    download([url], path, hashlib.sha256(DATA * 10).hexdigest())


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(site, path, monkeypatch, terminal):
    monkeypatch.setattr(module, "CHUNK_BYTES", 1_000)
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stdout", screen)
    _, url = site.add("good")
    download([url], path, SHA256)
    text = screen.getvalue()
    pattern = r"\s*(\d+) % of 0\.2 MB, [\d.]+ MB/s, \d+ s left\s*"
    shown = text.strip().split("\r" if terminal else "\n")
    percents = [int(re.fullmatch(pattern, line)[1]) for line in shown]
    assert percents == sorted(percents) and percents[-1] == 100
    assert text.endswith("\n") and (text.count("\n") == 1) == terminal
    assert terminal or len(percents) == 11


def make_archive(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def listing(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["evil", "cut", "text"])
def test_a_bad_archive_leaves_nothing(tmp_path, kind):
    files = {"L/a.flac": WRONG} | ({"../evil": b"evil"} if kind == "evil" else {})
    archive = make_archive(tmp_path / "a.tar.gz", files)
    whole = archive.read_bytes()
    archive.write_bytes({"evil": whole, "cut": whole[:50_000], "text": b"<html>"}[kind])
    reason = "evil.*outside the destination" if kind == "evil" else ""
    with pytest.raises(ValueError, match=rf"a\.tar\.gz is damaged or unsafe.*{reason}"):
        extract(archive, tmp_path / "data")
    assert listing(tmp_path) == ["a.tar.gz"]


@pytest.fixture
def libri(site, tmp_path, monkeypatch):
    """A mirror with two small subsets; gives its address and a root folder."""
    digests = {}
    for subset in ("dev-clean", "test-clean"):
        files = {flac(subset): DATA, "LibriSpeech/SPEAKERS.TXT": b"84 | F"}
        data = make_archive(tmp_path / "made.tar.gz", files).read_bytes()
        digests[subset] = hashlib.sha256(data).hexdigest()
        site.add(f"{subset}.tar.gz", data=data)
    monkeypatch.setattr(module, "librispeech_digests", lambda: digests)
    return site.base, tmp_path / "root"


def flac(subset):
    return f"LibriSpeech/{subset}/84/121123/84-121123-0000.flac"


def test_librispeech_subsets_side_by_side(site, libri):
    base, root = libri
    for subset in ("dev-clean", "test-clean", "dev-clean"):
        tree = download_librispeech(subset, root, mirrors=[base])
        assert tree == root / "LibriSpeech" / subset
        assert (root / flac(subset)).read_bytes() == DATA
    everything = ["LibriSpeech/SPEAKERS.TXT", flac("dev-clean"), flac("test-clean")]
    assert listing(root) == everything and os.listdir(root) == ["LibriSpeech"]
    assert len(site.mirrors["dev-clean.tar.gz"].asked) == 1


def test_librispeech_interrupted_while_unpacking_shows_no_tree(site, libri, monkeypatch):
    base, root = libri
    real = tarfile.TarFile.extractall

    def half(self, path, **options):
        real(self, path, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extractall", half)
        with pytest.raises(KeyboardInterrupt):
            download_librispeech("dev-clean", root, mirrors=[base])
    assert os.listdir(root) == ["dev-clean.tar.gz"]
    download_librispeech("dev-clean", root, mirrors=[base])
    assert (root / flac("dev-clean")).exists()
    assert (root / "dev-clean.tar.gz").exists()  # it was there before
    assert len(site.mirrors["dev-clean.tar.gz"].asked) == 1


def test_librispeech_needs_room_for_archive_and_tree(site, libri, monkeypatch):
    base, root = libri
    size = len(site.mirrors["dev-clean.tar.gz"].data)
    monkeypatch.setattr(shutil, "disk_usage", disk_with(int(2.05 * size)))
    with pytest.raises(OSError, match=f"{root}.*needs 0.4 MB more"):
        download_librispeech("dev-clean", root, mirrors=[base])
    assert os.listdir(root) == []


def test_digests_are_those_torchaudio_downloads_with(tmp_path, monkeypatch):
    from torchaudio.datasets import librispeech

    used = {}
    # torchaudio's own download path, run for each subset with the transfer replaced.

    def record(url, archive, hash_prefix):
        used[Path(archive).name] = hash_prefix

    monkeypatch.setattr(librispeech, "download_url_to_file", record)
    monkeypatch.setattr(librispeech, "_extract_tar", lambda _: None)
    for subset in librispeech._DATA_SUBSETS:
        librispeech._download_librispeech(str(tmp_path), subset)
    assert len(used) == 7 and all(re.fullmatch("[0-9a-f]{64}", sha) for sha in used.values())
    assert {f"{subset}.tar.gz": sha for subset, sha in librispeech_digests().items()} == used


def test_an_unknown_subset_names_the_choices(tmp_path):
    with pytest.raises(ValueError, match="'dev-clear'") as caught:
        download_librispeech("dev-clear", tmp_path)
    assert all(subset in str(caught.value) for subset in librispeech_digests())
    assert os.listdir(tmp_path) == []
