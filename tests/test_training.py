"""asrlib.training: it learns, it can be stopped anywhere, and nothing goes wrong silently."""

import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from asrlib import training
from asrlib.batching import LengthBucketSampler, SpeechDataset, batch_loader
from asrlib.checkpoint import build_model, load_checkpoint
from asrlib.corpus import Corpus
from asrlib.decoding import Hypothesis
from asrlib.evaluation import Evaluation, evaluate
from asrlib.features import FeatureConfig, FeatureExtractor
from asrlib.history import History
from asrlib.metrics import ErrorRate
from asrlib.training import TrainConfig, Trainer
from tests.tones import PLAIN, TINY, learned_by_heart, tone_corpus

ROOT = Path(__file__).resolve().parents[1]

# Everything random is on: dropout, speeds, masks, shuffles. A run is 3 epochs of 3 batches.
SIZES = replace(TINY, dropout=0.1)
RANDOM = TrainConfig(epochs=3, batch_seconds=2.5, learning_rate=5e-3, log_every=1, film_every=2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tone_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def batch(corpus):
    sampler = LengthBucketSampler([u.duration_seconds for u in corpus], batch_seconds=60.0)
    [batch] = batch_loader(SpeechDataset(corpus), sampler)
    return batch


def plain_trainer(corpus, **changes) -> Trainer:
    """A run in memory without augmentation."""
    return Trainer(TINY, TrainConfig(**{**PLAIN, **changes}), corpus, device="cpu")


def random_trainer(corpus, folder, **changes) -> Trainer:
    """A run in a folder with everything random."""
    config = replace(RANDOM, **changes)
    return Trainer(SIZES, config, corpus, corpus[:3], folder=folder, device="cpu")


# The schedule notices that `optimizer.step` was replaced by a recorder of calls.
STEP_IS_WATCHED = pytest.mark.filterwarnings("ignore:Seems like `optimizer.step")


def silent(line: str) -> None:
    """Say nothing."""


# One step


def parameters_a_step_leaves_alone(trainer: Trainer, batch) -> set[str]:
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    assert trainer.train_step(batch) is not None
    return {n for n, p in trainer.model.named_parameters() if torch.equal(before[n], p)}


def test_one_step_changes_every_parameter(corpus, batch):
    assert parameters_a_step_leaves_alone(plain_trainer(corpus, weight_decay=0.0), batch) == set()


@STEP_IS_WATCHED
def test_that_check_notices_gradients_cleared_before_the_step(corpus, batch, monkeypatch):
    trainer = plain_trainer(corpus, weight_decay=0.0)
    step = trainer.optimizer.step

    def cleared_too_early(*args, **kwargs):
        trainer.optimizer.zero_grad()
        return step(*args, **kwargs)

    monkeypatch.setattr(trainer.optimizer, "step", cleared_too_early)
    untouched = parameters_a_step_leaves_alone(trainer, batch)
    assert untouched == {name for name, _ in trainer.model.named_parameters()}


@STEP_IS_WATCHED
def test_a_step_goes_backward_clip_step_zero_grad(corpus, batch, monkeypatch):
    trainer, calls = plain_trainer(corpus), []

    def recorded(owner, name):
        original = getattr(owner, name)

        def call(*args, **kwargs):
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    recorded(torch.Tensor, "backward")
    recorded(nn.utils, "clip_grad_norm_")
    recorded(trainer.optimizer, "step")
    recorded(trainer.optimizer, "zero_grad")
    trainer.train_step(batch)
    assert calls == ["backward", "clip_grad_norm_", "step", "zero_grad"]
    assert all(p.grad is None for p in trainer.model.parameters())


@STEP_IS_WATCHED
def test_the_optimizer_sees_a_gradient_of_at_most_clip_norm(corpus, batch, monkeypatch):
    trainer, norms = plain_trainer(corpus, clip_norm=0.01), []
    step = trainer.optimizer.step

    def measured(*args, **kwargs):
        squares = [p.grad.square().sum() for p in trainer.model.parameters()]
        norms.append(float(torch.stack(squares).sum().sqrt()))
        return step(*args, **kwargs)

    monkeypatch.setattr(trainer.optimizer, "step", measured)
    row = trainer.train_step(batch)
    assert norms == [pytest.approx(0.01, rel=1e-3)]
    assert row["gradient_norm"] > 1  # the history tells the length before the clipping


def test_the_loss_is_nats_a_character_and_the_blanks_are_counted(corpus, batch):
    trainer = plain_trainer(corpus)
    features, frame_lengths = trainer.extractor(batch.waveforms, batch.waveform_lengths)
    with torch.no_grad():
        log_probs, lengths = trainer.model(features, frame_lengths)
    total = 0.0
    for n, utterance in enumerate(batch.utterances):
        one = nn.functional.ctc_loss(
            log_probs[n, : lengths[n]], batch.targets[n, : len(utterance.text)],
            lengths[n], batch.target_lengths[n], reduction="sum",
        )  # fmt: skip
        total += float(one)
    row = trainer.train_step(batch)
    characters = sum(len(utterance.text) for utterance in batch.utterances)
    assert row["loss"] == pytest.approx(total / characters, rel=1e-5)
    blanks = [(log_probs[n, : lengths[n]].argmax(-1) == 0) for n in range(len(lengths))]
    assert row["blank_fraction"] == pytest.approx(float(torch.cat(blanks).float().mean()))


def test_bfloat16_trains_with_the_loss_in_float32(corpus, batch, monkeypatch):
    trainer, seen = plain_trainer(corpus, precision="bfloat16", weight_decay=0.0), []
    original = nn.functional.ctc_loss

    def spied(log_probs, *args, **kwargs):
        seen.append(log_probs.dtype)
        return original(log_probs, *args, **kwargs)

    monkeypatch.setattr(nn.functional, "ctc_loss", spied)
    assert parameters_a_step_leaves_alone(trainer, batch) == set()
    assert seen == [torch.float32]
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())


