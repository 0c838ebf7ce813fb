"""Where are the errors? Word error rates by group, recall by frequency, and an atlas of confusions.

All of it counts the rows of the same alignments as `asrlib.metrics`, so the parts add up to the
error rate of the corpus.
"""

import json
import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Real

from asrlib.metrics import ErrorRate, Row, align_corpus


def breakdown(
    references: Sequence[str], hypotheses: Sequence[str], groups: Sequence[Hashable]
) -> dict[Hashable, ErrorRate]:
    """Word error rate of each group of utterances: by speaker, by length, by any label.

    The counts of the groups add up to those of the corpus, so a group without a reference word
    keeps its insertions; its rate is nan.

    Args:
        references, hypotheses: what was said, and what the recognizer wrote.
        groups: a label an utterance.

    Returns:
        The rate of each group, sorted by label, numbers in it by value: "6-10" before "11-20".

    Raises:
        ValueError: lengths differ, or there is no reference word at all.

    Example:
        >>> rates = breakdown(["a b", "c d", "e"], ["a b", "c x", "y"], ["ann", "bob", "bob"])
        >>> print(rates["bob"])
        66.7 % (2 S, 0 I, 0 D of 3)
    """
    utterances = align_corpus(references, hypotheses)
    if len(groups) != len(references):
        raise ValueError(f"{len(references)} references but {len(groups)} groups; each needs one")
    members: dict[Hashable, list[list[Row]]] = {group: [] for group in _in_order(groups)}
    for group, rows in zip(groups, utterances):
        members[group].append(rows)
    return {group: ErrorRate.of(own) for group, own in members.items()}


def length_groups(references: Sequence[str], edges: Sequence[int] = (5, 10, 20, 40)) -> list[str]:
    """Label each utterance with its length in words, for `breakdown`.

    Args:
        references: what was said.
        edges: the greatest length of each group but the last; strictly increasing, from 1.

    Returns:
        A label an utterance: "0 words", "1-5 words", "6-10 words", ..., "41+ words".

    Raises:
        ValueError: edges do not increase from 1 up.

    Example:
        >>> length_groups(["so it goes", "", "a b c d e f"])
        ['1-5 words', '0 words', '6-10 words']
    """
    edges = (0, *edges)
    labels = _ranges(edges, "words")
    return [labels[bisect_left(edges, len(text.split()))] for text in references]


@dataclass(frozen=True)
class WordRecall:
    """How many of some reference words were recognized.

    Attributes:
        rate, hits, words: rate = hits / words, nan for no words.
    """

    rate: float
    hits: int
    words: int


def breakdown_by_frequency(
    references: Sequence[str],
    hypotheses: Sequence[str],
    counts: Mapping[str, int],
    edges: Sequence[int] = (0, 10, 100, 1000),
) -> dict[str, WordRecall]:
    """Share of reference words recognized right, by how often the training text holds them.

    Recall, not an error rate: nobody said an inserted word, so insertions belong to no class.
    Where optimal alignments tie, the hits are those of jiwer's.

    Args:
        references, hypotheses: what was said, and what the recognizer wrote.
        counts: how often each word occurs in the training text; 0 times if it is not in there.
        edges: the greatest count of each class but the last; strictly increasing, from 0.

    Returns:
        Recall of every class: "0 times", "1-10 times", ..., "1001+ times"; nan where no word is.

    Raises:
        ValueError: lengths differ, there is no reference word at all, or edges do not increase.

    Example:
        >>> recall = breakdown_by_frequency(["the emu"], ["the em you"], {"the": 50}, edges=(0,))
        >>> recall["0 times"], recall["1+ times"]
        (WordRecall(rate=0.0, hits=0, words=1), WordRecall(rate=1.0, hits=1, words=1))
    """
    labels = _ranges(edges, "times")
    hits: dict[str, list[bool]] = {label: [] for label in labels}
    for rows in align_corpus(references, hypotheses):
        for kind, said, _ in rows:
            if said is not None:
                hits[labels[bisect_left(edges, counts.get(said, 0))]].append(kind == "equal")
    return {
        label: WordRecall(sum(right) / len(right) if right else math.nan, sum(right), len(right))
        for label, right in hits.items()
    }


