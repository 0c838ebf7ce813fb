"""Text on one side, whole numbers on the other: the alphabet and the tokenizer.

The alphabet has 29 symbols: 0 is the CTC blank, 1 the space, 2 the apostrophe, 3-28 are a-z.
Text is lower case everywhere in this package.
"""

import unicodedata
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

BLANK = 0
ALPHABET = " 'abcdefghijklmnopqrstuvwxyz"  # symbol i of this string has id i + 1; id 0 is the blank

# Signs that people type for an apostrophe, and signs that separate words.
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "`": "'", "\u00b4": "'"})
_SEPARATORS = str.maketrans(dict.fromkeys("-\u2010\u2011\u2012\u2013\u2014/_\t\n\r\u00a0", " "))


def normalize(text: str) -> str:
    """Bring free text closer to the alphabet: lower case, no accents, no punctuation.

    What this loses is part of the lesson: case, punctuation and accents are gone, and digits are
    kept, so that `Tokenizer.encode` refuses them by name (is "1984" a year or a number of sheep?).

    Args:
        text: any text.

    Returns:
        Lower-case text, words apart by single spaces.

    Example:
        >>> normalize("The caf\u00e9\u2019s door - open!")
        "the cafe's door open"
    """
    # Before and after: NFKD splits an acute accent off a space, and an apostrophe off other signs.
    decomposed = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    text = decomposed.translate(_APOSTROPHES).translate(_SEPARATORS).lower()
    kept = "".join(c for c in text if c.isalnum() or c.isspace() or c == "'")
    return " ".join(kept.split())


class Tokenizer:
    """Characters to ids and back.

    Example:
        >>> tokenizer = Tokenizer()
        >>> tokenizer.encode("a cat").tolist()
        [3, 1, 5, 3, 22]
        >>> tokenizer.decode([5, 3, 22])
        'cat'
        >>> tokenizer.collapse([0, 5, 5, 0, 3, 22, 22])
        'cat'
    """

    def __init__(self, alphabet: Sequence[str] = ALPHABET) -> None:
        """Make a tokenizer.

        Args:
            alphabet: the symbols in the order of their ids, which begin at 1. A list may hold
                longer pieces, for a subclass that cuts texts into them (notebook 03).

        Raises:
            ValueError: a symbol occurs twice.
        """
        if len(set(alphabet)) != len(alphabet):
            raise ValueError(f"alphabet {alphabet!r} holds a symbol twice")
        self.alphabet = alphabet
        self.vocab_size = len(alphabet) + 1
        self._symbols = ["", *alphabet]  # the blank becomes nothing
        self._ids = {character: i + 1 for i, character in enumerate(alphabet)}

    def encode(self, text: str) -> Int64[Tensor, " labels"]:
        """Turn text into ids.

        Args:
            text: lower-case text in the alphabet; the empty text is legal.

        Returns:
            ids in 1..vocab_size-1, one a character.

        Raises:
            ValueError: a character is not in the alphabet; the message says which and where.
        """
        for position, character in enumerate(text):
            if character not in self._ids:
                raise ValueError(
                    f"character {character!r} at position {position} of {text[:60]!r} is not in the"
                    f" alphabet {self.alphabet!r}; see asrlib.text.normalize"
                )
        return torch.tensor([self._ids[character] for character in text], dtype=torch.int64)

    def decode(self, ids: Iterable[int] | Tensor) -> str:
        """Turn ids into text; a blank becomes nothing, repeats stay.

        Args:
            ids: whole numbers in 0..vocab_size-1.

        Returns:
            The text, with nothing stripped.

        Raises:
            ValueError: an id is out of range.
        """
        ids = ids.tolist() if isinstance(ids, Tensor) else list(map(int, ids))
        for i in ids and (min(ids), max(ids)):
            if not 0 <= i < self.vocab_size:
                raise ValueError(f"id {i} is outside 0..{self.vocab_size - 1}")
        return "".join([self._symbols[i] for i in ids])

    def collapse(self, path_ids: Iterable[int] | Tensor) -> str:
        """Read a CTC path: merge repeats first, then drop blanks (Graves et al. 2006, section 3.1).

        Args:
            path_ids: one id a frame.

        Returns:
            The text that this path spells.

        Example:
            >>> Tokenizer().collapse([8, 7, 14, 0, 14, 17])   # the blank keeps the two l apart
            'fello'
        """
        path = [int(i) for i in path_ids]
        merged = [i for n, i in enumerate(path) if n == 0 or i != path[n - 1]]
        return self.decode(merged)
