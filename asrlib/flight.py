"""The flight recorder: what a network says of the same few clips, again and again while it learns.

`flight.jsonl` lies beside `history.jsonl` and is written the same way, a line a moment, so a
killed run loses none. From it a film of the learning is made, without training again.
"""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from asrlib.batching import SpeechDataset, collate
from asrlib.corpus import Utterance
from asrlib.decoding import greedy_search
from asrlib.features import FeatureExtractor
from asrlib.history import History

CLIPS, SECONDS = 5, 4.0  # as long as the players that a notebook may store


@dataclass(frozen=True)
class Moment:
    """What the network said after a step.

    Attributes:
        step: of the training.
        loss: of that step's batch, in nats a character.
        gradient_norm: before it was clipped.
        blank_fraction: share of the batch's frames on which the blank was likeliest.
        texts: greedy transcripts, one a clip.
        posteriors: uint8 (frames, vocab) a clip, probabilities in steps of 1/255.
    """

    step: int
    loss: float
    gradient_norm: float
    blank_fraction: float
    texts: list[str]
    posteriors: list[np.ndarray]


class FlightRecorder:
    """Asks a network for its opinion of five fixed clips, and keeps every answer.

    Example:
        >>> from asrlib.corpus import MiniSpeech
        >>> from asrlib.model import ModelConfig, SpeechRecognitionModel
        >>> recorder = FlightRecorder(MiniSpeech("dev"), FeatureExtractor())
        >>> row = {"loss": 3.3, "gradient_norm": 9.0, "blank_fraction": 0.4}
        >>> recorder.record(1, SpeechRecognitionModel(ModelConfig.preset("tiny")), row)
        >>> [len(moment.texts) for moment in recorder.moments()]
        [5]
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        extractor: FeatureExtractor,
        path: Path | None = None,
        up_to_step: int | None = None,
    ) -> None:
        """Choose the clips, and go on with the record if there is one.

        Args:
            utterances: the first five of at most 4 s are taken, else the shortest five.
            extractor: of the features.
            path: the file; None keeps the record in memory.
            up_to_step: forget later moments, which a resumed run will record again.
        """
        clips = [u for u in utterances if u.duration_seconds <= SECONDS]
        if len(clips) < CLIPS:
            clips = sorted(utterances, key=lambda utterance: utterance.duration_seconds)
        self.clips, self.extractor = SpeechDataset(clips[:CLIPS]), extractor
        self.history = History(path, up_to_step)

    @torch.no_grad()
    def record(self, step: int, model: nn.Module, row: dict[str, Any]) -> None:
        """Keep what the network says now.

        Args:
            step: steps done.
            model: the one that learns (not its average); asked without dropout, and left in the
                mode it was in.
            row: loss, gradient_norm and blank_fraction of this step.
        """
        clips = [item for item in map(self.clips.__getitem__, range(len(self.clips))) if item]
        if not clips:
            return  # their files are gone: no reason to end a training
        batch, device = collate(clips), next(model.parameters()).device
        features, lengths = self.extractor(batch.waveforms.to(device), batch.waveform_lengths)
        learning = model.training
        log_probs, lengths = model.eval()(features, lengths)
        model.train(learning)
        levels = (255 * log_probs.exp()).round().byte().cpu().numpy()  # (batch, frames, vocab)
        texts = [hypothesis.text for hypothesis in greedy_search(log_probs, lengths)]
        moment = {name: row[name] for name in ("loss", "gradient_norm", "blank_fraction")}
        said = [
            {"id": u.id, "truth": u.text, "text": text, "posteriors": _pack(level[:frames])}
            for u, text, level, frames in zip(batch.utterances, texts, levels, lengths.tolist())
        ]
        self.history.append({"kind": "film", "step": step} | moment | {"clips": said})

    def moments(self) -> list[Moment]:
        """Read the record, in the order of the steps."""
        return [_moment(row) for row in self.history.rows]


def load_flight(path: Path | str) -> tuple[list[str], list[Moment]]:
    """Read the flight record of a run.

    Args:
        path: of `flight.jsonl`.

    Returns:
        The true texts of the clips, and the moments in the order of the steps.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no moment.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no flight record; a run writes one if film_every > 0")
    rows = History(Path(path)).rows
    if not rows:
        raise ValueError(f"{path} holds no moment yet")
    return [clip["truth"] for clip in rows[0]["clips"]], [_moment(row) for row in rows]


def _moment(row: dict[str, Any]) -> Moment:
    return Moment(
        step=row["step"],
        loss=row["loss"],
        gradient_norm=row["gradient_norm"],
        blank_fraction=row["blank_fraction"],
        texts=[clip["text"] for clip in row["clips"]],
        posteriors=[_unpack(clip["posteriors"]) for clip in row["clips"]],
    )


def _pack(levels: np.ndarray) -> dict[str, Any]:
    packed = zlib.compress(np.ascontiguousarray(levels).tobytes(), 9)
    return {"shape": list(levels.shape), "data": base64.b64encode(packed).decode()}


def _unpack(packed: dict[str, Any]) -> np.ndarray:
    raw = zlib.decompress(base64.b64decode(packed["data"]))
    return np.frombuffer(raw, dtype=np.uint8).reshape(packed["shape"])