@dataclass(frozen=True)
class ErrorAtlas:
    """All errors of a corpus, counted; lists run from most to least common, ties by alphabet.

    Attributes:
        substitutions: (said, heard, count) of words.
        deletions: (said, count) of words missed.
        insertions: (heard, count) of words nobody said.
        worst: (index, errors, words) of the utterances with errors, most errors first.
        speakers: rate of each speaker; empty when none were given.
        characters: (said, heard, count) of wrong characters; "" marks an inserted or deleted one.
    """

    substitutions: list[tuple[str, str, int]]
    deletions: list[tuple[str, int]]
    insertions: list[tuple[str, int]]
    worst: list[tuple[int, int, int]]
    speakers: dict[str, ErrorRate]
    characters: list[tuple[str, str, int]]

    def to_json(self) -> str:
        """Write the atlas as JSON; tuples become lists and a rate nan becomes null."""
        content = asdict(self)
        for rate in content["speakers"].values():
            rate["rate"] = None if math.isnan(rate["rate"]) else rate["rate"]
        return json.dumps(content, allow_nan=False)


def error_atlas(
    references: Sequence[str], hypotheses: Sequence[str], speakers: Sequence[str] | None = None
) -> ErrorAtlas:
    """Count which words and characters went wrong, where, and for whom.

    Args:
        references, hypotheses: what was said, and what the recognizer wrote.
        speakers: who spoke, one an utterance.

    Returns:
        The atlas; its counts add up to those of `word_error_rate` and `character_error_rate`.

    Raises:
        ValueError: lengths differ, or there is no reference word at all.

    Example:
        >>> atlas = error_atlas(["the cat", "a cat sat"], ["the hat", "a hat"])
        >>> atlas.substitutions, atlas.deletions, atlas.worst
        ([('cat', 'hat', 2)], [('sat', 1)], [(1, 2, 3), (0, 1, 2)])
    """
    utterances = align_corpus(references, hypotheses)
    rows = [row for utterance in utterances for row in utterance]
    spelling = align_corpus(references, hypotheses, characters=True)
    wrong = [row for utterance in spelling for row in utterance if row[0] != "equal"]
    rates = [(n, ErrorRate.of([utterance])) for n, utterance in enumerate(utterances)]
    worst = [(n, rate.errors, rate.words) for n, rate in rates if rate.errors]
    return ErrorAtlas(
        substitutions=_ranked((said, heard) for kind, said, heard in rows if kind == "substitute"),
        deletions=_ranked((said,) for kind, said, _ in rows if kind == "delete"),
        insertions=_ranked((heard,) for kind, _, heard in rows if kind == "insert"),
        worst=sorted(worst, key=lambda utterance: (-utterance[1], utterance[0])),
        speakers={} if speakers is None else breakdown(references, hypotheses, speakers),
        characters=_ranked((said or "", heard or "") for _, said, heard in wrong),
    )


def _ranges(edges: Sequence[int], unit: str) -> list[str]:
    """Labels of the counts up to each edge and of those above the last."""
    if list(edges) != sorted(set(edges)) or not edges or edges[0] < 0:
        raise ValueError(f"edges {tuple(edges)} must be counts in strictly increasing order")
    lows = [0, *(edge + 1 for edge in edges)]
    spans = [f"{low}-{high}" if low < high else f"{low}" for low, high in zip(lows, edges)]
    return [f"{span} {unit}" for span in (*spans, f"{lows[-1]}+")]


def _in_order(groups: Iterable[Hashable]) -> list[Hashable]:
    """The different groups: numbers by value, then labels, digits within them by value."""

    def key(label: Hashable) -> tuple:
        if isinstance(label, Real):
            return 0, label
        parts = re.split(r"(\d+)", str(label))  # digits at odd places
        return 1, [int(part) if n % 2 else part for n, part in enumerate(parts)], str(label)

    return sorted(dict.fromkeys(groups), key=key)


def _ranked(items: Iterable[tuple]) -> list[tuple]:
    """Each different item with its count behind it, most common first."""
    ranked = sorted(Counter(items).items(), key=lambda entry: (-entry[1], entry[0]))
    return [(*item, count) for item, count in ranked]
