"""How to train: every setting of a run in one place, as it travels in the checkpoint."""

from dataclasses import dataclass, replace
from typing import Any

from asrlib.model import ModelConfig


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
        inter_ctc: weight in [0, 1) of the loss on the layer halfway; 0 leaves it out.
        consistency: weight of the agreement of two masked views (CR-CTC; 0.2 is usual); with
            0 there is one view, and a step takes about half as long.
        seed: of weights, batches and augmentation.
        precision: "auto" (bfloat16 on GPUs that have it, else float16 on GPUs, float32 on CPUs),
            "float32", "bfloat16" or "float16". The loss is always computed in float32.
        log_every: steps between lines of the history.
        film_every: steps between pictures of the flight record (`asrlib.flight`); 0 for none.
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
    inter_ctc: float = 0.0
    consistency: float = 0.0
    seed: int = 0
    precision: str = "auto"
    log_every: int = 10
    film_every: int = 50
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
        if not 0 <= self.inter_ctc < 1 or not self.consistency >= 0 or self.film_every < 0:
            raise ValueError(
                f"inter_ctc={self.inter_ctc} lies in [0, 1); consistency={self.consistency} and"
                f" film_every={self.film_every} are 0 or more"
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