def test_the_average_follows_its_formula(corpus):
    trainer = plain_trainer(corpus, ema_decay=0.3, learning_rate=1e-2, epochs=2, batch_seconds=2.5)
    expected = [p.detach().clone() for p in trainer.model.parameters()]
    batches = list(batch_loader(trainer.train_set, trainer.sampler)) * 3
    decays = []
    for step, batch in enumerate(batches):
        trainer.step = step
        trainer.train_step(batch)
        decays.append(min(0.3, (1 + step) / (10 + step)))
        weights = [p.detach() for p in trainer.model.parameters()]
        d = decays[-1]
        expected = [d * a + (1 - d) * w for a, w in zip(expected, weights, strict=True)]
        for average, wanted in zip(trainer.average.parameters(), expected, strict=True):
            assert torch.allclose(average, wanted, rtol=0, atol=1e-6)
    assert decays[0] == 0.1 and decays[-1] == 0.3  # both branches were taken
    assert not any(p.requires_grad for p in trainer.average.parameters())


@pytest.mark.parametrize(
    ("steps", "warmup"),
    [(200, 0.15), (10, 0.15), (10, 0.1), (20, 0.05), (7, 0.5), (3, 0.9), (2, 0.5)],
)
def test_the_one_cycle_peak_is_the_learning_rate(corpus, steps, warmup):
    config = TrainConfig(epochs=300, batch_seconds=60.0, learning_rate=3e-3, warmup=warmup)
    trainer = Trainer(TINY, config, corpus, device="cpu", max_steps=steps)
    assert trainer.total_steps == steps
    rates = []
    for step in range(steps):
        rates.append(trainer.schedule.get_last_lr()[0])
        trainer.optimizer.step()
        if step < steps - 1:
            trainer.schedule.step()
    peak = max(range(steps), key=rates.__getitem__)
    assert rates[peak] == pytest.approx(3e-3, rel=1e-9)
    assert rates[0] == pytest.approx(3e-3 / 25)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    if steps >= 20:
        assert rates[-1] < 1e-4 * rates[peak]
        assert peak == pytest.approx(warmup * steps, abs=1)


def test_the_history_shows_the_schedule_to_its_end(corpus):
    history = plain_trainer(corpus, epochs=8, batch_seconds=60.0, log_every=1).fit(say=silent)
    rates = history.column("step", "learning_rate")
    assert len(rates) == 8 and max(rates) == pytest.approx(1e-3) and rates[-1] < 1e-6


# Learning


