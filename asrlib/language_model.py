"""What will be said next? N-gram language models of words or characters.

All n-grams stand in one sorted array (see `kneser_ney.NGrams`), so one binary search looks up those
of every order, and their numbers double as states of a beam search: all that the model needs to
remember of what was said.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from asrlib.arpa import read_arpa, write_arpa
from asrlib.files import atomic_file
from asrlib.kneser_ney import END, NEVER, START, UNKNOWN, NGrams, encode, estimate, renumber

SHIPPED = {"books": Path(__file__).parent / "lm" / "books-3gram.npz"}
_FORMAT = 1
_BROKEN = (zipfile.BadZipFile, zlib.error)


class NGramModel:
    """An n-gram model in back-off form: p(w|h) = stored, or weight(h) * p(w|h without its first).

    Attributes:
        words: the vocabulary; `<unk>`, `<s>` and `</s>` come first.
        index: the id of each word.
        unknown, end: ids of `<unk>` and `</s>`.
        order: words of the longest n-grams; 3 is a trigram model.
        unit: "word" or "character".
        empty_state, start_state: states of `score` that know nothing, and the start of a sentence.

    Example:
        >>> model = NGramModel.train(["the cat sat", "the cat ran", "the dog ran"], order=2)
        >>> model.log_prob("cat", ["the"]) > model.log_prob("dog", ["the"])
        True
        >>> model.perplexity(["the dog sat"]) < model.perplexity(["sat dog the"])
        True
    """

    empty_state = 0

    def __init__(
        self,
        words: Sequence[str],
        unit: str,
        order: int,
        keys: Int64[np.ndarray, " ngrams"],
        log_prob: Float[np.ndarray, " nodes"],
        backoff: Float[np.ndarray, " nodes"],
    ) -> None:
        """Tie n-grams together; `train`, `load_arpa` and `load` call this.

        Args:
            words, unit, order, keys, log_prob, backoff: the parts of `kneser_ney.NGrams`.
        """
        self.words, self.unit, self.order = list(words), unit, order
        self.index = {word: i for i, word in enumerate(self.words)}
        self.unknown, self.end = UNKNOWN, END
        # The empty n-gram comes first, so that a place in the array is the number of an n-gram.
        self._keys = np.concatenate([[np.iinfo(np.int64).min], keys])
        self._log_prob = np.asarray(log_prob, np.float32)
        self._backoff = np.asarray(backoff, np.float32)
        self._first = self._ngrams().first  # numbers of the first n-grams of each order
        self._link()

    def _ngrams(self) -> NGrams:
        keys, log_prob, backoff = self._keys[1:], self._log_prob, self._backoff
        return NGrams(self.words, self.unit, self.order, keys, log_prob, backoff)

    def _link(self) -> None:
        """Find for each n-gram its longest proper suffix, and the state that it leads to."""
        self._suffix = np.zeros(len(self._keys), np.int64)
        self._next = np.zeros(len(self._keys), np.int64)
        matters = self._backoff != 0  # as a context, that is
        matters[self._keys[1:] // len(self.words)] = True
        for k in range(1, self.order + 1):
            rows, contexts, words = self._level(k)
            if k > 1:
                self._suffix[rows] = self._find(self._suffix[contexts], words)[0]
            here = np.arange(rows.start, rows.stop)
            self._next[rows] = np.where(matters[rows], here, self._next[self._suffix[rows]])
        self.start_state = int(self._next[1 + START])

    def _level(self, k: int) -> tuple[slice, np.ndarray, np.ndarray]:
        """Numbers of the n-grams of order k, their contexts and their last words."""
        rows = slice(self._first[k], self._first[k + 1])
        return rows, *np.divmod(self._keys[rows], len(self.words))

    def _find(self, states: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The longest n-grams that end in `words`, and the back-off weights on the way there."""
        weights = np.zeros(len(states))
        for _ in range(self.order + 1):
            keys = states * len(self.words) + words
            found = self._keys.searchsorted(keys)
            missed = self._keys.take(found, mode="clip") != keys
            if not missed.any():  # the empty context knows every word
                return found, weights
            weights += self._backoff[states] * missed
            states = np.where(missed, self._suffix[states], states)
        raise ValueError("a word has no unigram")

    def score(
        self, states: Int64[np.ndarray, " n"], words: Int64[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Score one word after each of many histories; no Python loop runs over them.

        Args:
            states: what this method returned for the words before, or `start_state`.
            words: ids in 0..len(words)-1.

        Returns:
            Natural log-probabilities, and the states that follow: the longest context that the
            model holds. Histories with equal states are equal to the model for ever after.

        Raises:
            ValueError: an id is out of range.

        Example:
            >>> model = NGramModel.train(["a b", "a c"], order=2)
            >>> states = np.array([model.start_state, model.empty_state])
            >>> log_probs, states = model.score(states, np.array([model.index["a"]] * 2))
            >>> bool(log_probs[0] > log_probs[1]), bool(states[0] == states[1])
            (True, True)
        """
        # As unsigned numbers, negative ids are too large as well: one comparison, 1.3 us for 50.
        if np.count_nonzero(words.astype(np.uint64, copy=False) >= len(self.words)):
            raise ValueError(f"a word id is outside 0..{len(self.words) - 1}")
        found, weights = self._find(states, words)
        return self._log_prob[found] + weights, self._next[found]

    @classmethod
    def train(
        cls,
        lines: Iterable[str],
        order: int = 3,
        *,
        unit: str = "word",
        min_counts: Sequence[int] = (1,),
        max_words: int | None = None,
    ) -> "NGramModel":
        """Count n-grams and smooth them: interpolated modified Kneser-Ney (Chen and Goodman 1999).

        Args:
            lines: sentences, one a line; lines without a word are skipped. Case is kept.
            order: words of the longest n-grams, at least 1.
            unit: "word": words stand between spaces; "character": a space is a symbol too.
            min_counts: n-grams of order k that occur less often than the k-th number are left out
                (the last number is for all further orders); rarer words become `<unk>`.
            max_words: keep the most frequent words only; the others become `<unk>`, which then
                has the probability of all of them together.

        Returns:
            The model. Where counts of counts give no discounts, it is 0.5, with a warning.

        Raises:
            ValueError: an argument is out of range, or no line holds a word.
        """
        return cls(*estimate(lines, order, unit=unit, min_counts=min_counts, max_words=max_words))

    def log_prob(self, word: str, history: Sequence[str] = ()) -> float:
        """How likely is this word next?

        Args:
            word: one of `words`; any other counts as `<unk>`; `</s>` is the end of the sentence.
            history: words before, the latest last, as many as you like; `<s>` may come first. The
                empty history means that nothing is known, not that a sentence begins.

        Returns:
            The natural logarithm of the probability.

        Raises:
            ValueError: the history of a word model is one text.
        """
        if isinstance(history, str) and self.unit == "word":
            raise ValueError(f"history {history!r} is a text; a list of words is needed")
        recent = list(history)[max(0, len(history) - self.order + 1) :]
        ids = [self.index.get(each, UNKNOWN) for each in [*recent, word]]
        states = np.array([self.empty_state])
        for i in ids[:-1]:
            _, states = self.score(states, np.array([i]))
        return float(self.score(states, np.array([ids[-1]]))[0][0])

    def perplexity(self, lines: Iterable[str]) -> float:
        """Perplexity: among how many equally likely words is each next one chosen, on average?

        Args:
            lines: sentences, one a line; lines without a word are skipped.

        Returns:
            exp of the mean negative log-probability of each word and of each `</s>`. Unknown words
            count as `<unk>`: models are comparable only if their vocabularies are the same.

        Raises:
            ValueError: no line holds a word.
        """
        ids = encode(lines, self.unit, lambda word: self.index.get(word, UNKNOWN))
        if not len(ids):
            raise ValueError("there is no word in the lines: perplexity of nothing is undefined")
        places = np.flatnonzero(ids == START)
        ends = np.append(places[1:], len(ids))
        states, total = np.full(len(places), self.start_state), 0.0
        while len(places := places + 1):  # the next word of every sentence at once
            going = places < ends
            places, ends, states = places[going], ends[going], states[going]
            log_probs, states = self.score(states, ids[places].astype(np.int64))
            total += log_probs.sum()
        return float(np.exp(-total / np.count_nonzero(ids != START)))

    def save_arpa(self, path: str | os.PathLike) -> None:
        """Write the model as an ARPA text file, which most speech programs read.

        Args:
            path: where to; compressed if it ends in ".gz".

        Raises:
            ValueError: a symbol is white space other than " ", which ARPA cannot hold.
        """
        write_arpa(path, self._ngrams())

    @classmethod
    def load_arpa(cls, path: str | os.PathLike, *, unit: str = "word") -> "NGramModel":
        """Read an ARPA file; one whose words are all upper case is lower-cased (`arpa.read_arpa`).

        Args:
            path: the file; one that ends in ".gz" is compressed.
            unit: "character" for a model of characters.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is cut short or broken; the message says where.
        """
        return cls(*read_arpa(path, unit=unit))

    def save(self, path: str | os.PathLike, *, bits: int = 16) -> None:
        """Write the model in this package's own compact form, about 2 bytes an n-gram at 8 bits.

        Args:
            path: where to.
            bits: of each log-probability and weight, 4 to 16: they are rounded to 2^bits levels.

        Raises:
            ValueError: bits is out of range.
        """
        if not 4 <= bits <= 16:
            raise ValueError(f"bits is {bits}; 4 to 16")
        contexts, words = np.divmod(self._keys[1:], len(self.words))
        children = np.bincount(contexts, minlength=len(self._keys))
        # From one word to the next after the same context is a small step, and so compresses well.
        steps = np.diff(words, prepend=0)
        begins = np.flatnonzero(np.diff(contexts, prepend=-1))
        steps[begins] = words[begins]
        finite = np.where(self._keys == START, 0, self._log_prob)  # <s> would stretch the range
        log_prob, log_prob_range = _to_levels(finite[1:], bits)
        backoff, backoff_range = _to_levels(self._backoff[children > 0], bits)
        info = {"format": _FORMAT, "unit": self.unit, "order": self.order, "words": self.words}
        info |= {"log_prob": log_prob_range, "backoff": backoff_range}
        text = json.dumps(info, separators=(",", ":")).encode()
        arrays = {"children": children, "steps": steps, "log_prob": log_prob, "backoff": backoff}
        with atomic_file(path) as part, open(part, "wb") as file:
            np.savez_compressed(
                file,
                info=np.frombuffer(text, np.uint8),
                **{name: _planes(array) for name, array in arrays.items()},
            )

    @classmethod
    def load(cls, path: str | os.PathLike = "books") -> "NGramModel":
        """Read what `save` wrote; made to sum to one again, which rounding had disturbed.

        Args:
            path: a file, or "books": the word trigrams of 13 million words of old books that come
                with this package (asrlib/lm/NOTICE).

        Returns:
            The model.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is something else, or broken.

        Example:
            >>> model = NGramModel.load("books")
            >>> model.log_prob("sea", ["the"]) > model.log_prob("see", ["the"])
            True
        """
        path = SHIPPED.get(os.fspath(path), path)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"no language model {path}; those with a name: {[*SHIPPED]}")
        try:
            with np.load(path, allow_pickle=False) as file:
                info = json.loads(file["info"].tobytes())
                if info["format"] != _FORMAT:
                    raise ValueError(f"format {info['format']}; this version reads {_FORMAT}")
                names = ("children", "steps", "log_prob", "backoff")
                children, steps, log_prob, codes = (_from_planes(file[name]) for name in names)
            contexts = np.repeat(np.arange(len(children)), children)
            sums = np.append(0, np.cumsum(steps))
            words = sums[1:] - sums[(np.cumsum(children) - children)[contexts]]
            backoff = np.zeros(len(children))
            backoff[children > 0] = _from_levels(codes, info["backoff"])
            log_prob = np.append(0, _from_levels(log_prob, info["log_prob"]))
            log_prob[1 + START] = NEVER
            keys = contexts * len(info["words"]) + words
            model = cls(info["words"], info["unit"], info["order"], keys, log_prob, backoff)
        except (ValueError, KeyError, IndexError, TypeError, OSError, EOFError, *_BROKEN) as error:
            raise ValueError(f"{path}: not a whole file of NGramModel.save ({error})") from error
        model._normalize()
        return model

    def prune(
        self, *, max_ngrams: int | None = None, threshold: float | None = None
    ) -> "NGramModel":
        """Leave out the n-grams that change the model least (Stolcke 1998).

        Args:
            max_ngrams: keep at most so many n-grams of all orders together; unigrams stay.
            threshold: leave out n-grams that cost less than this relative entropy, in nats.

        Returns:
            A smaller model, its back-off weights made new: probabilities still sum to one.

        Raises:
            ValueError: not exactly one limit is given, or it is too small.
        """
        if (max_ngrams is None) == (threshold is None):
            raise ValueError(f"give max_ngrams ({max_ngrams}) or threshold ({threshold}), not both")
        if threshold is None and max_ngrams < len(self.words):
            raise ValueError(f"max_ngrams {max_ngrams} is below the {len(self.words)} unigrams")
        loss = self._losses()
        loss[: self._first[2]] = np.inf
        if threshold is None:
            excess = len(loss) - 1 - max_ngrams  # so many of the least must go
            threshold = np.partition(loss, excess - 1)[excess - 1] if excess > 0 else -np.inf
        keep = loss > threshold
        keys = renumber(self._keys[1:], keep, len(self.words))
        log_prob = self._log_prob[keep]
        model = NGramModel(
            self.words, self.unit, self.order, keys, log_prob, np.zeros_like(log_prob)
        )
        model._fit_backoff()
        return model

    def _losses(self) -> np.ndarray:
        """Relative entropy that each n-gram, or any that needs it as context, is worth."""
        loss = np.full(len(self._keys), -np.inf)
        history = np.zeros(len(self._keys))  # log-probability of the words of an n-gram
        for k in range(1, self.order + 1):
            rows, contexts, _ = self._level(k)
            history[rows] = history[contexts] + self._log_prob[rows]
            if k == 1:
                history[1 + START] = self._log_prob[1 + END]  # a start for each end
        for k in range(self.order, 1, -1):
            rows, contexts, _ = self._level(k)
            log_p, log_q, seen, lower = self._sums(k)
            p, q = np.exp(log_p), np.exp(log_q)
            rest = np.maximum(1 - seen, 1e-12)[contexts]
            after = np.log((rest + p) / (np.maximum(1 - lower, 1e-12)[contexts] + q))
            change = p * (log_q + after - log_p) + rest * (after - self._backoff[contexts])
            loss[rows] = np.maximum(loss[rows], -np.exp(history[contexts]) * change)
            np.maximum.at(loss, contexts, loss[rows])
        return loss

    def _sums(self, k: int) -> tuple[np.ndarray, ...]:
        """For the n-grams of order k: p(w|h), p(w|h'); for all n-grams h, their sums over w."""
        rows, contexts, words = self._level(k)
        log_p = self._log_prob[rows].astype(np.float64)
        log_q, _ = self.score(self._suffix[contexts], words)
        seen = np.bincount(contexts, np.exp(log_p), minlength=len(self._keys))
        lower = np.bincount(contexts, np.exp(log_q), minlength=len(self._keys))
        return log_p, log_q, seen, lower

    def _fit_backoff(self) -> None:
        """Choose the back-off weights so that all probabilities sum to one."""
        for k in range(2, self.order + 1):  # from short to long: each needs the one before
            contexts = slice(self._first[k - 1], self._first[k])
            _, _, seen, lower = self._sums(k)
            rest, lower = np.maximum(1 - seen[contexts], 1e-12), 1 - lower[contexts]
            self._backoff[contexts] = np.log(rest / np.maximum(lower, 1e-12))

    def _normalize(self) -> None:
        """Divide probabilities and back-off weights so that all sum to one."""
        unigrams = slice(*self._first[1:3])
        self._log_prob[unigrams] -= np.log(np.exp(self._log_prob[unigrams]).sum(dtype=float))
        for k in range(2, self.order + 1):
            rows, contexts, _ = self._level(k)
            _, _, seen, lower = self._sums(k)
            excess = np.log(seen + np.exp(self._backoff) * (1 - lower))
            self._log_prob[rows] -= excess[contexts]
            above = slice(*self._first[k - 1 : k + 1])
            self._backoff[above] -= excess[above]


def _to_levels(values: np.ndarray, bits: int) -> tuple[np.ndarray, list[float]]:
    """Round to 2^bits equal steps between the least and the greatest; below -30 counts as -30."""
    values = np.maximum(values, -30).astype(float)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    return np.rint((values - low) * (2**bits - 1) / max(high - low, 1e-9)), [low, high, 2**bits - 1]


def _from_levels(levels: np.ndarray, scale: list[float]) -> np.ndarray:
    low, high, top = scale
    return low + levels * (high - low) / top


def _planes(values: np.ndarray) -> np.ndarray:
    """First bytes of all numbers, then second bytes: the rare high ones compress to nothing."""
    return values.astype("<u4").view(np.uint8).reshape(-1, 4).T


def _from_planes(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(planes.T).view("<u4").ravel().astype(np.int64)
