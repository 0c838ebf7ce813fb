"""ARPA files: n-grams as text, base-10 logarithms, the form that most speech programs exchange.

Reading checks what the format promises, line by line: a file cut short would otherwise be a model
that quietly knows less.
"""

import gzip
import os
import re
import zlib
from array import array
from io import TextIOWrapper
from typing import NoReturn

import numpy as np

from asrlib.files import atomic_file
from asrlib.kneser_ney import NEVER, SPECIAL, NGrams

_LN10 = float(np.log(10))


def write_arpa(path: str | os.PathLike, ngrams: NGrams) -> None:
    """Write n-grams as an ARPA file.

    Args:
        path: where to; compressed if it ends in ".gz". The character " " becomes `<space>`.
        ngrams: what to write.

    Raises:
        ValueError: a symbol is another kind of white space, which ARPA cannot hold.

    Example:
        >>> import tempfile
        >>> from asrlib.kneser_ney import estimate
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_arpa(f"{folder}/model.arpa", estimate(["a b", "b"], order=2))
        ...     [line.rstrip() for line in open(f"{folder}/model.arpa")][1:3]
        ['ngram 1=5', 'ngram 2=4']
    """
    names = ["<space>" if word == " " else word for word in ngrams.words]
    for name in names:
        if name.split() != [name]:
            raise ValueError(f"{path}: an ARPA file cannot hold the symbol {name!r}")
    first = ngrams.first
    with atomic_file(path) as part, _open_text(part, "wt", path) as file:
        file.write("\\data\\\n")
        for k in range(1, ngrams.order + 1):
            file.write(f"ngram {k}={first[k + 1] - first[k]}\n")
        for k in range(1, ngrams.order + 1):
            file.write(f"\n\\{k}-grams:\n")
            rows = range(*first[k : k + 2])
            for at in range(0, len(rows), 1 << 16):  # a block at a time bounds the memory
                here = np.array(rows[at : at + (1 << 16)])
                log_probs = (ngrams.log_prob[here] / np.float64(_LN10)).tolist()
                weights = (ngrams.backoff[here] / np.float64(_LN10)).tolist()
                columns: list[list[str]] = []
                while here[0] > 0:  # from the last word to the first
                    here, words = np.divmod(ngrams.keys[here - 1], len(names))
                    columns.insert(0, [names[word] for word in words.tolist()])
                for log_prob, weight, *gram in zip(log_probs, weights, *columns):
                    tail = f"\t{weight:.7g}" if k < ngrams.order else ""
                    file.write(f"{log_prob:.7g}\t{' '.join(gram)}{tail}\n")
        file.write("\n\\end\\\n")


def read_arpa(path: str | os.PathLike, *, unit: str = "word") -> NGrams:
    """Read an ARPA file; one whose words are all upper case, as LibriSpeech's, is lower-cased.

    Args:
        path: the file; one that ends in ".gz" is compressed.
        unit: "character" for n-grams of characters.

    Returns:
        The n-grams, with the probabilities of the file; a `<unk>` it lacks has probability 0.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short or broken; the message says where.

    Example:
        >>> import tempfile
        >>> from asrlib.kneser_ney import estimate
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_arpa(f"{folder}/model.arpa", estimate(["A SEA", "A SKY"], order=2))
        ...     read_arpa(f"{folder}/model.arpa").words
        ['<unk>', '<s>', '</s>', 'a', 'sea', 'sky']
    """
    with _open_text(path, "rt", path) as file:
        rows = _Rows(path, file)
        sizes = rows.sizes()
        keys, log_probs, weights = np.array([-1]), [np.zeros(1)], [np.zeros(1)]
        for k, size in enumerate(sizes, 1):
            grams, log_prob, weight, numbers = rows.table(k, size, has_weight=k < len(sizes))
            if k == 1:
                words, ids = _vocabulary(list(rows.ids), unit)
                absent = np.setdiff1d(range(len(SPECIAL)), ids)
                grams = np.append(grams, len(ids) + np.arange(len(absent)))[:, None]
                ids = np.append(ids, absent)
                log_prob = np.append(log_prob, np.full(len(absent), NEVER))
                weight = np.append(weight, np.zeros(len(absent)))
            level, orphan = _keys(keys, ids[grams], len(words))
            ranks = np.argsort(level, kind="stable")
            again = ranks[1:][np.diff(level[ranks]) == 0]
            for found in (*np.flatnonzero(orphan)[:1], *again[:1]):
                expected = f"a {k}-gram whose first words are listed before, and itself is not"
                rows.fail(expected, "another", int(numbers[found]))
            keys = np.append(keys, level[ranks])
            log_probs.append(log_prob[ranks])
            weights.append(weight[ranks])
            if k < len(sizes):
                rows.expect(f"\\{k + 1}-grams:")
        rows.expect("\\end\\")
        while rows.next(None):
            pass  # to the end, where a compressed file has its checksum
    arrays = keys[1:], np.concatenate(log_probs), np.concatenate(weights)
    return NGrams(words, unit, len(sizes), *arrays)


