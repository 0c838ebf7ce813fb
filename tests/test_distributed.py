"""asrlib.distributed: two processes take the steps that one process takes with the same batches."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from asrlib.checkpoint import load_checkpoint
from asrlib.corpus import Manifest
from asrlib.distributed import World, join_world
from asrlib.history import History
from asrlib.training import TrainConfig, Trainer
from tests.tones import PLAIN, TINY, tone_corpus, write_manifest

ROOT = Path(__file__).resolve().parents[1]
CONFIG = TrainConfig(**{**PLAIN, "epochs": 2, "batch_seconds": 1.6, "log_every": 1})
SIZES = replace(TINY, dropout=0.0)

# What torchrun starts, twice; `stop` ends each call after one step.
SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
from tests.test_distributed import trainer_in
folder, stop = sys.argv[1], sys.argv[2] == "stop"
trainer = trainer_in(folder)
trainer.fit(say=print, stop_after_seconds=0.0 if stop else None)
trainer.world.leave()
"""
# The command of the README; who does not part from the others may crash on the way out.
COMMAND = """
import sys
from torch import distributed
from asrlib.__main__ import main
assert main(sys.argv[1:]) == 0
assert not distributed.is_initialized(), "did not leave"
"""


def trainer_in(folder) -> Trainer:
    corpus = Manifest(Path(folder) / "tones.tsv")
    return Trainer(SIZES, CONFIG, corpus[:7], corpus[:2], folder=Path(folder) / "run", device="cpu")


def torchrun(script, *arguments) -> str:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "--no-python", sys.executable, "-c", script]
    command += map(str, arguments)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, complaints = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the processes that torchrun started, too
        raise
    assert process.returncode == 0, complaints[-3000:]
    return said


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    tone_corpus(folder)
    trainer = trainer_in(folder)
    assert min(len(batch) for batch in trainer.sampler) == 1  # one process has nothing to do there
    trainer.fit(say=lambda line: None)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    tone_corpus(folder)
    report = torchrun(SCRIPT, folder, "on")
    assert report.count("epoch   1/2") == 1  # only the first process speaks
    return folder


def test_two_processes_take_the_steps_of_one(alone, pair):
    # Each step's loss and gradient hang on all the steps before. The weights themselves differ in
    # the third digit where Adam divides a gradient of rounding noise by its own size.
    for name in ("loss", "gradient_norm"):
        one, two = (History(f / "run/history.jsonl").column("step", name) for f in (alone, pair))
        assert len(one) == 8 and one == pytest.approx(two, rel=1e-5)
    assert load_checkpoint(pair / "run" / "last.pt")["record"]["processes"] == 2


def test_two_processes_stop_together_and_go_on(pair, tmp_path):
    tone_corpus(tmp_path)
    assert "stopped after step 1 of" in torchrun(SCRIPT, tmp_path, "stop")
    torchrun(SCRIPT, tmp_path, "on")
    ours, theirs = (load_checkpoint(f / "run/last.pt")["resume"]["model"] for f in (pair, tmp_path))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_command_trains_and_leaves(tmp_path):
    manifest = write_manifest(tmp_path)
    train = ("train", "--data", manifest, "--folder", tmp_path / "run", "--epochs", 1)
    said = torchrun(COMMAND, *train, "--device", "cpu")
    assert said.count("and 1 more") == said.count("epoch   1/1") == 1
    assert load_checkpoint(tmp_path / "run" / "best.pt")["record"]["processes"] == 2


def test_shares_are_disjoint_and_whole():
    batches = [[5, 2, 7, 1, 9], [3], [4, 8]]
    shares = [list(World(torch.device("cpu"), rank, 3).share(batches)) for rank in range(3)]
    for n, batch in enumerate(batches):
        assert sorted(i for share in shares for i in share[n]) == sorted(batch)
    assert [len(share) for share in shares] == [3, 3, 3]  # the same number of steps
    assert shares[2][1] == []


def test_more_processes_than_gpus_is_said(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="process 2, with 1 GPUs"):
        join_world("cuda")
