"""How wrong is it? Word and character error rates over a corpus, with counts and an interval.

The alignments are jiwer's. The rate is always of the whole corpus, errors over reference words:
the mean of utterance rates, which several tutorials report, lets short utterances dominate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import numpy as np


@dataclass(frozen=True)
class ErrorRate:
    """An error rate with the counts behind it: rate = (S + I + D) / words.

    Attributes:
        rate: 0 is perfect; insertions can push it above 1.
        substitutions: words (or characters) read as another.
        insertions: words that nobody said.
        deletions: words that were missed.
        words: reference words (characters for a character error rate).
    """

    rate: float
    substitutions: int
    insertions: int
    deletions: int
    words: int

    def __str__(self) -> str:
        return (
            f"{100 * self.rate:.1f} % ({self.substitutions} S, {self.insertions} I, "
            f"{self.deletions} D of {self.words})"
        )


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRate:
    """Word error rate of a corpus.

    Args:
        references: what was said, one text an utterance; an empty one is legal.
        hypotheses: what the recognizer wrote, in the same order.

    Returns:
        The rate and its counts.

    Raises:
        ValueError: the two lists differ in length, or there is no reference word at all.

    Example:
        >>> word_error_rate(["the cat sat", "hello"], ["the cat sat down", "yellow"]).rate
        0.5
    """
    _check(references, hypotheses)
    return _rate(jiwer.process_words(list(references), list(hypotheses)))


def character_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRate:
    """Character error rate of a corpus; spaces count as characters.

    Args:
        references: what was said, one text an utterance.
        hypotheses: what the recognizer wrote, in the same order.

    Returns:
        The rate and its counts (`words` counts characters).

    Raises:
        ValueError: the two lists differ in length, or there is no reference character at all.

    Example:
        >>> character_error_rate(["hello"], ["yellow"])
        ErrorRate(rate=0.4, substitutions=1, insertions=1, deletions=0, words=5)
    """
    _check(references, hypotheses)
    return _rate(jiwer.process_characters(list(references), list(hypotheses)))


def align_words(reference: str, hypothesis: str) -> list[tuple[str, str | None, str | None]]:
    """Lay two transcripts side by side, one optimal alignment.

    Args:
        reference: what was said.
        hypothesis: what the recognizer wrote.

    Returns:
        Rows (kind, reference word, hypothesis word); kind is "equal", "substitute", "insert" or
        "delete"; the missing side of an insertion or deletion is None.

    Example:
        >>> align_words("the red cat", "the rat sat")
        [('equal', 'the', 'the'), ('substitute', 'red', 'rat'), ('substitute', 'cat', 'sat')]
    """
    output = jiwer.process_words([reference], [hypothesis])
    said, heard = output.references[0], output.hypotheses[0]
    rows: list[tuple[str, str | None, str | None]] = []
    for chunk in output.alignments[0]:
        left = said[chunk.ref_start_idx : chunk.ref_end_idx]
        right = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
        for n in range(max(len(left), len(right))):
            rows.append(
                (
                    chunk.type,
                    left[n] if n < len(left) else None,
                    right[n] if n < len(right) else None,
                )
            )
    return rows


def bootstrap_interval(
    references: Sequence[str],
    hypotheses: Sequence[str],
    speakers: Sequence[str],
    *,
    confidence: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of the word error rate if other speakers of the same kind had been recorded.

    Speakers, not utterances, are drawn with replacement: utterances of one voice err together
    (Bisani and Ney 2004 draw segments; with few speakers that interval is too narrow).

    Args:
        references: what was said.
        hypotheses: what the recognizer wrote.
        speakers: who spoke, one an utterance.
        confidence: in (0, 1).
        samples: bootstrap draws.
        seed: of the draws.

    Returns:
        (low, high) word error rates.

    Raises:
        ValueError: lengths differ, or fewer than two speakers.

    Example:
        >>> low, high = bootstrap_interval(["a b", "c d"], ["a b", "c x"], ["ann", "bob"])
        >>> low, high
        (0.0, 0.5)
    """
    _check(references, hypotheses)
    names = sorted(set(speakers))
    if len(speakers) != len(references) or len(names) < 2:
        raise ValueError(
            f"{len(references)} references, {len(speakers)} speaker labels, {len(names)} different"
            " speakers; need a label for each and at least 2 speakers"
        )
    counts = np.zeros((len(names), 2))  # errors and words of each speaker
    for n, name in enumerate(names):
        rows = [i for i, speaker in enumerate(speakers) if speaker == name]
        output = jiwer.process_words([references[i] for i in rows], [hypotheses[i] for i in rows])
        errors = output.substitutions + output.insertions + output.deletions
        counts[n] = errors, output.hits + output.substitutions + output.deletions
    drawn = np.random.default_rng(seed).integers(len(names), size=(samples, len(names)))
    sums = counts[drawn].sum(axis=1)  # (samples, speakers, 2) -> (samples, 2)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(sums[:, 0] / np.maximum(sums[:, 1], 1), [tail, 100 - tail])
    return float(low), float(high)


def _check(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    if isinstance(references, str) or isinstance(hypotheses, str):
        raise ValueError("references and hypotheses are lists of texts; wrap a single text in [ ]")
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    if not any(reference.strip() for reference in references):
        raise ValueError("no reference holds a word: an error rate over nothing is undefined")


def _rate(output: "jiwer.WordOutput | jiwer.CharacterOutput") -> ErrorRate:
    errors = output.substitutions + output.insertions + output.deletions
    length = output.hits + output.substitutions + output.deletions
    return ErrorRate(
        errors / length, output.substitutions, output.insertions, output.deletions, length
    )
