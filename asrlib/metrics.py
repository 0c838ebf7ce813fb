"""How wrong is it, and is the other system better? Error rates of a corpus with counts.

The alignments are jiwer's. A rate is always of the whole corpus or of a group of its utterances,
errors over reference words: the mean of utterance rates, which several tutorials report, lets
short utterances dominate.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import jiwer
import numpy as np

Row = tuple[str, str | None, str | None]  # kind, reference word, hypothesis word


@dataclass(frozen=True)
class ErrorRate:
    """An error rate with the counts behind it: rate = (S + I + D) / words.

    Attributes:
        rate: 0 is perfect; insertions can push it above 1; nan for a group without words.
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

    @classmethod
    def of(cls, alignments: Iterable[list[Row]]) -> "ErrorRate":
        """Count the errors of utterances.

        Args:
            alignments: of the utterances, as `align_corpus` returns them.
        """
        kinds = Counter(kind for rows in alignments for kind, _, _ in rows)
        wrong = kinds["substitute"], kinds["insert"], kinds["delete"]
        words = kinds["equal"] + kinds["substitute"] + kinds["delete"]
        return cls(sum(wrong) / words if words else math.nan, *wrong, words)

    @property
    def errors(self) -> int:
        """S + I + D."""
        return self.substitutions + self.insertions + self.deletions

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
    return ErrorRate.of(align_corpus(references, hypotheses))


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
    return ErrorRate.of(align_corpus(references, hypotheses, characters=True))


def align_corpus(
    references: Sequence[str], hypotheses: Sequence[str], *, characters: bool = False
) -> list[list[Row]]:
    """Align each utterance of a corpus; every count in this package is a count of these rows.

    Args:
        references: what was said, one text an utterance; an empty one is legal.
        hypotheses: what the recognizer wrote, in the same order.
        characters: align characters, spaces among them, instead of words.

    Returns:
        The rows of each utterance, as `align_words` returns them.

    Raises:
        ValueError: the two lists differ in length, or there is no reference word at all.

    Example:
        >>> align_corpus(["the cat", "so"], ["the", "so"])
        [[('equal', 'the', 'the'), ('delete', 'cat', None)], [('equal', 'so', 'so')]]
    """
    if isinstance(references, str) or isinstance(hypotheses, str):
        raise ValueError("references and hypotheses are lists of texts; wrap a single text in [ ]")
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    if not any(reference.strip() for reference in references):
        raise ValueError("no reference holds a word: an error rate over nothing is undefined")
    process = jiwer.process_characters if characters else jiwer.process_words
    return _rows(process(list(references), list(hypotheses)))


def align_words(reference: str, hypothesis: str) -> list[Row]:
    """Lay two transcripts side by side, one optimal alignment.

    Args:
        reference, hypothesis: what was said, and what the recognizer wrote.

    Returns:
        Rows (kind, reference word, hypothesis word); kind is "equal", "substitute", "insert" or
        "delete"; the missing side of an insertion or deletion is None.

    Example:
        >>> align_words("the red cat", "the rat sat")
        [('equal', 'the', 'the'), ('substitute', 'red', 'rat'), ('substitute', 'cat', 'sat')]
    """
    return _rows(jiwer.process_words([reference], [hypothesis]))[0]


