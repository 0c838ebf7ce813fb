"""asrlib.checkpoint: nothing is lost, whatever dies while writing, and no file runs code."""

import errno
import os
import pickle
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asrlib import checkpoint
from asrlib.checkpoint import build_model, load_checkpoint, save_checkpoint
from asrlib.features import FeatureConfig
from asrlib.model import ModelConfig, SpeechRecognitionModel

ROOT = Path(__file__).resolve().parents[1]
SIZES = ModelConfig.preset("tiny", channels=4, rnn_size=16, rnn_layers=1, n_mels=40)
FEATURES = FeatureConfig(n_mels=40, hop_length=200)


@pytest.fixture
def model():
    return SpeechRecognitionModel(SIZES)


@pytest.fixture
def saved(tmp_path, model):
    """A good checkpoint on the disk."""
    path = tmp_path / "run" / "good.pt"
    save_checkpoint(path, model, FEATURES, {"data": "none", "epoch": 3, "rates": [0.5, None]})
    return path


def same_weights(a: dict, b: dict) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_round_trip_keeps_every_bit(saved, model):
    loaded = load_checkpoint(saved)
    assert same_weights(loaded["weights"], model.state_dict())
    assert loaded["model_config"] == SIZES and loaded["feature_config"] == FEATURES
    assert loaded["record"] == {"data": "none", "epoch": 3, "rates": [0.5, None]}
    assert loaded["alphabet"] == " 'abcdefghijklmnopqrstuvwxyz" and loaded["resume"] is None
    features, lengths = torch.randn(2, 1, 40, 50), torch.tensor([50, 31])
    rebuilt = build_model(loaded)
    assert not rebuilt.training
    assert torch.equal(rebuilt(features, lengths)[0], model.eval()(features, lengths)[0])


def test_other_weights_and_a_resume_part_can_be_stored(tmp_path, model):
    other = {name: value + 1 for name, value in model.state_dict().items()}
    resume = {"optimizer": {"step": torch.tensor(7.0)}, "best_rate": float("inf"), "batch": 2}
    save_checkpoint(tmp_path / "a.pt", model, FEATURES, {}, weights=other, resume=resume)
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert same_weights(loaded["weights"], other) and loaded["resume"] == resume


def test_half_precision_weights_come_back_as_float32(tmp_path, model):
    half = {name: value.half() for name, value in model.state_dict().items()}
    save_checkpoint(tmp_path / "half.pt", model, FEATURES, {}, weights=half)
    loaded = load_checkpoint(tmp_path / "half.pt")
    assert all(value.dtype == torch.float16 for value in loaded["weights"].values())
    assert all(p.dtype == torch.float32 for p in build_model(loaded).parameters())


def test_a_checkpoint_is_as_readable_as_any_other_file(saved):
    plain = saved.with_name("plain.txt")
    plain.write_text("x")
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


# Files that are no checkpoints