def test_eight_utterances_are_learned_by_heart():
    trainer = learned_by_heart()
    result = evaluate(trainer.average, trainer.extractor, trainer.train_set)
    assert len(result.utterances) == 8
    assert result.characters.rate == 0 and result.words.rate == 0
    losses = trainer.history.column("step", "loss")
    assert losses[-1] < 0.05 < 1.0 < losses[0]


def test_training_hears_masks_and_speeds(corpus, batch):
    def heard(steps=1, **changes):
        """The features that the network gets, their share of zeros, and their lengths."""
        trainer, seen = plain_trainer(corpus, **changes), []
        trainer.model.register_forward_pre_hook(lambda model, inputs: seen.append(inputs))
        for trainer.step in range(steps):
            trainer.train_step(batch)
        shares = []
        for features, lengths in seen:
            real = [f[..., :n].flatten() for f, n in zip(features, lengths, strict=True)]
            shares.append(float((torch.cat(real) == 0).float().mean()))
        return shares, [lengths for _, lengths in seen]

    [plain], [lengths] = heard()
    assert plain < 0.01
    assert heard(frequency_masks=2, frequency_width=30)[0][0] > 0.1
    assert heard(time_masks=5, time_fraction=0.2)[0][0] > 0.1
    [[_], [slow]] = heard(speed_factors=(0.5,))
    assert torch.equal(slow, 2 * (lengths - 1) + 1)  # each length is a whole number of hops
    _, drawn = heard(steps=20, speed_factors=(0.5, 1.0))
    assert {int(n[0]) for n in drawn} == {int(lengths[0]), int(slow[0])}


def test_consistency_shows_each_utterance_twice_with_other_masks(corpus, batch):
    config = TrainConfig(**{**PLAIN, "consistency": 0.2, "time_masks": 3, "time_fraction": 0.3})
    trainer = Trainer(TINY, config, corpus, device="cpu")
    trainer.augment.train()
    features, lengths = trainer._augmented_features(batch)
    first, second = features.chunk(2)
    plain, plain_lengths = trainer.extractor(batch.waveforms, batch.waveform_lengths)
    assert torch.equal(lengths, plain_lengths.repeat(2))
    for view in (first, second):  # what is not masked is the utterance itself
        assert torch.equal(view[view != 0], plain[view != 0]) and (view != plain).any()
    assert not torch.equal(first, second)
    row = trainer.train_step(batch)
    assert math.isfinite(row["loss"]) and 0 <= row["blank_fraction"] <= 1


def test_inter_ctc_trains_every_parameter(corpus, batch):
    sizes = replace(TINY, rnn_layers=2)
    config = TrainConfig(**{**PLAIN, "inter_ctc": 0.3, "weight_decay": 0.0})
    trainer = Trainer(sizes, config, corpus, device="cpu")
    assert parameters_a_step_leaves_alone(trainer, batch) == set()


def test_evaluation_hears_no_masks_and_no_dropout(corpus):
    masks = {"frequency_masks": 10, "frequency_width": 80, "time_masks": 10, "time_fraction": 1.0}
    config = TrainConfig(epochs=1, batch_seconds=60.0, **masks)
    trainer = Trainer(replace(TINY, dropout=0.5), config, corpus, corpus, device="cpu")
    trainer.fit(say=silent)
    again = [evaluate(trainer.average, FeatureExtractor(), corpus) for _ in range(2)]
    scores = [hypothesis.score for hypothesis in trainer.evaluation.hypotheses]
    assert [[h.score for h in e.hypotheses] for e in again] == [scores, scores]


# Stopping and going on


def contents(folder: Path, name: str = "last.pt") -> dict:
    """Everything in a checkpoint but the seconds it took."""
    payload = load_checkpoint(folder / name)
    payload["record"] = {k: v for k, v in payload["record"].items() if k != "seconds"}
    return payload


