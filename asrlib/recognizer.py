"""A checkpoint that reads sound: files or arrays in, text and word times out."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from asrlib.audio import SAMPLE_RATE, as_waveform, read
from asrlib.checkpoint import build_model, load_checkpoint
from asrlib.decoding import greedy_search
from asrlib.features import FeatureConfig, FeatureExtractor, frame_to_seconds
from asrlib.model import SpeechRecognitionModel


@dataclass(frozen=True)
class Word:
    """A recognized word.

    Attributes:
        text: the word.
        start: of its first letter, in seconds.
        end: of its last letter, in seconds.
        confidence: geometric mean of its letters' probabilities, in [0, 1]; not calibrated.
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """What was heard.

    Attributes:
        text: the transcript, lower case.
        words: its words with times. CTC may spell a
            letter some frames beside its sound, so they are rough.
    """

    text: str
    words: list[Word]


class Recognizer:
    """A trained network with the features it was trained on.

    Example:
        >>> from asrlib.model import ModelConfig
        >>> model = SpeechRecognitionModel(ModelConfig.preset("tiny"))
        >>> recognizer = Recognizer(model, FeatureConfig())
        >>> isinstance(recognizer.transcribe(torch.zeros(16000), 16000).text, str)
        True
    """

    def __init__(
        self,
        model: SpeechRecognitionModel,
        features: FeatureConfig,
        record: dict[str, Any] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        """Put the parts together.

        Args:
            model: the network.
            features: spectrogram settings it was trained with.
            record: how it was trained.
            device: where to compute.
        """
        self.model = model.to(device).eval()
        self.extractor = FeatureExtractor(features).to(device)
        self.record, self.device = record or {}, torch.device(device)

    @classmethod
    def load(
        cls, path_or_name: str | os.PathLike, device: str | torch.device = "cpu"
    ) -> "Recognizer":
        """Load a checkpoint.

        Args:
            path_or_name: a file, a run's folder (its `best.pt`), or the name of a checkpoint that
                comes with asrlib.
            device: where to compute.

        Returns:
            A recognizer.

        Raises:
            FileNotFoundError: nothing of that name.
            ValueError: the file is no checkpoint.
        """
        path = Path(path_or_name)
        shipped = Path(__file__).parent / "checkpoints"
        names = sorted(file.stem for file in shipped.glob("*.pt"))
        if path.is_dir():
            path = path / "best.pt"
        elif not path.is_file() and os.fspath(path_or_name) in names:
            path = shipped / f"{path.name}.pt"
        if not path.is_file():
            known = f"; shipped checkpoints: {', '.join(names)}" if names else ""
            raise FileNotFoundError(f"no checkpoint {os.fspath(path_or_name)!r}{known}")
        checkpoint = load_checkpoint(path)
        return cls(
            build_model(checkpoint), checkpoint["feature_config"], checkpoint["record"], device
        )

    @torch.no_grad()
    def log_probs(self, waveform: Float32[Tensor, " samples"]) -> Float32[Tensor, "frames vocab"]:
        """Compute the network's output for one waveform at 16 kHz."""
        features, lengths = self.extractor(
            waveform[None].to(self.device), torch.tensor([len(waveform)])
        )
        return self.model(features, lengths)[0][0].cpu()

    def transcribe(
        self, audio: str | os.PathLike | Tensor | np.ndarray, sample_rate: int = SAMPLE_RATE
    ) -> Transcript:
        """Recognize one recording.

        Args:
            audio: a sound file, or samples (samples,) or (samples, channels).
            sample_rate: of the samples, in Hz; a file knows its own.

        Returns:
            Text and words with times and confidences.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: no samples, NaN, or not a sound file; the message names it.
        """
        if isinstance(audio, str | os.PathLike):
            waveform = read(audio)
        else:
            waveform = as_waveform(audio, sample_rate)
        log_probs = self.log_probs(waveform)
        hypothesis = greedy_search(log_probs[None], torch.tensor([len(log_probs)]))[0]
        config = self.model.config
        hop = self.extractor.config.hop_length
        clip_seconds = len(waveform) / SAMPLE_RATE  # the last frame may reach past it

        def seconds(frame: float) -> float:
            return round(min(frame_to_seconds(frame, hop, config.time_stride), clip_seconds), 3)

        words, letters = [], []  # letters of the current word: (character, frame, log-probability)
        spelled = zip(hypothesis.text, hypothesis.tokens, hypothesis.timesteps, strict=True)
        for character, token, frame in [*spelled, (" ", 0, 0)]:
            if character != " ":
                letters.append((character, frame, float(log_probs[frame, token])))
            elif letters:
                confidence = math.exp(sum(score for _, _, score in letters) / len(letters))
                text = "".join(c for c, _, _ in letters)
                start, end = seconds(letters[0][1]), seconds(letters[-1][1] + 1)
                words.append(Word(text, start, end, round(confidence, 4)))
                letters = []
        return Transcript(" ".join(word.text for word in words), words)
