"""How likely is a word that hardly ever followed? Counts of n-grams, smoothed by Kneser-Ney.

Sentences become ids, ids become sorted keys with counts, and counts become probabilities: each
n-gram gives a little away (its discount), and the shorter n-grams share that out. All of it is
array arithmetic; tests compare it with dictionaries that follow the formulas word by word.
"""

import warnings
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int32, Int64

UNKNOWN, START, END = range(3)  # ids of the three words below, in every model
SPECIAL = ("<unk>", "<s>", "</s>")
NEVER = -99 * float(np.log(10))  # "cannot happen", as ARPA files write it; finite, so sums work


class NGrams(NamedTuple):
    """N-grams of all orders in one sorted array, as a tree, with what a back-off model says.

    N-gram number i (the first has number 1) is a key `context * vocabulary + word`, where `context`
    is the number of the n-gram without its last word; 0 is the empty one. Keys of longer n-grams
    are greater.

    Attributes:
        words: the vocabulary, `SPECIAL` first; a word's id is its place.
        unit: "word" or "character".
        order: words of the longest n-grams.
        keys: sorted; a unigram for each word, and the context of each n-gram is there.
        log_prob: natural logarithm, of the empty n-gram (unused) and one a key.
        backoff: logarithm of the back-off weight, of the same.
    """

    words: list[str]
    unit: str
    order: int
    keys: Int64[np.ndarray, " ngrams"]
    log_prob: Float[np.ndarray, " nodes"]
    backoff: Float[np.ndarray, " nodes"]

    @property
    def first(self) -> list[int]:
        """n-grams of order k have the numbers first[k] to first[k + 1] - 1."""
        first = [0, 1]
        for _ in range(self.order):
            first.append(1 + int(self.keys.searchsorted(first[-1] * len(self.words))))
        return first


def estimate(
    lines: Iterable[str],
    order: int,
    *,
    unit: str = "word",
    min_counts: Sequence[int] = (1,),
    max_words: int | None = None,
) -> NGrams:
    """Count n-grams and smooth them: interpolated modified Kneser-Ney (Chen and Goodman 1999).

    Args:
        lines, order, unit, min_counts, max_words: as in `NGramModel.train`.

    Returns:
        The n-grams. Where counts of counts give no discounts, it is 0.5, with a warning.

    Raises:
        ValueError: an argument is out of range, or no line holds a word.

    Example:
        >>> ngrams = estimate([*"aabc"], order=1)
        >>> ngrams.words, np.exp(ngrams.log_prob[-2:]).round(3).tolist()
        (['<unk>', '<s>', '</s>', 'a', 'b', 'c'], [0.113, 0.113])
    """
    least = [*min_counts]
    least += least[-1:] * order
    if order < 1 or unit not in ("word", "character"):
        raise ValueError(f"order {order} (1 or more), unit {unit!r} ('word' or 'character')")
    if not least or least != sorted(least) or least[0] < 1:
        raise ValueError(f"min_counts {tuple(min_counts)} must begin at 1 or more, and not fall")
    if max_words is not None and max_words < 1:
        raise ValueError(f"max_words is {max_words}; at least 1")
    index = {word: i for i, word in enumerate(SPECIAL)}
    tokens = encode(lines, unit, lambda word: index.setdefault(word, len(index)))
    if not len(tokens):
        raise ValueError("there is no word in the lines: a model of nothing is undefined")
    tokens, words = _limit_vocabulary(tokens, list(index), least[0], max_words)
    levels = _count(tokens, order, len(words))
    counts = _contexts_before(levels)
    discounts = [_discounts(count) for count in counts]
    degenerate = [k for k, each in enumerate(discounts, 1) if each is None and counts[k - 1].any()]
    if degenerate:
        warnings.warn(
            f"n-grams of order {', '.join(map(str, degenerate))}: counts of counts give no"
            " discounts, so 0.5 is taken (too little text, or no rare words in it)",
            stacklevel=3,  # who called NGramModel.train
        )
    discounts = [np.full(3, 0.5) if each is None else each for each in discounts]
    return NGrams(words, unit, order, *_smooth(levels, counts, discounts, least, len(words)))


def encode(
    lines: Iterable[str], unit: str, number: Callable[[str], int]
) -> Int32[np.ndarray, " tokens"]:
    """Put the ids of all lines into one array, each line between START and END.

    Args:
        lines: sentences, one a line; lines without a word are skipped.
        unit: "word" or "character".
        number: gives the id of a word.

    Returns:
        The ids.

    Raises:
        ValueError: `lines` is one text, or a line holds `<s>` or `</s>`.

    Example:
        >>> encode(["b a", "", "a"], "word", {"a": 3, "b": 4}.get).tolist()
        [1, 4, 3, 2, 1, 3, 2]
    """
    if isinstance(lines, str):
        raise ValueError(f"lines is one text, {lines[:40]!r}; put it into a list")
    ids = array("i")
    for line in lines:
        symbols = line.split() if unit == "word" else list(line.strip())
        if not symbols:
            continue
        if "<s>" in symbols or "</s>" in symbols:
            raise ValueError(f"<s> and </s> are added to each line; one stands in {line[:60]!r}")
        ids.append(START)
        ids.extend(map(number, symbols))
        ids.append(END)
    return np.array(ids, np.int32)