def rows(folder: Path) -> list[dict]:
    """Every line of the history but the seconds."""
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def differences(a, b, where: str = "") -> list[str]:
    """Where two nested payloads differ, to the bit."""
    if type(a) is not type(b):
        return [f"{where}: {type(a)} and {type(b)}"]
    if isinstance(a, dict):
        if list(a) != list(b):
            return [f"{where}: {list(a)} and {list(b)}"]
        return [d for key in a for d in differences(a[key], b[key], f"{where}.{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{where}: {len(a)} and {len(b)} long"]
        return [d for n in range(len(a)) for d in differences(a[n], b[n], f"{where}[{n}]")]
    same = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    return [] if same else [f"{where}: {a} and {b}"]


def test_a_run_from_before_a_setting_existed_goes_on_with_its_default(corpus, tmp_path):
    random_trainer(corpus, tmp_path).fit(say=silent, stop_after_seconds=0.0)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    del saved["record"]["train_config"]["inter_ctc"]
    torch.save(saved, tmp_path / "last.pt")
    assert random_trainer(corpus, tmp_path).step == 1
    with pytest.raises(ValueError, match="inter_ctc 0.0 there, 0.3 here"):
        sizes, config = replace(SIZES, rnn_layers=2), replace(RANDOM, inter_ctc=0.3)
        Trainer(sizes, config, corpus, corpus[:3], folder=tmp_path, device="cpu")


def test_a_cut_line_of_the_film_is_forgotten(tmp_path):
    path = tmp_path / "flight.jsonl"
    row = {"kind": "film", "step": 1, "clips": [{"posteriors": {"shape": [1]}, "text": ""}]}
    whole = json.dumps(row) + "\n"
    path.write_text(whole + whole[: whole.index("}") + 1])  # ends with the brace of an inner part
    assert History(path, 5).rows == [row]


def test_the_comparison_of_runs_notices_one_flipped_bit():
    a = {"weights": {"w": torch.ones(3)}, "steps": [1, 2]}
    b = {"weights": {"w": torch.ones(3)}, "steps": [1, 2]}
    assert differences(a, b) == []
    b["weights"]["w"][1] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    assert len(differences(a, b)) == 1
    assert differences(a, {"weights": {}, "steps": [1, 2]}) != []
    assert differences([1, 2], [1, 3]) == ["[1]: 2 and 3"]


@pytest.fixture(scope="module")
def uninterrupted(corpus, tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    trainer = random_trainer(corpus, folder)
    assert (trainer.total_steps, len(trainer.sampler)) == (9, 3)
    trainer.fit(say=silent)
    return folder


def assert_same_run(folder: Path, reference: Path) -> None:
    assert differences(rows(folder), rows(reference)) == []
    for name in ("last.pt", "best.pt"):
        assert differences(contents(folder, name), contents(reference, name)) == []
    flights = [(f / "flight.jsonl").read_text() for f in (folder, reference)]
    assert flights[0] == flights[1]
    assert sorted(f.name for f in folder.iterdir() if not f.name.endswith(".part")) == [
        "best.pt",
        "flight.jsonl",
        "history.jsonl",
        "last.pt",
    ]


def test_an_undisturbed_run_leaves_whole_records(uninterrupted):
    steps = [row["step"] for row in rows(uninterrupted) if row["kind"] == "step"]
    epochs = [(r["epoch"], r["step"]) for r in rows(uninterrupted) if r["kind"] == "epoch"]
    assert steps == list(range(1, 10)) and epochs == [(1, 3), (2, 6), (3, 9)]
    resume = contents(uninterrupted)["resume"]
    states = resume["optimizer"]["state"]
    assert len(states) > 10 and all(float(state["step"]) == 9 for state in states.values())


def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not(corpus, uninterrupted, tmp_path):
    random_trainer(corpus, tmp_path / "same").fit(say=silent)
    assert_same_run(tmp_path / "same", uninterrupted)
    random_trainer(corpus, tmp_path / "other", seed=1).fit(say=silent)
    weights = [contents(f)["weights"] for f in (tmp_path / "other", uninterrupted)]
    assert differences(*weights) != []


def test_stopping_after_every_step_changes_nothing(corpus, uninterrupted, tmp_path):
    sessions, said = 0, []
    trainer = random_trainer(corpus, tmp_path)
    while trainer.step < trainer.total_steps:
        trainer.fit(say=said.append, stop_after_seconds=0.0)
        sessions += 1
        assert sessions < 20
        trainer = random_trainer(corpus, tmp_path)  # mid-epoch and at epoch ends
    assert sessions == 9
    assert "stopped after step 4 of 9; run again to go on" in said
    assert_same_run(tmp_path, uninterrupted)


class Crash(Exception):
    """Whatever ends a process."""


def crash_in_step(number):
    def patch(monkeypatch):
        train_step = Trainer.train_step

        def crashing(self, batch):
            if self.step == number:
                raise Crash
            return train_step(self, batch)

        monkeypatch.setattr(Trainer, "train_step", crashing)

    return patch


def crash_before_writing(name, count):
    def patch(monkeypatch):
        save, calls = training.save_checkpoint, []

        def crashing(path, *args, **kwargs):
            calls.append(path.name)
            if calls.count(name) == count and path.name == name:
                raise Crash
            save(path, *args, **kwargs)

        monkeypatch.setattr(training, "save_checkpoint", crashing)

    return patch


def crash_while_reporting(epoch):
    def patch(monkeypatch):
        append = History.append

        def crashing(self, row):
            append(self, row)
            if row["kind"] == "epoch" and row["epoch"] == epoch:
                raise Crash

        monkeypatch.setattr(History, "append", crashing)

    return patch


CRASHES = {
    "in the first step": crash_in_step(0),
    "in the middle of epoch 2": crash_in_step(4),
    "in the first step of epoch 3": crash_in_step(6),
    "in the last step": crash_in_step(8),
    "at the end of epoch 1": crash_while_reporting(1),
    "at the end of epoch 2": crash_while_reporting(2),
    "at the end of the run": crash_while_reporting(3),
    "between best.pt and last.pt of epoch 1": crash_before_writing("last.pt", 1),
    "between best.pt and last.pt of epoch 3": crash_before_writing("last.pt", 3),
}


@pytest.mark.parametrize("when", CRASHES)
def test_a_crash_at_any_moment_changes_nothing(corpus, uninterrupted, tmp_path, monkeypatch, when):
    with monkeypatch.context() as patch:
        CRASHES[when](patch)
        with pytest.raises(Crash):
            random_trainer(corpus, tmp_path).fit(say=silent)
    random_trainer(corpus, tmp_path).fit(say=silent)
    assert_same_run(tmp_path, uninterrupted)


def test_a_stop_at_the_last_batch_then_a_crash_at_the_epochs_end_writes_no_line_twice(
    corpus, uninterrupted, tmp_path, monkeypatch
):
    for _ in range(3):
        random_trainer(corpus, tmp_path).fit(say=silent, stop_after_seconds=0.0)
    assert random_trainer(corpus, tmp_path).batch == 3  # the epoch's batches are seen, not its end
    with monkeypatch.context() as patch:
        crash_while_reporting(1)(patch)
        with pytest.raises(Crash):
            random_trainer(corpus, tmp_path).fit(say=silent)
    random_trainer(corpus, tmp_path).fit(say=silent)
    assert_same_run(tmp_path, uninterrupted)


SAME_COMMAND = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from asrlib.corpus import Manifest
from tests.test_training import random_trainer
corpus = Manifest(Path(sys.argv[1]) / "tones.tsv")
random_trainer(corpus, sys.argv[2]).fit(say=lambda line: time.sleep(0.3))
"""


def test_a_kill_at_a_random_moment_then_the_same_command_changes_nothing(
    corpus, uninterrupted, tmp_path
):
    command = [sys.executable, "-c", SAME_COMMAND, str(corpus[0].path.parent), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment)
    try:
        deadline = time.monotonic() + 100
        while not (tmp_path / "history.jsonl").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        delay = random.SystemRandom().uniform(0.0, 0.8)  # 3 reports of 0.3 s: it still runs then
        time.sleep(delay)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL, f"ended by itself within {delay} s"
    subprocess.run(command, env=environment, check=True, timeout=100)
    try:
        assert_same_run(tmp_path, uninterrupted)
    except AssertionError as error:
        raise AssertionError(f"killed {delay:.4f} s after its history began") from error


def test_a_finished_run_stays_as_it_is(corpus, uninterrupted, tmp_path):
    before = {file.name: file.read_bytes() for file in uninterrupted.iterdir()}
    trainer = random_trainer(corpus, uninterrupted)
    assert trainer.fit(say=silent).column("epoch", "epoch") == [1, 2, 3]
    assert {file.name: file.read_bytes() for file in uninterrupted.iterdir()} == before


def test_a_cut_last_line_of_the_history_is_repaired(corpus, uninterrupted, tmp_path):
    random_trainer(corpus, tmp_path).fit(say=silent, stop_after_seconds=0.0)
    file = tmp_path / "history.jsonl"
    whole = file.read_text()
    file.write_text(whole + '{"kind": "step", "epoch": 1, "lo')
    trainer = random_trainer(corpus, tmp_path)
    assert file.read_text() == whole
    assert trainer.history.column("step", "step") == [1]
    trainer.fit(say=silent)
    assert_same_run(tmp_path, uninterrupted)


def test_lines_that_a_resumed_run_writes_again_are_forgotten(tmp_path):
    history = History(tmp_path / "history.jsonl")
    for step in (1, 2, 3):
        history.append({"kind": "step", "epoch": 1, "step": step})
    history.append({"kind": "epoch", "epoch": 1, "step": 3})
    history.append({"kind": "step", "epoch": 2, "step": 4})
    assert len(History(tmp_path / "history.jsonl").rows) == 5  # only reading forgets nothing
    assert History(tmp_path / "history.jsonl", 3, 1).column("epoch", "step") == [3]
    assert History(tmp_path / "history.jsonl", 3, 0).column("epoch", "step") == []
    assert History(tmp_path / "history.jsonl", 2).column("step", "step") == [1, 2]
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2


OTHER_SETTINGS = {
    "learning_rate": {"config": {"learning_rate": 1e-4}},
    "seed": {"config": {"seed": 7}},
    "speed_factors": {"config": {"speed_factors": (1.0,)}},
    "rnn_size": {"sizes": {"rnn_size": 16}},
    "hop_length": {"features": {"hop_length": 200}},
    "total_steps": {"options": {"max_steps": 5}},
    "data": {"data": "renamed"},
    "hours": {"data": "other clips"},
}


@pytest.mark.parametrize("name", OTHER_SETTINGS)
def test_other_settings_are_refused_by_name(corpus, uninterrupted, tmp_path, name):
    change = OTHER_SETTINGS[name]
    data: Corpus = corpus
    if change.get("data") == "renamed":
        data = Corpus("others", corpus)
    elif change.get("data") == "other clips":  # as many batches, under the same name
        clips = [replace(u, duration_seconds=u.duration_seconds - 0.1) for u in corpus]
        data = Corpus(corpus.name, clips)
    before = (uninterrupted / "history.jsonl").read_bytes()
    with pytest.raises(ValueError, match=rf"other settings.*\b{name}\b") as raised:
        Trainer(
            replace(SIZES, **change.get("sizes", {})),
            replace(RANDOM, **change.get("config", {})),
            data,
            folder=uninterrupted,
            feature_config=FeatureConfig(**change.get("features", {})),
            device="cpu",
            **change.get("options", {}),
        )
    assert str(uninterrupted) in str(raised.value)
    assert (uninterrupted / "history.jsonl").read_bytes() == before


def test_the_best_checkpoint_has_the_best_validation_rate_and_no_resume_part(
    corpus, tmp_path, monkeypatch
):
    rates = iter([0.9, 0.5, 0.7, 0.6])

    def graded(model, extractor, dataset):
        rate = ErrorRate(next(rates), 0, 0, 0, 10)
        return Evaluation(list(corpus), [Hypothesis("x", [], 0.0, [])], rate, rate, 0.5)

    monkeypatch.setattr(training, "evaluate", graded)
    trainer = random_trainer(corpus, tmp_path, epochs=4)
    averages = []

    def crash_after_epoch_2(line):
        averages.append({k: v.clone() for k, v in trainer.average.state_dict().items()})
        if len(averages) == 3:
            raise Crash

    with pytest.raises(Crash):
        trainer.fit(say=crash_after_epoch_2)
    rates = iter([0.7, 0.6])
    trainer = random_trainer(corpus, tmp_path, epochs=4)
    assert trainer.best_rate == 0.5 and trainer.epoch == 2
    trainer.fit(say=silent)

    best, last = load_checkpoint(tmp_path / "best.pt"), load_checkpoint(tmp_path / "last.pt")
    assert best["record"]["epoch"] == 2 and best["record"]["validation_wer"] == 0.5
    assert best["resume"] is None and last["resume"] is not None
    assert last["record"]["epoch"] == 4 and last["record"]["validation_wer"] == 0.6
    assert differences(dict(best["weights"]), averages[1]) == []


def test_what_is_kept_and_evaluated_is_the_average(corpus, tmp_path):
    trainer = random_trainer(corpus, tmp_path, epochs=1)
    trainer.fit(say=silent)
    best = load_checkpoint(tmp_path / "best.pt")
    assert differences(dict(best["weights"]), dict(trainer.average.state_dict())) == []
    assert differences(dict(best["weights"]), dict(trainer.model.state_dict())) != []
    again = evaluate(build_model(best), FeatureExtractor(best["feature_config"]), corpus[:3])
    heard = [hypothesis.score for hypothesis in trainer.evaluation.hypotheses]
    # Not to the last bit: torch takes other kernels for weights that want no gradient.
    assert [h.score for h in again.hypotheses] == pytest.approx(heard, abs=1e-4)
    assert best["record"]["validation_wer"] == again.words.rate


def test_without_a_validation_set_the_last_weights_are_the_best(corpus, tmp_path):
    config = TrainConfig(epochs=2, batch_seconds=60.0, **PLAIN)
    Trainer(TINY, config, corpus, folder=tmp_path, device="cpu").fit(say=silent)
    best, last = load_checkpoint(tmp_path / "best.pt"), load_checkpoint(tmp_path / "last.pt")
    assert best["record"]["epoch"] == 2 and best["record"]["validation_wer"] is None
    assert differences(dict(best["weights"]), dict(last["weights"])) == []


def test_the_record_tells_how_it_was_trained(corpus, uninterrupted):
    record = load_checkpoint(uninterrupted / "best.pt")["record"]
    assert record["data"] == "tones" and record["total_steps"] == 9 and record["bad_batches"] == 0
    assert record["train_config"]["learning_rate"] == 5e-3 and record["seconds"] > 0
    assert record["hours"] == round(corpus.seconds / 3600, 4)
    assert record["torch"] == torch.__version__


# What goes wrong


def test_a_batch_without_a_finite_loss_is_named_skipped_and_counted(
    corpus, batch, monkeypatch, capsys
):
    trainer, losses = plain_trainer(corpus), training.objective
    monkeypatch.setattr(
        training, "objective", lambda *a, **weights: losses(*a, **weights) * math.nan
    )
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    assert trainer.train_step(batch) is None
    assert trainer.train_step(batch) is None
    assert differences(before, dict(trainer.model.state_dict())) == []
    report = capsys.readouterr().out
    assert report.count("skipped a batch") == 2 and batch.utterances[0].id in report
    assert trainer.bad_batches == trainer.bad_in_a_row == 2

    monkeypatch.setattr(training, "objective", losses)
    assert trainer.train_step(batch)["loss"] > 0
    assert trainer.bad_batches == 2 and trainer.bad_in_a_row == 0  # the row is broken


def test_the_third_bad_batch_in_a_row_ends_the_run_with_advice(corpus):
    trainer = plain_trainer(corpus, batch_seconds=0.1)
    with torch.no_grad():
        trainer.model.linear.bias[0] = math.nan
    with pytest.raises(FloatingPointError, match=r"three batches.*learning_rate.*float32"):
        trainer.fit(say=silent)
    assert trainer.bad_batches == 3 and trainer.step == 2


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(corpus, batch):
    trainer = plain_trainer(corpus)
    hook = trainer.model.linear.bias.register_hook(lambda gradient: gradient * math.inf)
    assert trainer.train_step(batch) is None and trainer.bad_batches == 1
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    hook.remove()
    assert trainer.train_step(batch)["loss"] > 0
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_bad_batches_are_counted_in_the_record(corpus, tmp_path, monkeypatch):
    losses, calls = training.objective, []

    def bad_once(*args, **weights):
        calls.append(1)
        return losses(*args, **weights) * (math.nan if len(calls) == 2 else 1.0)

    monkeypatch.setattr(training, "objective", bad_once)
    random_trainer(corpus, tmp_path).fit(say=silent)
    assert load_checkpoint(tmp_path / "last.pt")["record"]["bad_batches"] == 1
    assert [r["step"] for r in rows(tmp_path) if r["kind"] == "step"] == [1, 3, 4, 5, 6, 7, 8, 9]
    assert random_trainer(corpus, tmp_path).bad_batches == 1


def test_inter_ctc_with_one_layer_is_refused_before_anything_is_made(corpus, tmp_path):
    config = TrainConfig(inter_ctc=0.3)
    with pytest.raises(ValueError, match="inter_ctc=0.3 needs rnn_layers of 2"):
        Trainer(TINY, config, corpus, folder=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_an_utterance_too_short_for_its_text_is_left_out_by_name(corpus, capsys):
    hurried = replace(corpus[0], id="hurried", text="far too much to say in no time")
    trainer = plain_trainer([*corpus, hurried])
    assert [u.id for u in trainer.train_set.utterances] == [u.id for u in corpus]
    assert "skipped hurried: " in capsys.readouterr().out
    with pytest.raises(ValueError, match="no utterance to train on"):
        plain_trainer([hurried])


def test_the_fastest_speed_decides_what_is_too_short(corpus):
    # 0.8 s give 21 frames, at twice the speed 11; this text needs 14.
    fits = replace(corpus[7], text="abcdefghijklmn", duration_seconds=0.8)
    assert len(plain_trainer([fits, *corpus]).train_set) == 9
    assert len(plain_trainer([fits, *corpus], speed_factors=(1.0, 2.0)).train_set) == 8


def test_a_full_disk_ends_the_run_and_the_same_command_goes_on(
    corpus, uninterrupted, tmp_path, monkeypatch
):
    real = os.fsync

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        trainer = random_trainer(corpus, tmp_path)
        saved = []

        def save(name):
            saved.append(name)
            patch.setattr(os, "fsync", full if len(saved) == 3 else real)
            return original(name)

        original = trainer._save
        patch.setattr(trainer, "_save", save)
        with pytest.raises(OSError, match=r"the run in .* stopped: .*No space left.* run the same"):
            trainer.fit(say=silent)
    assert load_checkpoint(tmp_path / "last.pt")["record"]["epoch"] == 1  # whole, and older
    random_trainer(corpus, tmp_path).fit(say=silent)
    assert_same_run(tmp_path, uninterrupted)


def test_a_drive_that_goes_away_ends_the_run_and_the_same_command_goes_on(
    corpus, uninterrupted, tmp_path
):
    drive, away = tmp_path / "drive", tmp_path / "away"
    trainer, lines = random_trainer(corpus, drive), []

    def unmount(line):
        lines.append(line)
        if len(lines) == 2:  # what stands where a Drive was mounted can no longer be written to
            drive.rename(away)
            drive.write_text("not a folder")

    with pytest.raises(OSError, match=r"the run in .*drive stopped: .* run the same command"):
        trainer.fit(say=unmount)
    drive.unlink()
    away.rename(drive)
    random_trainer(corpus, drive).fit(say=silent)
    assert_same_run(drive, uninterrupted)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't alloc"),
    ],
)
def test_too_little_memory_names_the_setting_to_lower(corpus, batch, monkeypatch, error):
    trainer = plain_trainer(corpus)

    def too_large(*args, **kwargs):
        raise error

    monkeypatch.setattr(trainer.extractor, "forward", too_large)
    with pytest.raises(MemoryError, match=r"lower batch_seconds \(now 120\)"):
        trainer.train_step(batch)


def test_other_errors_stay_what_they_are(corpus, batch, monkeypatch):
    trainer = plain_trainer(corpus)
    monkeypatch.setattr(trainer.extractor, "forward", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.train_step(batch)


def test_files_that_vanish_do_not_stop_a_run(tmp_path, capsys):
    corpus = tone_corpus(tmp_path / "data")
    trainer = plain_trainer(corpus, epochs=2, batch_seconds=0.1, log_every=1)  # one a batch
    corpus[0].path.unlink()
    history = trainer.fit(say=silent)
    assert trainer.step == 16 and len(history.column("step", "loss")) == 14
    assert f"skipped {corpus[0].id}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0},
        {"batch_seconds": -1.0},
        {"learning_rate": math.nan},
        {"warmup": 0.0},
        {"warmup": 1.0},
        {"ema_decay": 1.0},
        {"speed_factors": ()},
        {"precision": "float8"},
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        TrainConfig(**settings)


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_bfloat16_is_for_gpus_that_have_it(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *a: True)  # what a T4 says
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert training._autocast_dtype("auto", cuda) == dtype
    assert training._autocast_dtype("float32", cuda) is None
    assert training._autocast_dtype("auto", cpu) is None
    assert training._autocast_dtype("float16", cpu) == torch.float16
