"""The training loop, in the open: augment, forward, loss, backward, clip, step, zero_grad.

A run lives in a folder: `last.pt` (to go on), `best.pt` (lowest word error rate on the validation
set), `history.jsonl` (a line a logged step and a line an epoch) and, where there is a validation
set, `flight.jsonl` (what the network said of a few clips). Running the same command again
goes on where it stopped. The dice of each step are seeded by the seed and the step's number, so on
the CPU a resumed run ends with the same bits as one that was never stopped. Under torchrun several
processes train one network (`asrlib.distributed`); the first of them evaluates and saves.
"""

import copy
import math
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asrlib.audio import SAMPLE_RATE
from asrlib.batching import Batch, LengthBucketSampler, SpeechDataset, batch_loader, collate
from asrlib.checkpoint import load_checkpoint, save_checkpoint
from asrlib.corpus import Utterance
from asrlib.ctc import required_frames
from asrlib.distributed import join_world
from asrlib.evaluation import Evaluation, count_blanks, evaluate
from asrlib.features import FeatureConfig, FeatureExtractor, SpecAugment, speed_perturb
from asrlib.flight import FlightRecorder
from asrlib.history import History
from asrlib.model import ModelConfig, SpeechRecognitionModel, output_lengths
from asrlib.objective import objective
from asrlib.text import Tokenizer
from asrlib.train_config import TrainConfig