def edit_alignment(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Row]:
    """Align with the fewest errors, by hand: dynamic programming (Wagner and Fischer 1974).

    Optimal alignments tie. This one walks back from the end and prefers a match or substitution,
    then a deletion; jiwer may choose another, with as many errors.

    Args:
        reference, hypothesis: two lists of words, or two texts for their characters.

    Returns:
        Rows as `align_words` returns them.

    Example:
        >>> edit_alignment("the red cat".split(), "red hat".split())
        [('delete', 'the', None), ('equal', 'red', 'red'), ('substitute', 'cat', 'hat')]
        >>> sum(kind != "equal" for kind, _, _ in edit_alignment("kitten", "sitting"))
        3
    """
    # cost[i][j]: fewest errors between the first i of the reference and the first j of the
    # hypothesis. Against nothing, each item is one error: the borders hold i and j.
    cost = [[i + j for j in range(len(hypothesis) + 1)] for i in range(len(reference) + 1)]
    for i, said in enumerate(reference, 1):
        for j, heard in enumerate(hypothesis, 1):
            match = cost[i - 1][j - 1] + (said != heard)
            cost[i][j] = min(match, cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    rows: list[Row] = []
    i, j = len(reference), len(hypothesis)
    while i or j:  # from the end back along cells that explain each cost
        if i and j and cost[i][j] == cost[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1]):
            i, j = i - 1, j - 1
            kind = "equal" if reference[i] == hypothesis[j] else "substitute"
            rows.append((kind, reference[i], hypothesis[j]))
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            rows.append(("delete", reference[i], None))
        else:
            j -= 1
            rows.append(("insert", None, hypothesis[j]))
    return rows[::-1]


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
        references, hypotheses: what was said, and what the recognizer wrote.
        speakers: who spoke, one an utterance.
        confidence: of the interval, in (0, 1).
        samples, seed: number of bootstrap draws, at least 1, and their seed.

    Returns:
        (low, high) word error rates.

    Raises:
        ValueError: lengths differ, fewer than two speakers, or confidence or samples out of range.

    Example:
        >>> low, high = bootstrap_interval(["a b", "c d"], ["a b", "c x"], ["ann", "bob"])
        >>> low, high
        (0.0, 0.5)
    """
    (rates,) = _drawn_rates(references, [hypotheses], speakers, samples, seed)
    return _interval(rates, confidence)


@dataclass(frozen=True)
class PairedDifference:
    """Word error rate of system a minus that of system b: positive when b is better.

    Attributes:
        difference: of the two rates on the whole corpus.
        low, high: its interval; where 0 lies outside, other speakers would hardly undo it.
        probability: share of the draws in which b is better (a tie counts half), in [0, 1].
    """

    difference: float
    low: float
    high: float
    probability: float


def paired_bootstrap(
    references: Sequence[str],
    hypotheses_a: Sequence[str],
    hypotheses_b: Sequence[str],
    speakers: Sequence[str],
    *,
    confidence: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
) -> PairedDifference:
    """Would b still beat a if other speakers had been recorded?

    Both systems are scored on the same draw of speakers (Bisani and Ney 2004, who draw segments):
    a hard voice is hard for both and cancels in the difference, which two intervals cannot see.

    Args:
        references, hypotheses_a, hypotheses_b: what was said, and what each system wrote.
        speakers, confidence, samples, seed: as in `bootstrap_interval`.

    Returns:
        The difference a - b with its interval and the probability that b is better.

    Raises:
        ValueError: lengths differ, fewer than two speakers, or confidence or samples out of range.

    Example:
        >>> paired_bootstrap(["a b", "c d"], ["a x", "c x"], ["a b", "c d"], ["ann", "bob"])
        PairedDifference(difference=0.5, low=0.5, high=0.5, probability=1.0)
    """
    systems = [hypotheses_a, hypotheses_b]
    a, b = _drawn_rates(references, systems, speakers, samples, seed)
    whole_a, whole_b = (word_error_rate(references, hypotheses) for hypotheses in systems)
    difference = (whole_a.errors - whole_b.errors) / whole_a.words
    probability = float(np.mean((b < a) + (b == a) / 2))
    return PairedDifference(difference, *_interval(a - b, confidence), probability)


def _rows(output: "jiwer.WordOutput | jiwer.CharacterOutput") -> list[list[Row]]:
    """Write jiwer's alignments, which are stretches of equal kind, as rows."""
    utterances = []
    for said, heard, chunks in zip(output.references, output.hypotheses, output.alignments):
        rows: list[Row] = []
        for chunk in chunks:
            left = said[chunk.ref_start_idx : chunk.ref_end_idx]
            right = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
            rows += ((chunk.type, *sides) for sides in zip_longest(left, right))
        utterances.append(rows)
    return utterances


def _drawn_rates(
    references: Sequence[str], systems: list, speakers: Sequence[str], samples: int, seed: int
) -> list[np.ndarray]:
    """Word error rates of each system over the same draws of speakers."""
    if samples < 1:
        raise ValueError(f"samples {samples} must be at least 1")
    names = sorted(set(speakers))
    if len(speakers) != len(references) or len(names) < 2:
        raise ValueError(
            f"{len(references)} references, {len(speakers)} speaker labels, {len(names)} different"
            " speakers; need a label for each and at least 2 speakers"
        )
    drawn = np.random.default_rng(seed).integers(len(names), size=(samples, len(names)))
    place, rates = {name: n for n, name in enumerate(names)}, []
    for hypotheses in systems:
        counts = np.zeros((len(names), 2), np.int64)  # errors and words of each speaker
        for speaker, rows in zip(speakers, align_corpus(references, hypotheses)):
            rate = ErrorRate.of([rows])
            counts[place[speaker]] += rate.errors, rate.words
        errors, words = counts[drawn].sum(axis=1).T  # (samples, speakers, 2) -> 2 of (samples)
        rates.append(errors / np.maximum(words, 1))
    return rates


def _interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1; 95 % is 0.95")
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
