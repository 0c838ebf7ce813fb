"""The training loop, in the open: augment, forward, loss, backward, clip, step, zero_grad.

A run lives in a folder: `last.pt` (to go on), `best.pt` (lowest word error rate on the validation
set), `history.jsonl` (a line a logged step and a line an epoch). Running the same command again
goes on where it stopped. The dice of each step are seeded by the seed and the step's number, so on
the CPU a resumed run ends with the same bits as one that was never stopped.
"""

import copy
import math
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from asrlib.audio import SAMPLE_RATE
from asrlib.batching import Batch, LengthBucketSampler, SpeechDataset, batch_loader
from asrlib.checkpoint import load_checkpoint, save_checkpoint
from asrlib.corpus import Utterance
from asrlib.ctc import required_frames
from asrlib.evaluation import Evaluation, count_blanks, evaluate
from asrlib.features import FeatureConfig, FeatureExtractor, SpecAugment, speed_perturb
from asrlib.history import History
from asrlib.model import ModelConfig, SpeechRecognitionModel, output_lengths
from asrlib.text import BLANK, Tokenizer


@dataclass(frozen=True)
class TrainConfig:
    """How to train; every field travels in the checkpoint.

    Attributes:
        epochs: passes over the training set.
        batch_seconds: sound in a batch.
        learning_rate: the peak of the one-cycle schedule (AdamW).
        warmup: share of the steps on the way up to the peak.
        weight_decay: of AdamW.
        clip_norm: the gradient is shortened to at most this length.
        ema_decay: of the moving average of the weights, which is what is evaluated and kept.
        speed_factors: one is drawn for each batch (0.9 is slower and lower).
        frequency_masks, frequency_width, time_masks, time_fraction: SpecAugment.
        seed: of weights, batches and augmentation.
        precision: "auto" (bfloat16 on GPUs that have it, else float16 on GPUs, float32 on CPUs),
            "float32", "bfloat16" or "float16". The loss is always computed in float32.
        log_every: steps between lines of the history.
        workers: processes that decode sound.
    """

    epochs: int = 30
    batch_seconds: float = 120.0
    learning_rate: float = 1e-3
    warmup: float = 0.15
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    speed_factors: tuple[float, ...] = (0.9, 1.0, 1.1)
    frequency_masks: int = 2
    frequency_width: int = 27
    time_masks: int = 5
    time_fraction: float = 0.05
    seed: int = 0
    precision: str = "auto"
    log_every: int = 10
    workers: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "speed_factors", tuple(self.speed_factors))
        for name in ("epochs", "batch_seconds", "learning_rate", "clip_norm", "log_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if not 0 < self.warmup < 1 or not 0 <= self.ema_decay < 1 or not self.speed_factors:
            raise ValueError(
                "warmup lies in (0, 1), ema_decay in [0, 1); speed_factors needs a number"
            )
        if self.precision not in ("auto", "float32", "bfloat16", "float16"):
            raise ValueError(
                f"precision {self.precision!r}: choose auto, float32, bfloat16 or float16"
            )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "TrainConfig":
        """Look up the settings that go with a model preset.

        Args:
            name: "original", "base", "small" or "tiny".
            changes: fields to set differently.

        Returns:
            The settings.

        Raises:
            ValueError: unknown name.

        Example:
            >>> TrainConfig.preset("tiny", epochs=3).epochs
            3
        """
        ModelConfig.preset(name)  # refuses an unknown name
        return replace(cls(**_PRESETS.get(name, {})), **changes)


# Batches of 30 s: with 15 s the same time bought fewer passes and a higher error (RESULTS.md).
_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "epochs": 40,
        "batch_seconds": 30.0,
        "learning_rate": 4e-3,
        "weight_decay": 0.1,
        "ema_decay": 0.99,
        "speed_factors": (0.9, 0.95, 1.0, 1.05, 1.1),
        "frequency_masks": 1,
        "frequency_width": 16,
        "time_masks": 2,
    },
}


