"""From utterances to batches: padding, and buckets of like length so that little is padded.

Padding every clip to the longest of dev-clean costs 4.5 times the useful work; buckets cost
a few percent.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float32, Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from asrlib.corpus import Utterance
from asrlib.text import BLANK, Tokenizer


class Batch(NamedTuple):
    """Waveforms and texts, padded to rectangles, with the true lengths beside them.

    Attributes:
        waveforms: float32 (batch, samples), zeros past each length.
        waveform_lengths: int64 (batch,).
        targets: int64 (batch, labels), blanks past each length.
        target_lengths: int64 (batch,).
        utterances: where each row comes from.
    """

    waveforms: Float32[Tensor, "batch samples"]
    waveform_lengths: Int64[Tensor, " batch"]
    targets: Int64[Tensor, "batch labels"]
    target_lengths: Int64[Tensor, " batch"]
    utterances: tuple[Utterance, ...]


def collate(items: Sequence[tuple[Tensor, Utterance]], tokenizer: Tokenizer | None = None) -> Batch:
    """Pad waveforms and texts into one batch.

    Args:
        items: (waveform, utterance) pairs.
        tokenizer: for the targets; characters if not given.

    Returns:
        The batch, in the order of the items.

    Raises:
        ValueError: no items, or a text outside the alphabet.

    Example:
        >>> from pathlib import Path
        >>> hi, you = (Utterance(text, Path(), text, "ann", 1.0) for text in ("hi", "you"))
        >>> batch = collate([(torch.ones(5), hi), (torch.ones(9), you)])
        >>> batch.waveforms.shape, batch.targets.tolist()
        (torch.Size([2, 9]), [[10, 11, 0], [27, 17, 23]])
    """
    if not items:
        raise ValueError("cannot make a batch of no utterances")
    tokenizer = tokenizer or Tokenizer()
    waveforms = [waveform for waveform, _ in items]
    targets = [tokenizer.encode(utterance.text) for _, utterance in items]
    pad = torch.nn.utils.rnn.pad_sequence
    return Batch(
        pad(waveforms, batch_first=True),
        torch.tensor([len(waveform) for waveform in waveforms]),
        pad(targets, batch_first=True, padding_value=BLANK),
        torch.tensor([len(target) for target in targets]),
        tuple(utterance for _, utterance in items),
    )


class LengthBucketSampler(Sampler[list[int]]):
    """Batches of neighbors in length, shuffled anew each epoch, the same for the same seed.

    Utterances are sorted by length with a little noise, cut into batches of about equal sound, and
    the batches are shuffled. The number of batches never changes and every utterance occurs once
    an epoch.

    Example:
        >>> sampler = LengthBucketSampler([1.0, 9.0, 1.1, 8.0], batch_seconds=18, shuffle=False)
        >>> list(sampler)
        [[0, 2], [3, 1]]
    """

    def __init__(
        self,
        durations: Sequence[float],
        batch_seconds: float,
        *,
        max_utterances: int = 256,
        shuffle: bool = True,
        noise: float = 0.02,
        seed: int = 0,
    ) -> None:
        """Plan the batches.

        Args:
            durations: of the utterances, in seconds.
            batch_seconds: sound in a batch, padding included (a longer utterance is alone).
            max_utterances: at most so many in a batch.
            shuffle: False gives the shortest first, always in the same order.
            noise: durations are multiplied by 1 +- noise before sorting, so that an utterance meets
                other neighbors each epoch.
            seed: of the shuffles.

        Raises:
            ValueError: no durations, or one that is not positive; batch_seconds not positive.
        """
        if not len(durations) or min(durations) <= 0 or batch_seconds <= 0 or max_utterances < 1:
            raise ValueError(
                f"{len(durations)} durations, batch_seconds={batch_seconds},"
                f" max_utterances={max_utterances}: all must be positive"
            )
        self.durations, self.shuffle, self.noise, self.seed = list(durations), shuffle, noise, seed
        self.epoch = 0
        self.first_batch = 0
        self._cuts = [0]  # batch i holds places cuts[i]..cuts[i + 1] of the sorted list
        for place, longest in enumerate(sorted(self.durations)):
            size = place + 1 - self._cuts[-1]
            if size > 1 and (size * longest > batch_seconds or size > max_utterances):
                self._cuts.append(place)
        self._cuts.append(len(self.durations))

    def start_at(self, epoch: int, first_batch: int = 0) -> None:
        """Say which epoch comes next, and how many of its batches are done already."""
        self.epoch, self.first_batch = epoch, first_batch

    def __len__(self) -> int:
        return len(self._cuts) - 1

    def __iter__(self) -> Iterator[list[int]]:
        dice = random.Random(f"{self.seed}-{self.epoch}")
        noise = self.noise if self.shuffle else 0.0
        key = [d * dice.uniform(1 - noise, 1 + noise) for d in self.durations]
        places = sorted(range(len(key)), key=key.__getitem__)
        batches = [places[a:b] for a, b in zip(self._cuts, self._cuts[1:])]
        if self.shuffle:
            dice.shuffle(batches)
        yield from batches[self.first_batch :]

    def padding_waste(self) -> float:
        """Padded sound over real sound in this epoch; 1 is perfect.

        Example:
            >>> LengthBucketSampler([2.0, 4.0], batch_seconds=8, shuffle=False).padding_waste()
            1.3333333333333333
        """
        padded = sum(len(b) * max(self.durations[i] for i in b) for b in self)
        return padded / sum(self.durations)


class SpeechDataset(Dataset):
    """Utterances as a torch dataset; sounds stay in memory once read, as 16-bit numbers.

    A file that cannot be read is named, skipped and kept in `skipped`.

    Example:
        >>> from asrlib.corpus import MiniSpeech
        >>> waveform, utterance = SpeechDataset(MiniSpeech("dev"))[0]
        >>> abs(len(waveform) / 16_000 - utterance.duration_seconds) < 0.001
        True
    """

    def __init__(self, utterances: Sequence[Utterance], *, keep_in_memory: bool = True) -> None:
        """Wrap utterances.

        Args:
            utterances: a corpus.
            keep_in_memory: 115 MB an hour; False reads each sound anew.
        """
        self.utterances, self.keep_in_memory = utterances, keep_in_memory
        self.skipped: list[tuple[str, str]] = []
        self._cache: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> tuple[Tensor, Utterance] | None:
        utterance = self.utterances[index]
        if index in self._cache:
            return self._cache[index].float() / 32768, utterance
        try:
            waveform = utterance.load()
        except (ValueError, FileNotFoundError) as error:
            self.skipped.append((utterance.id, str(error)))
            print(f"skipped {utterance.id}: {error}", flush=True)
            return None
        samples = (waveform * 32768).round().clamp(-32768, 32767).to(torch.int16)
        if self.keep_in_memory:
            self._cache[index] = samples
        return samples.float() / 32768, utterance


def batch_loader(
    dataset: SpeechDataset, batches: Iterable[list[int]], *, workers: int = 0
) -> DataLoader:
    """Read batches, in worker processes if asked for.

    Args:
        dataset: the utterances.
        batches: which go together: a `LengthBucketSampler`, or lists of indices.
        workers: processes that decode sound ahead; 0 decodes in this one.

    Returns:
        An iterable of `Batch`, or None where no utterance of a batch could be read.

    Example:
        >>> from asrlib.corpus import MiniSpeech
        >>> dev = MiniSpeech("dev")
        >>> sampler = LengthBucketSampler([u.duration_seconds for u in dev], batch_seconds=30)
        >>> sum(len(batch.utterances) for batch in batch_loader(SpeechDataset(dev), sampler))
        60
    """
    return DataLoader(
        dataset, batch_sampler=batches, collate_fn=_collate_readable, num_workers=workers
    )


def _collate_readable(items: Sequence[tuple[Tensor, Utterance] | None]) -> Batch | None:
    readable = [item for item in items if item is not None]
    return collate(readable) if readable else None
