"""A checkpoint that reads sound: files or arrays in, text and word times out."""

import copy
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from asrlib.audio import SAMPLE_RATE, as_waveform, read
from asrlib.checkpoint import build_model, load_checkpoint
from asrlib.ctc import TokenSpan, forced_align
from asrlib.evaluation import Search
from asrlib.features import FeatureConfig, FeatureExtractor, frame_to_seconds
from asrlib.model import SpeechRecognitionModel
from asrlib.subtitles import Word, word_times
from asrlib.text import Tokenizer


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

    def quantized(self) -> "Recognizer":
        """Make a copy whose linear layers and GRUs hold 8-bit numbers: smaller and faster on a CPU.

        Each weight is rounded to one of 256 levels; sums are exact, what flows between the layers
        stays float32 (torch's dynamic quantization). What flows is rounded by the loudest value of
        the batch, so a clip alone and in a batch may differ by rounding.

        Returns:
            A recognizer for the CPU; it cannot be trained on.

        Example:
            >>> from asrlib.model import ModelConfig
            >>> model = SpeechRecognitionModel(ModelConfig.preset("tiny"))
            >>> int8 = Recognizer(model, FeatureConfig()).quantized()
            >>> int8.log_probs(torch.zeros(16000)).shape
            torch.Size([26, 29])
        """
        with warnings.catch_warnings():  # says since 2.10 that it moves to another package
            warnings.simplefilter("ignore", DeprecationWarning)
            model = copy.deepcopy(self.model).cpu()
            torch.ao.quantization.quantize_dynamic(model, {nn.GRU, nn.Linear}, inplace=True)
        return Recognizer(model, self.extractor.config, self.record)

    @torch.no_grad()
    def log_probs(self, waveform: Float32[Tensor, " samples"]) -> Float32[Tensor, "frames vocab"]:
        """Compute the network's output for one waveform at 16 kHz."""
        features, lengths = self.extractor(
            waveform[None].to(self.device), torch.tensor([len(waveform)])
        )
        return self.model(features, lengths)[0][0].cpu()

    def transcribe(
        self,
        audio: str | os.PathLike | Tensor | np.ndarray,
        sample_rate: int = SAMPLE_RATE,
        *,
        search: Search = Search(),
    ) -> Transcript:
        """Recognize one recording.

        Args:
            audio: a sound file, or samples (samples,) or (samples, channels).
            sample_rate: of the samples, in Hz; a file knows its own.
            search: greedy, or `Search(16, Fusion(NGramModel.load()))` with a language model.

        Returns:
            Text and words with times and confidences.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: no samples, NaN, or not a sound file; the message names it.
        """
        waveform = _waveform(audio, sample_rate)
        log_probs = self.log_probs(waveform)
        hypothesis = search(log_probs[None], torch.tensor([len(log_probs)]))[0]
        spans = [
            TokenSpan(token, frame, frame + 1, float(log_probs[frame, token]))
            for token, frame in zip(hypothesis.tokens, hypothesis.timesteps)
        ]
        return self._transcript(spans, waveform)

    def align(
        self,
        audio: str | os.PathLike | Tensor | np.ndarray,
        text: str,
        sample_rate: int = SAMPLE_RATE,
    ) -> Transcript:
        """Find when each word of a known text is said.

        Args:
            audio: as in `transcribe`.
            text: what is said, in the letters of the alphabet; case and surplus spaces are ignored.
            sample_rate: of the samples, in Hz; a file knows its own.

        Returns:
            The text and its words with times; a low confidence says that a word was hardly heard.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: no usable sound, a character outside the alphabet, no text, or more letters
                than the recording has frames for.
        """
        waveform = _waveform(audio, sample_rate)
        targets = Tokenizer().encode(" ".join(text.lower().split()))
        if not len(targets):
            raise ValueError("no text to align: it holds no word")
        return self._transcript(forced_align(self.log_probs(waveform), targets), waveform)

    def _transcript(self, spans: list[TokenSpan], waveform: Tensor) -> Transcript:
        config = self.extractor.config
        hop = frame_to_seconds(1, config.hop_length, self.model.config.time_stride)
        clip_seconds = round(len(waveform) / SAMPLE_RATE, 3)  # the last frame may reach past it
        words = [
            replace(word, start=min(word.start, clip_seconds), end=min(word.end, clip_seconds))
            for word in word_times(spans, hop)
        ]
        return Transcript(" ".join(word.text for word in words), words)


def _waveform(audio: str | os.PathLike | Tensor | np.ndarray, sample_rate: int) -> Tensor:
    return read(audio) if isinstance(audio, str | os.PathLike) else as_waveform(audio, sample_rate)
