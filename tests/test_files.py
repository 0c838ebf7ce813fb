"""Files that are the old one or the new one."""

import os

import pytest

from asrlib.files import atomic_file


def test_an_interrupted_block_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        with atomic_file(path) as part:
            part.write_text("ne")
            assert path.read_text() == "old"  # not in place
            raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with atomic_file(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made(tmp_path):
    with atomic_file(tmp_path / "a" / "b" / "note.txt") as part:
        part.write_bytes(b"new")
    assert (tmp_path / "a" / "b" / "note.txt").read_bytes() == b"new"


def test_the_bytes_are_on_the_disk_before_the_name_moves(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda *a: (calls.append("fsync"), fsync(*a)))
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("replace"), replace(*a)))
    with atomic_file(tmp_path / "note.txt") as part:
        part.write_text("new")
    assert calls == ["fsync", "replace"]


def test_a_failed_replace_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "note.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"), atomic_file(path) as part:
        part.write_text("new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