class RunsCode:
    """Unpickling this runs a shell command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("form", ["torch", "pickle", "inside"])
def test_code_in_a_file_is_refused_and_does_not_run(tmp_path, saved, form):
    marker = tmp_path / "it_ran"
    evil, path = RunsCode(f"touch {marker}"), tmp_path / "evil.pt"
    if form == "pickle":
        path.write_bytes(pickle.dumps(evil, protocol=2))
    else:
        payload = torch.load(saved, weights_only=True)
        payload["record"] = {"data": evil}
        torch.save(payload if form == "inside" else evil, path)
    with pytest.raises(ValueError, match=r"evil\.pt: not a checkpoint"):
        load_checkpoint(path)
    assert not marker.exists()
    if form == "pickle":  # the trap is a real one
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert marker.exists()


def other_files(folder: Path) -> dict[str, bytes]:
    """Bytes of files that people take for checkpoints."""
    torch.save(torch.zeros(3), folder / "tensor")
    torch.save({"format": 1}, folder / "empty_dict")
    torch.save({"format": 99, "weights": {}}, folder / "newer")
    settings = {"format": 1, "model_config": {"layers": 3}, "feature_config": {}}
    torch.save(settings, folder / "other_settings")
    torch.save([1, 2], folder / "legacy", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(folder / "zip", "w") as file:
        file.writestr("a.txt", "not a tensor")
    names = ("tensor", "empty_dict", "newer", "other_settings", "legacy", "zip")
    files = {name: (folder / name).read_bytes() for name in names}
    files |= {"empty": b"", "text": b"hello world\n", "wav": b"RIFF\x24\0\0\0WAVEfmt ", "lf": b"\n"}
    return files | {"cut_legacy": files["legacy"][:30], "json": b'{"format": 1}'}


def test_other_files_are_refused_by_name(tmp_path, saved):
    path = tmp_path / "other.pt"
    for content in other_files(tmp_path).values():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"other\.pt: "):
            load_checkpoint(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.binary(max_size=300), start=st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04"]))
def test_garbage_is_refused_by_name(tmp_path, garbage, start):
    path = tmp_path / "garbage.pt"
    path.write_bytes(start + garbage)
    with pytest.raises(ValueError, match=r"garbage\.pt: "):
        load_checkpoint(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_a_truncated_checkpoint_is_refused_by_name(saved, share):
    whole = saved.read_bytes()
    path = saved.with_name("cut.pt")
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"cut\.pt: not a checkpoint"):
        load_checkpoint(path)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 1500), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_by_name_or_does_no_harm_to_the_reader(saved, place, bit):
    content = bytearray(saved.read_bytes())
    content[place] ^= 1 << bit
    path = saved.with_name("flipped.pt")
    path.write_bytes(content)
    try:
        loaded = load_checkpoint(path)
    except ValueError as error:
        assert str(error).startswith(str(path))
    else:
        assert isinstance(loaded["model_config"], ModelConfig)


def test_a_missing_checkpoint_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt: no such checkpoint"):
        load_checkpoint(tmp_path / "none.pt")
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        load_checkpoint(tmp_path)


# Deaths while writing


def half_written(payload, path) -> None:
    """What torch.save leaves when it is stopped half-way."""
    torch_save(payload, path)
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])


torch_save = torch.save


def test_a_full_disk_leaves_the_old_file_and_no_rubbish(saved, model, monkeypatch):
    before = saved.read_bytes()

    def full_disk(payload, path):
        half_written(payload, path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full_disk)
    with pytest.raises(OSError) as raised:
        save_checkpoint(saved, model, FEATURES, {"data": "new"})
    assert raised.value.errno == errno.ENOSPC
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == ["good.pt"]


def test_missing_folders_are_made(tmp_path, model):
    save_checkpoint(tmp_path / "a" / "b" / "c.pt", model, FEATURES, {})
    assert same_weights(
        load_checkpoint(tmp_path / "a" / "b" / "c.pt")["weights"], model.state_dict()
    )


DIES_WHILE_WRITING = """
import sys, time
from pathlib import Path
import torch
from asrlib import checkpoint
from asrlib.features import FeatureConfig
from asrlib.model import ModelConfig, SpeechRecognitionModel

path = Path(sys.argv[1])
sizes = ModelConfig.preset("tiny", channels=4, rnn_size=16, rnn_layers=1)
torch_save = torch.save

def half_then_wait(payload, part):
    torch_save(payload, part)
    content = Path(part).read_bytes()
    Path(part).write_bytes(content[: len(content) // 2])
    path.with_name("half-way").touch()
    time.sleep(600)

checkpoint.torch.save = half_then_wait
model = SpeechRecognitionModel(sizes)
checkpoint.save_checkpoint(path, model, FeatureConfig(), {"data": "new"})
"""


def test_a_kill_in_the_middle_of_a_checkpoint_loses_nothing(saved, model):
    before = saved.read_bytes()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", DIES_WHILE_WRITING, str(saved)], env=environment
    )
    try:
        deadline = time.monotonic() + 60
        while not saved.with_name("half-way").exists():
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline, "it never came to write"
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    left = [file for file in saved.parent.iterdir() if file.name.endswith(".part")]
    assert len(left) == 1 and left[0].stat().st_size > 0  # it did die half-way
    assert saved.read_bytes() == before
    assert same_weights(load_checkpoint(saved)["weights"], model.state_dict())

    # What it left does no harm: the next checkpoint is written and read as ever.
    newer = {name: value + 1 for name, value in model.state_dict().items()}
    save_checkpoint(saved, model, FEATURES, {"data": "newer"}, weights=newer)
    loaded = load_checkpoint(saved)
    assert loaded["record"] == {"data": "newer"} and same_weights(loaded["weights"], newer)