def ctc_losses(
    log_probs: Float32[Tensor, "batch frames vocab"],
    lengths: Int64[Tensor, " batch"],
    targets: Int64[Tensor, "batch labels"],
    target_lengths: Int64[Tensor, " batch"],
) -> Float32[Tensor, " batch"]:
    """Negative log-likelihood of each text, in float32; 0 where an utterance has no path.

    The same numbers as `asrlib.ctc.ctc_loss` (a test holds them equal), by torch's fused kernel:
    ours takes some calls a frame, which is nothing to a CPU and a lot to a GPU.

    Args:
        log_probs: of the network.
        lengths: real output frames.
        targets: ids, padded.
        target_lengths: real labels.

    Returns:
        Nats, one number an utterance.

    Example:
        >>> log_probs, one = torch.zeros(1, 1, 2).log_softmax(-1), torch.tensor([1])
        >>> ctc_losses(log_probs, one, torch.tensor([[1]]), one)
        tensor([0.6931])
    """
    return nn.functional.ctc_loss(
        log_probs.float().transpose(0, 1),  # -> (frames, batch, vocab)
        targets.to(log_probs.device),
        lengths,
        target_lengths,
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )


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
            device: "cuda" if there is one, else "cpu".
            max_steps: shorten the schedule, for a first look.

        Raises:
            ValueError: no usable utterance, or the folder holds a run with other settings.
        """
        self.config = config
        self.features = feature_config or FeatureConfig(n_mels=model_config.n_mels)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.folder = Path(folder) if folder else None
        torch.manual_seed(config.seed)
        self.model = SpeechRecognitionModel(model_config).to(self.device)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
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
        self.history = History()
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (self.folder / "last.pt").is_file():
                self._resume(load_checkpoint(self.folder / "last.pt"))
            self.history = History(self.folder / "history.jsonl", self.step, self.epoch)

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
        """
        say = say or (lambda line: print(line, flush=True))
        began = time.monotonic()
        before, saved_at = self.seconds, time.monotonic()
        while self.step < self.total_steps:
            self.sampler.start_at(self.epoch, self.batch)
            for batch in batch_loader(self.train_set, self.sampler, workers=self.config.workers):
                row = self.train_step(batch) if batch else None
                self.batch += 1
                self.step += 1
                self.seconds = before + time.monotonic() - began
                if row and (self.step % self.config.log_every == 0 or self.step == 1):
                    self.history.append(
                        row | {"step": self.step, "seconds": round(self.seconds, 2)}
                    )
                    self._tell_progress(row)
                if self.step == self.total_steps:
                    break
                if stop_after_seconds is not None and time.monotonic() - began > stop_after_seconds:
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

    def train_step(self, batch: Batch) -> dict[str, Any] | None:
        """Learn from one batch.

        Args:
            batch: waveforms and texts.

        Returns:
            A line of the history, or None if the batch had to be skipped.

        Raises:
            FloatingPointError: the third batch in a row without a finite loss or gradient.
        """
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)  # this step's dice
        self.model.train()
        features, frame_lengths = self._augmented_features(batch)
        autocast = torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext()
        with autocast:
            log_probs, lengths = self.model(features, frame_lengths)
        losses = ctc_losses(log_probs, lengths, batch.targets, batch.target_lengths)
        loss = losses.sum() / batch.target_lengths.sum()  # nats a character
        if not torch.isfinite(loss):
            return self._skip(batch)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        if not self.scaler.is_enabled() and not torch.isfinite(norm):
            return self._skip(batch)  # one such step and every weight is NaN
        self.scaler.step(self.optimizer)  # skips by itself if float16 overflowed
        self.scaler.update()
        rate = self.schedule.get_last_lr()[0]
        if self.schedule.last_epoch < self.schedule.total_steps - 1:
            self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)  # after the step: before it, nothing is learned
        self._update_average()
        self.bad_in_a_row = 0
        return {
            "kind": "step",
            "epoch": self.epoch + 1,
            "loss": float(loss.detach()),
            "gradient_norm": float(norm),
            "learning_rate": rate,
            "blank_fraction": count_blanks(log_probs.detach(), lengths) / int(lengths.sum()),
        }

    def _augmented_features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Speed perturbation on the sound, SpecAugment on the picture."""
        waveforms = batch.waveforms.to(self.device, non_blocking=True)
        factors = self.config.speed_factors
        factor = factors[int(torch.randint(len(factors), ()))]
        waveforms, lengths = speed_perturb(waveforms, batch.waveform_lengths, factor)
        features, frame_lengths = self.extractor(waveforms, lengths)
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
        if self.bad_in_a_row == 3:
            raise FloatingPointError(
                "three batches in a row gave no finite loss; lower learning_rate or clip_norm, or"
                " set precision to float32"
            )

    def _finish_epoch(self, say: Callable[[str], None]) -> None:
        losses = [row["loss"] for row in self.history.rows if row["kind"] == "step"]
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
            if frames < needed:
                print(f"skipped {utterance.id}: {frames} output frames, its text needs {needed}")
            else:
                usable.append(utterance)
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
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
        }

    def _save(self, name: str) -> None:
        if not self.folder:
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
