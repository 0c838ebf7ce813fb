"""Run a network over a whole corpus and count its errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from asrlib.batching import Batch, LengthBucketSampler, SpeechDataset, batch_loader
from asrlib.corpus import Utterance
from asrlib.decoding import Hypothesis, greedy_search
from asrlib.features import FeatureExtractor
from asrlib.metrics import ErrorRate, character_error_rate, word_error_rate
from asrlib.model import SpeechRecognitionModel


@dataclass(frozen=True)
class Evaluation:
    """What a network made of a corpus.

    Attributes:
        utterances: those that could be read, in the order of the corpus.
        hypotheses: what the search wrote for each.
        words: word error rate.
        characters: character error rate.
        blank_fraction: share of real output frames on which the blank is likeliest.
    """

    utterances: list[Utterance]
    hypotheses: list[Hypothesis]
    words: ErrorRate
    characters: ErrorRate
    blank_fraction: float

    def worst(self) -> list[int]:
        """Indices of the utterances, most word errors first."""

        def errors(index: int) -> tuple[int, float]:
            pair = [self.utterances[index].text], [self.hypotheses[index].text]
            rate = word_error_rate(*pair)
            wrong = rate.substitutions + rate.insertions + rate.deletions
            return -wrong, -character_error_rate(*pair).rate

        return sorted(range(len(self.utterances)), key=errors)


@torch.no_grad()
def recognize(
    model: SpeechRecognitionModel, extractor: FeatureExtractor, batch: Batch
) -> tuple[Float32[Tensor, "batch frames vocab"], Int64[Tensor, " batch"]]:
    """Compute log-probabilities of a batch, on the model's device.

    Args:
        model: the network, in eval mode.
        extractor: its features, on the same device.
        batch: waveforms with lengths.

    Returns:
        log_probs and their lengths.
    """
    device = next(model.parameters()).device
    features, lengths = extractor(batch.waveforms.to(device), batch.waveform_lengths)
    return model(features, lengths)


def evaluate(
    model: SpeechRecognitionModel,
    extractor: FeatureExtractor,
    corpus: Sequence[Utterance] | SpeechDataset,
    *,
    batch_seconds: float = 120.0,
) -> Evaluation:
    """Transcribe a corpus with greedy search and count the errors.

    Args:
        model: the network; it is in eval mode afterwards.
        extractor: its features, on the same device.
        corpus: utterances, or a dataset of them that keeps its sounds in memory.
        batch_seconds: sound in a batch.

    Returns:
        Transcripts and error rates over the corpus.

    Raises:
        ValueError: no utterance could be read.

    Example:
        >>> from asrlib.corpus import MiniSpeech
        >>> from asrlib.model import ModelConfig
        >>> model = SpeechRecognitionModel(ModelConfig.preset("tiny"))
        >>> evaluate(model, FeatureExtractor(), MiniSpeech("dev")[:4]).words.words > 10
        True
    """
    model.eval()
    dataset = corpus if isinstance(corpus, SpeechDataset) else SpeechDataset(corpus)
    place = {utterance.id: n for n, utterance in enumerate(dataset.utterances)}
    durations = [utterance.duration_seconds for utterance in dataset.utterances]
    results: list[tuple[int, Utterance, Hypothesis]] = []
    blank, frames = 0, 0
    for batch in batch_loader(
        dataset, LengthBucketSampler(durations, batch_seconds, shuffle=False)
    ):
        if batch is None:
            continue
        log_probs, lengths = recognize(model, extractor, batch)
        for utterance, hypothesis in zip(batch.utterances, greedy_search(log_probs, lengths)):
            results.append((place[utterance.id], utterance, hypothesis))
        blank, frames = blank + count_blanks(log_probs, lengths), frames + int(lengths.sum())
    if not results:
        raise ValueError("no utterance could be read")
    results.sort(key=lambda row: row[0])
    utterances = [utterance for _, utterance, _ in results]
    hypotheses = [hypothesis for _, _, hypothesis in results]
    texts = [u.text for u in utterances], [h.text for h in hypotheses]
    return Evaluation(
        utterances,
        hypotheses,
        word_error_rate(*texts),
        character_error_rate(*texts),
        blank / frames,
    )


def count_blanks(log_probs: Float32[Tensor, "batch frames vocab"], lengths: Tensor) -> int:
    """Count the real frames on which the blank (symbol 0) is likeliest.

    Example:
        >>> count_blanks(torch.tensor([[[0.0, -9.0], [0.0, -9.0], [-9.0, 0.0]]]), torch.tensor([2]))
        2
    """
    blanks = log_probs.argmax(dim=-1).cpu() == 0  # (batch, frames)
    return sum(int(row[:length].sum()) for row, length in zip(blanks, lengths.tolist()))