class _Rows:
    """The rows of an ARPA file that are not blank, and the complaint when one is not as it must."""

    def __init__(self, path: str | os.PathLike, file: TextIOWrapper) -> None:
        self.path, self.file, self.number = path, file, 0
        self.ids: dict[str, int] = {}  # of the words, in the order of the file

    def next(self, expected: str | None) -> str:
        """The next row; None expects the end of the file."""
        try:
            for row in self.file:
                self.number += 1
                if row := row.strip():
                    return row
        except (EOFError, OSError, UnicodeDecodeError, zlib.error) as error:
            self.fail(expected or "its end", f"unreadable bytes ({error})", self.number + 1)
        if expected:
            self.fail(expected, "the end of the file", self.number + 1)
        return ""

    def expect(self, expected: str) -> None:
        """Read a row that must stand there to the letter."""
        if (row := self.next(expected)) != expected:
            self.fail(expected, repr(row))

    def fail(self, expected: str, found: str, number: int | None = None) -> NoReturn:
        where = f"{self.path}, line {number or self.number}"
        raise ValueError(f"{where}: expected {expected}, found {found[:80]}")

    def sizes(self) -> list[int]:
        """How many n-grams of each order the file promises; the next row is the first of those."""
        while self.next("\\data\\") != "\\data\\":
            pass  # the format allows remarks before it
        sizes: list[int] = []
        expected = "'ngram 1=COUNT'"
        while (row := self.next(expected)) != "\\1-grams:" or not sizes:
            match = re.fullmatch(rf"ngram\s+{len(sizes) + 1}\s*=\s*(\d+)", row)
            if not match:
                self.fail(expected, repr(row))
            sizes.append(int(match[1]))
            expected = f"'ngram {len(sizes) + 1}=COUNT' or \\1-grams:"
        return sizes

    def table(self, k: int, size: int, has_weight: bool) -> tuple[np.ndarray, ...]:
        """The n-grams of order k: word numbers (size, k), log-probs, weights, line numbers."""
        grams, numbers = array("i"), array("i")
        log_probs, weights = array("d"), array("d")
        for n in range(size):
            row = self.next(f"{k}-gram {n + 1} of {size}")
            fields = row.split()
            try:
                log_probs.append(float(fields[0]))
                weights.append(float(fields[k + 1]) if len(fields) == k + 2 else 0.0)
                if k == 1:
                    self.ids.setdefault(fields[1], len(self.ids))
                grams.extend([self.ids[word] for word in fields[1 : k + 1]])
                if not k + 1 <= len(fields) <= k + 1 + has_weight or not log_probs[-1] <= 0:
                    raise ValueError
                if not -1e9 < weights[-1] < 1e9:
                    raise ValueError
            except (ValueError, KeyError, IndexError):
                expected = f"{k}-gram {n + 1} of {size}: log10 probability, {k} of the words listed"
                self.fail(expected + ", log10 weight or none" * has_weight, repr(row))
            numbers.append(self.number)
        words = np.array(grams, np.int64).reshape(size, k)
        log_prob = np.maximum(np.array(log_probs) * _LN10, NEVER)
        return words, log_prob, np.array(weights) * _LN10, np.array(numbers)


def _vocabulary(names: list[str], unit: str) -> tuple[list[str], np.ndarray]:
    """Our vocabulary for the words of an ARPA file, and our ids of those."""
    names = [" " if unit == "character" and name == "<space>" else name for name in names]
    special = [name.lower() in SPECIAL for name in names]
    upper = all(name == name.upper() for name, is_special in zip(names, special) if not is_special)
    index = {word: i for i, word in enumerate(SPECIAL)}
    ids = [
        index.setdefault(name.lower() if upper or is_special else name, len(index))
        for name, is_special in zip(names, special)
    ]
    return list(index), np.array(ids, np.int64)


def _keys(keys: np.ndarray, grams: np.ndarray, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys of n-grams (n, k) of word ids, given those of lower order, and which have no context."""
    nodes, orphan = np.zeros(len(grams), np.int64), np.zeros(len(grams), bool)
    for column in grams[:, :-1].T:
        wanted = nodes * vocabulary + column
        nodes = keys.searchsorted(wanted)
        orphan |= keys.take(nodes, mode="clip") != wanted
    return nodes * vocabulary + grams[:, -1], orphan


def _open_text(path: str | os.PathLike, mode: str, name: str | os.PathLike) -> TextIOWrapper:
    """Open a text file, compressed if `name` says so; lines end in \\n only."""
    opener = gzip.open if os.fspath(name).endswith(".gz") else open
    return opener(path, mode, encoding="utf-8", newline="\n")