def renumber(
    keys: Int64[np.ndarray, " ngrams"], keep: Bool[np.ndarray, " nodes"], vocabulary: int
) -> Int64[np.ndarray, " kept"]:
    """Take n-grams out of a tree.

    Args:
        keys: as in `NGrams`.
        keep: which stay, the empty n-gram first; whatever stays keeps its context.
        vocabulary: number of words.

    Returns:
        The keys that stay, with the new numbers of their contexts.

    Example:
        >>> keys = np.array([0, 1, 3, 4, 8])  # of two words: a, b, "a b", "b a", "b a a"
        >>> renumber(keys, np.array([True, True, True, False, True, True]), 2)
        array([0, 1, 4, 6])
    """
    numbers = np.cumsum(keep) - 1
    contexts, words = np.divmod(keys[keep[1:]], vocabulary)
    return numbers[contexts] * vocabulary + words


def _limit_vocabulary(
    tokens: np.ndarray, words: list[str], least: int, most: int | None
) -> tuple[np.ndarray, list[str]]:
    """Number the words from the most frequent one on; those too rare become UNKNOWN."""
    counts = np.bincount(tokens, minlength=len(words))
    ranked = len(SPECIAL) + np.argsort(-counts[len(SPECIAL) :], kind="stable")
    kept = ranked[counts[ranked] >= least][:most]
    ids = np.full(len(words), UNKNOWN, np.int32)
    ids[[START, END]] = START, END
    ids[kept] = np.arange(len(SPECIAL), len(SPECIAL) + len(kept))
    return ids[tokens], [*SPECIAL, *(words[i] for i in kept)]


def _count(tokens: np.ndarray, order: int, vocabulary: int) -> list[tuple[np.ndarray, ...]]:
    """Keys of the n-grams of each order, how often they occur, and numbers of their suffixes."""
    counts = np.bincount(tokens, minlength=vocabulary)
    levels = [(np.arange(vocabulary), counts, np.zeros(vocabulary, np.int64))]
    here = tokens + np.int64(1)  # number of the n-gram that ends at each place, -1 if there is none
    first = 1 + vocabulary
    for _ in range(1, order):
        whole = np.flatnonzero((here[:-1] >= 0) & (tokens[1:] != START)) + 1
        keys, numbers, counts = np.unique(
            here[whole - 1] * vocabulary + tokens[whole], return_inverse=True, return_counts=True
        )
        suffixes = np.empty(len(keys), np.int64)
        suffixes[numbers] = here[whole]
        levels.append((keys, counts, suffixes))
        here[:] = -1
        here[whole] = first + numbers
        first += len(keys)
    return levels


def _contexts_before(levels: list[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    """What Kneser-Ney counts: after how many words does an n-gram stand? Of the longest, how often.

    Nothing stands before <s>: n-grams that begin with it keep the number of times they occur.
    """
    counts, first = [], 1
    for (keys, raw, _), (_, _, suffixes) in zip(levels, levels[1:]):
        before = np.bincount(suffixes - first, minlength=len(keys))
        counts.append(np.where(before > 0, before, raw))
        first += len(keys)
    counts.append(levels[-1][1].copy())
    counts[0][START] = 0  # never predicted
    return counts


def _discounts(counts: np.ndarray) -> np.ndarray | None:
    """Discounts of n-grams with count 1, 2, and 3 or more (Chen and Goodman 1999, eq. 26)."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(float)
    if not n.all():
        return None
    discounts = np.arange(1, 4) - np.arange(2, 5) * n[0] / (n[0] + 2 * n[1]) * n[1:] / n[:-1]
    return discounts if (discounts > 0).all() else None


def _smooth(
    levels: list[tuple[np.ndarray, ...]],
    counts: list[np.ndarray],
    discounts: list[np.ndarray],
    least: Sequence[int],
    vocabulary: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keys, log-probabilities and log back-off weights of interpolated Kneser-Ney."""
    probs = [np.array([1 / (vocabulary - 1)])]  # below the unigrams: all words but <s> are equal
    weights, kept = [], [np.array([True])]
    before, first = 0, 1  # numbers of the first context, and of the first n-gram of this order
    for k, ((keys, raw, suffixes), count) in enumerate(zip(levels, counts), 1):
        keep = raw >= (least[k - 1] if k > 1 else 0)  # the vocabulary has been cut already
        discount = np.append(0, discounts[k - 1])[np.minimum(count, 3)]
        above = keys // vocabulary - before
        total = np.maximum(np.bincount(above, count, minlength=len(probs[-1])), 1)
        # What is left to the lower order: all discounts, and the counts of what is left out.
        taken = np.bincount(above, np.where(keep, discount, count), minlength=len(probs[-1]))
        weights.append(np.where(taken > 0, taken / total, 1))
        lower = probs[-1][suffixes - before]
        probs.append((count - discount) / total[above] + weights[-1][above] * lower)
        kept.append(keep)
        before, first = first, first + len(keys)
    keep = np.concatenate(kept)
    keys = renumber(np.concatenate([keys for keys, _, _ in levels]), keep, vocabulary)
    log_prob = np.log(np.concatenate(probs)[keep])
    log_prob[1 + START] = NEVER
    backoff = np.log(np.concatenate([*weights, np.ones(len(probs[-1]))])[keep])
    backoff[0] = 0
    return keys, log_prob, backoff