class Trainer:
    """One run: its network, data, optimizer, schedule and place in the schedule.

    Example:
        >>> from asrlib.corpus import MiniSpeech
        >>> sizes, clips = ModelConfig.preset("tiny"), MiniSpeech("dev")[:8]
        >>> trainer = Trainer(sizes, TrainConfig(epochs=1), clips)
        >>> trainer.fit(say=lambda line: None).column("epoch", "epoch")
        [1]
    """

    def __init__(
        self,
        model_config: ModelConfig,
        config: TrainConfig,
        train_set: Sequence[Utterance],
        validation_set: Sequence[Utterance] | None = None,
        *,
        folder: Path | str | None = None,
        feature_config: FeatureConfig | None = None,
        device: str | torch.device | None = None,
        max_steps: int | None = None,
    ) -> None:
        """Set up a run, or pick up the one that lives in the folder.

        Args:
            model_config: sizes of the network.
            config: how to train.
            train_set: what to learn from.
            validation_set: what to choose the best weights on; None keeps the last.
            folder: where the run lives; None keeps everything in memory.
            feature_config: spectrogram settings; the default with the model's `n_mels`.
            device: "cuda" if there is one, else "cpu"; under torchrun each process has its own.
            max_steps: shorten the schedule, for a first look.

        Raises:
            ValueError: no usable utterance, or the folder holds a run with other settings.
        """
        self.config = config
        self.features = feature_config or FeatureConfig(n_mels=model_config.n_mels)
        if config.inter_ctc and model_config.rnn_layers < 2:
            raise ValueError(f"inter_ctc={config.inter_ctc} needs rnn_layers of 2 or more, not 1")
        self.world = join_world(device)
        self.device = self.world.device
        self.folder = Path(folder) if folder else None
        torch.manual_seed(config.seed)
        self.model = SpeechRecognitionModel(model_config).to(self.device)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.network = self.world.wrap(self.model)
        self.extractor = FeatureExtractor(self.features).to(self.device)
        self.augment = SpecAugment(
            config.frequency_masks, config.frequency_width, config.time_masks, config.time_fraction
        )
        usable = self._with_a_path(train_set)
        self.train_set = SpeechDataset(usable)
        self.validation_set = SpeechDataset(validation_set) if validation_set else None
        self.data = getattr(train_set, "name", f"{len(train_set)} utterances")
        durations = [utterance.duration_seconds for utterance in usable]
        self.sampler = LengthBucketSampler(durations, config.batch_seconds, seed=config.seed)
        self.total_steps = config.epochs * len(self.sampler)
        if max_steps:
            self.total_steps = min(self.total_steps, max_steps)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        steps = max(self.total_steps, 2)
        up = max(round(config.warmup * steps), 2) / steps  # a whole number: one step has the peak
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.learning_rate, steps, pct_start=up
        )
        self.dtype = _autocast_dtype(config.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.epoch = self.batch = self.step = 0  # epochs done, batches of this one done, all steps
        self.seconds = 0.0
        self.bad_in_a_row = self.bad_batches = 0
        self.best_rate = math.inf
        self.evaluation: Evaluation | None = None
        if self.folder and (self.folder / "last.pt").is_file():
            self._resume(load_checkpoint(self.folder / "last.pt"))
        if int(self.world.total(torch.tensor(self.step))) != self.world.size * self.step:
            raise ValueError(f"{self.folder}: the processes see other runs; use a shared disk")
        self.history, self.film = History(), None
        if self.world.is_first:
            self._open_records()

    def fit(
        self, *, say: Callable[[str], None] | None = None, stop_after_seconds: float | None = None
    ) -> History:
        """Train to the end of the schedule, or until the time is up; call again to go on.

        Args:
            say: takes each line of the progress report; prints if not given.
            stop_after_seconds: save and return once so much time has passed in this call.

        Returns:
            The record of the run.

        Raises:
            FloatingPointError: three batches in a row gave no finite loss.
            MemoryError: a batch does not fit, with the setting to lower.
            OSError: the folder can no longer be written to: the disk is full, the Drive is gone.
        """
        try:
            return self._fit(say, stop_after_seconds)
        except OSError as error:
            if not self.folder:
                raise
            raise OSError(
                f"the run in {self.folder} stopped: {error}. Nothing that was saved is lost: free"
                " space or connect the Drive again, then run the same command to go on"
            ) from error

    def _fit(self, say: Callable[[str], None] | None, stop_after_seconds: float | None) -> History:
        say = (say or (lambda line: print(line, flush=True))) if self.world.is_first else _nothing
        began = time.monotonic()
        before, saved_at = self.seconds, time.monotonic()
        while self.step < self.total_steps:
            self.sampler.start_at(self.epoch, self.batch)
            shares = self.world.share(self.sampler)
            for batch in batch_loader(self.train_set, shares, workers=self.config.workers):
                row = self.train_step(batch)
                self.batch += 1
                self.step += 1
                self.seconds = before + time.monotonic() - began
                if row and self.world.is_first:
                    self._log(row)
                if self.step == self.total_steps:
                    break
                if self._time_is_up(began, stop_after_seconds):
                    self._save("last.pt")
                    say(f"stopped after step {self.step} of {self.total_steps}; run again to go on")
                    return self.history
                if time.monotonic() - saved_at > 300:  # lose at most five minutes to a crash
                    self._save("last.pt")
                    saved_at = time.monotonic()
            self.epoch += 1
            self.batch = 0
            self._finish_epoch(say)
            self.seconds = before + time.monotonic() - began
        return self.history

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Begin with the weights of another run of the same network in place of random ones.

        Args:
            weights: of a checkpoint.

        Raises:
            ValueError: this run has begun already, or the network is another one.
        """
        if self.step:
            raise ValueError(f"{self.folder} stands at step {self.step}: it has weights of its own")
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"weights of another network: {error}") from error
        self.average.load_state_dict(weights)

    def train_step(self, batch: Batch | None) -> dict[str, Any] | None:
        """Learn from one batch.

        Args:
            batch: waveforms and texts; None where no utterance could be read.

        Returns:
            A line of the history, empty between two logged steps: counting takes time; None if
            the batch had to be skipped.

        Raises:
            FloatingPointError: the third batch in a row without a finite loss or gradient.
            MemoryError: the batch does not fit, with the setting to lower.
        """
        if batch is None and self.world.size == 1:
            return None
        try:
            return self._train_step(batch or _silence(), int(batch is not None))
        except RuntimeError as error:  # OutOfMemoryError is one; on the CPU the words say it
            if not isinstance(error, torch.OutOfMemoryError) and "alloc" not in str(error).lower():
                raise
            raise MemoryError(
                f"a batch does not fit into the memory of {self.device}: lower batch_seconds"
                f" (now {self.config.batch_seconds:g}) or take a smaller preset ({error})"
            ) from error

    def _train_step(self, batch: Batch, weight: int) -> dict[str, Any] | None:
        config, world = self.config, self.world
        # This step's dice, others on each process.
        torch.manual_seed((config.seed * 1_000_003 + self.step) * world.size + world.rank)
        characters = world.total(weight * batch.target_lengths.sum()).to(self.device)
        if world.size > 1 and not characters:
            return None  # nobody could read anything of this batch
        self.model.train()
        features, frame_lengths = self._augmented_features(batch)
        autocast = torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext()
        with autocast:
            outputs = self.network(features, frame_lengths, halfway=config.inter_ctc > 0)
        losses = objective(
            outputs,
            batch.targets,
            batch.target_lengths,
            inter_ctc=config.inter_ctc,
            consistency=config.consistency,
        )
        # Nats a character of all processes' utterances. DDP takes the mean of the gradients.
        loss = weight * losses.sum() / characters
        self.scaler.scale(loss * world.size).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        loss = world.total(loss.detach())
        # One look at the GPU a step. Float16 may overflow: then the scaler skips by itself.
        if not torch.isfinite(loss if self.scaler.is_enabled() else loss + norm):
            return self._skip(batch)  # one such step and every weight is NaN
        self.scaler.step(self.optimizer)
        self.scaler.update()
        rate = self.schedule.get_last_lr()[0]
        if self.schedule.last_epoch < self.schedule.total_steps - 1:
            self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)  # after the step: before it, nothing is learned
        self._update_average()
        self.bad_in_a_row = 0
        if self.step and (self.step + 1) % config.log_every and not self._films(self.step + 1):
            return {}
        return {
            "kind": "step",
            "epoch": self.epoch + 1,
            "loss": float(loss),
            "gradient_norm": float(norm),
            "learning_rate": rate,
            "blank_fraction": count_blanks(outputs[0].detach(), outputs[1]) / int(outputs[1].sum()),
        }

    def _augmented_features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Speed perturbation on the sound, SpecAugment on the picture."""
        waveforms = batch.waveforms.to(self.device, non_blocking=True)
        factors = self.config.speed_factors
        factor = factors[int(torch.randint(len(factors), ()))]
        waveforms, lengths = speed_perturb(waveforms, batch.waveform_lengths, factor)
        features, frame_lengths = self.extractor(waveforms, lengths)
        views = 2 if self.config.consistency else 1  # of the same sound, each with its own masks
        features, frame_lengths = features.repeat(views, 1, 1, 1), frame_lengths.repeat(views)
        return self.augment(features, frame_lengths), frame_lengths

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young average follows quickly: at step t it forgets as if it were about t steps long.
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for average, weight in zip(self.average.parameters(), self.model.parameters()):
            average.lerp_(weight, 1 - decay)

    def _skip(self, batch: Batch) -> None:
        self.bad_batches += 1
        self.bad_in_a_row += 1
        names = ", ".join(utterance.id for utterance in batch.utterances[:5])
        print(
            f"skipped a batch without a finite loss or gradient at step {self.step}: {names}",
            flush=True,
        )
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        if self.bad_in_a_row == 3:
            raise FloatingPointError(
                "three batches in a row gave no finite loss; lower learning_rate or clip_norm, or"
                " set precision to float32"
            )

    def _log(self, row: dict[str, Any]) -> None:
        """Write the line that `train_step` measured, and the moment of the film if it is time."""
        if self.step == 1 or self.step % self.config.log_every == 0:
            self.history.append(row | {"step": self.step, "seconds": round(self.seconds, 2)})
            self._tell_progress(row)
        if self._films(self.step):
            self.film.record(self.step, self.model, row)

    def _films(self, step: int) -> bool:
        every = self.config.film_every
        return bool(self.film) and (step == 1 or step % every == 0 or step == self.total_steps)

    def _time_is_up(self, began: float, seconds: float | None) -> bool:
        """All processes must stop at the same step, so the first one's clock counts."""
        if seconds is None:
            return False
        late = self.world.is_first and time.monotonic() - began > seconds
        return bool(self.world.total(torch.tensor(int(late))))

    def _open_records(self) -> None:
        """Go on with the history and the film up to this step, or begin them."""
        path = None
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / "flight.jsonl"
            self.history = History(self.folder / "history.jsonl", self.step, self.epoch)
        if self.config.film_every and self.validation_set:
            clips = self.validation_set.utterances
            self.film = FlightRecorder(clips, self.extractor, path, self.step)

    def _finish_epoch(self, say: Callable[[str], None]) -> None:
        if not self.world.is_first:
            return
        losses = self.history.column("step", "loss")
        row: dict[str, Any] = {
            "kind": "epoch",
            "epoch": self.epoch,
            "step": self.step,
            "loss": losses[-1] if losses else None,
            "seconds": round(self.seconds, 2),
        }
        left = self.seconds / self.step * (self.total_steps - self.step)
        line = f"epoch {self.epoch:3d}/{self.config.epochs}  loss {row['loss'] or math.nan:6.3f}"
        if self.validation_set:
            self.evaluation = evaluate(self.average, self.extractor, self.validation_set)
            words, characters = self.evaluation.words.rate, self.evaluation.characters.rate
            example = self.evaluation.hypotheses[0].text
            row |= {
                "wer": words,
                "cer": characters,
                "blank_fraction": self.evaluation.blank_fraction,
                "example": example,
            }
            line += (
                f"  blank {100 * self.evaluation.blank_fraction:3.0f} %  WER {100 * words:5.1f} %"
                f"  CER {100 * characters:5.1f} %"
            )
        line += f"  {_clock(self.seconds)} gone, {_clock(left)} to go"
        if self.validation_set:
            line += f"  | {example[:40]}"
        self.history.append(row)
        say(line)
        if not self.validation_set or words <= self.best_rate:
            self.best_rate = words if self.validation_set else math.inf
            self._save("best.pt")
        self._save("last.pt")

    def _tell_progress(self, row: dict[str, Any]) -> None:
        if sys.stdout.isatty():  # a line that rewrites itself is noise in a notebook or a log
            left = self.seconds / self.step * (self.total_steps - self.step)
            print(
                f"\rstep {self.step}/{self.total_steps}  loss {row['loss']:.3f}"
                f"  {_clock(left)} to go ",
                end="\r",
                flush=True,
            )

    def _with_a_path(self, utterances: Sequence[Utterance]) -> list[Utterance]:
        """Leave out, by name, utterances too short for their text even at the fastest speed."""
        tokenizer, usable = Tokenizer(), []
        fastest = max(self.config.speed_factors)
        for utterance in utterances:
            samples = int(utterance.duration_seconds * SAMPLE_RATE / fastest)
            frames = output_lengths(samples // self.features.hop_length + 1, self.model.config)
            needed = required_frames(tokenizer.encode(utterance.text))
            if frames >= needed:
                usable.append(utterance)
            elif self.world.is_first:
                print(f"skipped {utterance.id}: {frames} output frames, its text needs {needed}")
        if not usable:
            raise ValueError("no utterance to train on")
        return usable

    def _record(self) -> dict[str, Any]:
        return {
            "data": self.data,
            "hours": round(sum(u.duration_seconds for u in self.train_set.utterances) / 3600, 4),
            "train_config": asdict(self.config)
            | {"speed_factors": list(self.config.speed_factors)},
            "epoch": self.epoch,
            "step": self.step,
            "total_steps": self.total_steps,
            "seconds": round(self.seconds, 1),
            "validation_wer": self.evaluation.words.rate if self.evaluation else None,
            "bad_batches": self.bad_batches,
            "machine": f"{platform.machine()} {self.device.type}",
            "processes": self.world.size,
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
        }

    def _save(self, name: str) -> None:
        if not self.folder or not self.world.is_first:
            return
        resume = None
        if name == "last.pt":
            resume = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scaler": self.scaler.state_dict(),
                "batch": self.batch,
                "best_rate": self.best_rate,
            }
        weights = self.average.state_dict()
        path = self.folder / name
        save_checkpoint(
            path, self.model, self.features, self._record(), weights=weights, resume=resume
        )

    def _resume(self, checkpoint: dict[str, Any]) -> None:
        record, resume = checkpoint["record"], checkpoint["resume"]
        here = {
            **self._record()["train_config"],
            **asdict(self.model.config),
            **asdict(self.features),
        }
        there = {
            **asdict(TrainConfig()),  # a setting that is newer than the run had its default
            **record["train_config"],
            **asdict(checkpoint["model_config"]),
            **asdict(checkpoint["feature_config"]),
        }
        other = [f"{k} {there[k]} there, {here[k]} here" for k in here if there.get(k) != here[k]]
        for name in ("data", "hours", "total_steps"):
            if record[name] != self._record()[name]:
                other.append(f"{name} {record[name]} there, {self._record()[name]} here")
        if other:
            raise ValueError(f"{self.folder} holds a run with other settings ({'; '.join(other)})")
        self.model.load_state_dict(resume["model"])
        self.average.load_state_dict(checkpoint["weights"])
        self.optimizer.load_state_dict(resume["optimizer"])
        self.schedule.load_state_dict(resume["schedule"])
        self.scaler.load_state_dict(resume["scaler"])
        self.batch, self.best_rate = resume["batch"], resume["best_rate"]
        self.epoch, self.step, self.seconds = record["epoch"], record["step"], record["seconds"]
        self.bad_batches = record["bad_batches"]


def _autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "auto" and device.type == "cuda":
        # Before capability 8 (a T4 is 7.5) torch emulates bfloat16, slowly, and says it has it.
        modern = torch.cuda.get_device_capability(device)[0] >= 8
        return torch.bfloat16 if modern else torch.float16
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _silence() -> Batch:
    """What a process without a share of a batch reads: it takes the step, and teaches nothing."""
    return collate([(torch.zeros(SAMPLE_RATE), Utterance("silence", Path(), "", "", 1.0))])


def _nothing(line: str) -> None:
    """Say nothing."""
