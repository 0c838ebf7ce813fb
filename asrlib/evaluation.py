"""Run a network over a whole corpus, search its output in one way or in several, count errors."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from asrlib.batching import Batch, LengthBucketSampler, SpeechDataset, batch_loader
from asrlib.corpus import Utterance
from asrlib.ctc import ctc_loss
from asrlib.decoding import Hypothesis, beam_search, greedy_search
from asrlib.features import FeatureExtractor
from asrlib.fusion import Fusion
from asrlib.metrics import ErrorRate, character_error_rate, word_error_rate
from asrlib.model import SpeechRecognitionModel
from asrlib.text import Tokenizer


@dataclass(frozen=True)
class Search:
    """A way to get from log-probabilities to text.

    Attributes:
        beam_size: of the prefix beam search; 0 for greedy search.
        fusion: a language model with its weights, or None.

    Example:
        >>> print(Search(), "|", Search(16))
        greedy | beam 16
    """

    beam_size: int = 0
    fusion: Fusion | None = None

    def __post_init__(self) -> None:
        if self.fusion and not self.beam_size:
            raise ValueError("a language model takes part in a beam search: give a beam_size")

    def __str__(self) -> str:
        name = f"beam {self.beam_size}" if self.beam_size else "greedy"
        return name + (" + LM" if self.fusion else "")

    def __call__(self, log_probs: Tensor, lengths: Tensor) -> list[Hypothesis]:
        """The best hypothesis of each utterance."""
        if not self.beam_size:
            return greedy_search(log_probs, lengths)
        return [
            n_best[0] for n_best in beam_search(log_probs, lengths, self.beam_size, self.fusion)
        ]

    def text_scores(self, log_probs: Tensor, lengths: Tensor, texts: list[str]) -> list[float]:
        """What each text scores when no path of it is lost: the score this search tries to raise.

        Args:
            log_probs: (batch, frames, vocab).
            lengths: (batch,).
            texts: one an utterance.

        Returns:
            log P(text | sound), with the language model's share; -inf if the frames are too few.
        """
        tokens = [Tokenizer().encode(text) for text in texts]
        targets = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
        sizes = torch.tensor([len(row) for row in tokens])
        # (batch, frames, vocab) -> (frames, batch, vocab)
        losses = ctc_loss(log_probs.cpu().transpose(0, 1), targets, lengths.cpu(), sizes)
        shares = [self.fusion.score(row.tolist()) if self.fusion else 0.0 for row in tokens]
        return [share - loss for share, loss in zip(shares, losses.tolist())]


@dataclass(frozen=True)
class Evaluation:
    """What a network made of a corpus.

    Attributes:
        utterances: those that could be read, in the order of the corpus.
        hypotheses: what the search wrote for each.
        words: word error rate.
        characters: character error rate.
        blank_fraction: share of real output frames on which the blank is likeliest.
        search: how the hypotheses were found.
        search_errors: wrong utterances whose true text would have scored better than what was
            found: the search lost it. The other wrong ones are the model's fault. None: not
            counted.
        real_time_factor: seconds of work (features, network, search) a second of sound.
    """

    utterances: list[Utterance]
    hypotheses: list[Hypothesis]
    words: ErrorRate
    characters: ErrorRate
    blank_fraction: float
    search: Search = field(default_factory=Search)
    search_errors: int | None = None
    real_time_factor: float = 0.0

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
    searches = [Search()]  # training calls this after each pass: it needs the rates only
    return _run(model, extractor, corpus, searches, batch_seconds, count_search_errors=False)[0]


def compare(
    model: SpeechRecognitionModel,
    extractor: FeatureExtractor,
    corpus: Sequence[Utterance] | SpeechDataset,
    searches: Sequence[Search],
    *,
    batch_seconds: float = 120.0,
) -> list[Evaluation]:
    """Transcribe a corpus in several ways: the network runs once, each search on its output.

    Args:
        model: the network; it is in eval mode afterwards.
        extractor: its features, on the same device.
        corpus: utterances, or a dataset of them that keeps its sounds in memory.
        searches: how to get to a text.
        batch_seconds: sound in a batch.

    Returns:
        An evaluation for each search.

    Raises:
        ValueError: no utterance could be read.

    Example:
        >>> from asrlib.corpus import MiniSpeech
        >>> from asrlib.model import ModelConfig
        >>> model = SpeechRecognitionModel(ModelConfig.preset("tiny"))
        >>> both = compare(model, FeatureExtractor(), MiniSpeech("dev")[:2], [Search(), Search(4)])
        >>> [str(evaluation.search) for evaluation in both]
        ['greedy', 'beam 4']
    """
    return _run(model, extractor, corpus, searches, batch_seconds, count_search_errors=True)


@torch.no_grad()
def _run(
    model: SpeechRecognitionModel,
    extractor: FeatureExtractor,
    corpus: Sequence[Utterance] | SpeechDataset,
    searches: Sequence[Search],
    batch_seconds: float,
    *,
    count_search_errors: bool,
) -> list[Evaluation]:
    model.eval()
    dataset = corpus if isinstance(corpus, SpeechDataset) else SpeechDataset(corpus)
    place = {utterance.id: n for n, utterance in enumerate(dataset.utterances)}
    durations = [utterance.duration_seconds for utterance in dataset.utterances]
    utterances: list[Utterance] = []
    found: list[list[Hypothesis]] = [[] for _ in searches]
    lost, seconds = [0] * len(searches), [0.0] * len(searches)
    blank, frames, network_seconds = 0, 0, 0.0
    for batch in batch_loader(
        dataset, LengthBucketSampler(durations, batch_seconds, shuffle=False)
    ):
        if batch is None:
            continue
        began = time.perf_counter()
        log_probs, lengths = recognize(model, extractor, batch)
        log_probs = log_probs.cpu()  # waits for a GPU to be done
        network_seconds += time.perf_counter() - began
        utterances += batch.utterances
        texts = [utterance.text for utterance in batch.utterances]
        for n, search in enumerate(searches):
            began = time.perf_counter()
            hypotheses = search(log_probs, lengths)
            seconds[n] += time.perf_counter() - began
            found[n] += hypotheses
            if count_search_errors:
                lost[n] += _search_errors(search, log_probs, lengths, texts, hypotheses)
        blank, frames = blank + count_blanks(log_probs, lengths), frames + int(lengths.sum())
    if not utterances:
        raise ValueError("no utterance could be read")
    order = sorted(range(len(utterances)), key=lambda n: place[utterances[n].id])
    utterances = [utterances[n] for n in order]
    references = [utterance.text for utterance in utterances]
    sound = sum(utterance.duration_seconds for utterance in utterances)
    evaluations = []
    for n, search in enumerate(searches):
        hypotheses = [found[n][k] for k in order]
        texts = [hypothesis.text for hypothesis in hypotheses]
        evaluations.append(
            Evaluation(
                utterances,
                hypotheses,
                word_error_rate(references, texts),
                character_error_rate(references, texts),
                blank / frames,
                search,
                lost[n] if count_search_errors else None,
                (network_seconds + seconds[n]) / sound,
            )
        )
    return evaluations


def _search_errors(
    search: Search,
    log_probs: Tensor,
    lengths: Tensor,
    texts: list[str],
    hypotheses: list[Hypothesis],
) -> int:
    """Count the wrong utterances whose true text scores better than what the search found."""
    wrong = [n for n, h in enumerate(hypotheses) if h.text.split() != texts[n].split()]
    if not wrong:
        return 0
    given = log_probs[wrong], lengths.cpu()[wrong]
    true = search.text_scores(*given, [texts[n] for n in wrong])
    ours = search.text_scores(*given, [hypotheses[n].text for n in wrong])
    return sum(a > b for a, b in zip(true, ours))


def count_blanks(log_probs: Float32[Tensor, "batch frames vocab"], lengths: Tensor) -> int:
    """Count the real frames on which the blank (symbol 0) is likeliest.

    Example:
        >>> count_blanks(torch.tensor([[[0.0, -9.0], [0.0, -9.0], [-9.0, 0.0]]]), torch.tensor([2]))
        2
    """
    blanks = log_probs.argmax(dim=-1).cpu() == 0  # (batch, frames)
    return sum(int(row[:length].sum()) for row, length in zip(blanks, lengths.tolist()))
