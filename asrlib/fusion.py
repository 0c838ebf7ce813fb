"""How a language model takes part in the beam search: shallow fusion, with partial words scored.

A hypothesis is ranked by log P(letters | sound) + alpha * log P(words) + beta * words. A word model
knows a word's probability when its last letter is known, far too late for the beam: the word would
have been dropped. So every letter is charged in advance, along a trie of all words, with the best
word that can still follow; when the space comes, the advance is paid back and the word's true
probability, given the words before, is charged instead (Ortmanns and Ney 2000, "Look-ahead
techniques for fast beam search"). A character model needs none of this: it scores every letter.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from asrlib.language_model import NGramModel
from asrlib.text import BLANK, Tokenizer

ROOT, OUTSIDE = 0, -1  # states in the trie: between two words; in a word that it lacks
# An unknown word is spelled out of 26 letters, an apostrophe and its end, all equally probable.
LETTER = -np.log(28)


class Fusion:
    """A language model with its weights, ready to score extensions of many hypotheses at once.

    A hypothesis is a row of two integers here: the state of the language model (the words before)
    and a place in the trie (the letters of the word that has begun).

    Example:
        >>> model = NGramModel.train(["the cat sat", "the dog sat"])
        >>> fusion = Fusion(model, alpha=1.0, beta=0.0)
        >>> cat = model.log_prob("cat", ["<s>"]) + model.log_prob("</s>", ["<s>", "cat"])
        >>> round(fusion.score([5, 3, 22]) - cat, 5)             # c a t
        0.0
    """

    def __init__(
        self,
        language_model: NGramModel,
        alpha: float = 0.5,
        beta: float = 1.0,
        *,
        hot_words: Mapping[str, float] | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        """Prepare a model.

        Args:
            language_model: of words, or of characters.
            alpha: weight of its natural-log probabilities.
            beta: added a word (a character, with a character model), for every one costs.
            hot_words: words to listen for, known to the model or not, each with what is added to
                the score of a hypothesis for it (a natural log; 5 makes it 148 times as probable).
            tokenizer: whose symbols the search writes; characters if not given.

        Raises:
            ValueError: hot words with a character model, or one with a space or an unknown letter.
        """
        self.model, self.alpha, self.beta = language_model, float(alpha), float(beta)
        self.tokenizer = tokenizer or Tokenizer()
        self.space = int(self.tokenizer.encode(" ")[0])
        if language_model.unit == "character":
            if hot_words:
                raise ValueError("hot words need a word model; this one scores characters")
            letters = [self.tokenizer.decode([n]) for n in range(self.tokenizer.vocab_size)]
            unknown = language_model.unknown
            self.symbols = np.array([language_model.index.get(c, unknown) for c in letters])
            return
        words, hot = language_model.words, dict(hot_words or {})
        for word in hot:
            if not word or " " in word:
                raise ValueError(f"hot word {word!r}: one word, without spaces")
            self.tokenizer.encode(word)  # names the letter that it does not know
        index = language_model.index
        spare = tuple(sorted(word for word in hot if word not in index))
        self.children, self.depth, self.word, ends = _trie(
            language_model, spare, self.tokenizer.alphabet
        )
        self.bonus = np.zeros(len(self.depth))  # of the word that ends here
        for word, bonus in hot.items():
            self.bonus[ends[word]] = bonus
        # What a word costs whatever came before, and the cheapest word below each node. Children
        # have higher numbers than their parent, so one walk from the end settles all.
        empty = np.full(len(words), language_model.empty_state)
        unigram, _ = language_model.score(empty, np.arange(len(words)))
        spelled = np.where(self.word == language_model.unknown, (self.depth + 1) * LETTER, 0.0)
        cost = self.alpha * (unigram[self.word] + spelled) + self.bonus
        ends_here = np.zeros(len(self.depth), dtype=bool)
        ends_here[list(ends.values())] = True
        advance = np.where(ends_here, cost, -np.inf)
        parents, tokens = np.nonzero(self.children[:-1] > 0)
        below = self.children[parents, tokens]
        for depth in range(int(self.depth.max()), 0, -1):
            rows = self.depth[below] == depth
            np.maximum.at(advance, parents[rows], advance[below[rows]])
        advance[ROOT] = 0.0
        advance[OUTSIDE] = self.alpha * (unigram[language_model.unknown] + LETTER)
        self.advance = advance

    def start(self) -> np.ndarray:
        """The state of a hypothesis without letters: (1, 2)."""
        return np.array([[self.model.start_state, ROOT]])

    def extensions(self, states: np.ndarray) -> np.ndarray:
        """Score every symbol as the next one.

        Args:
            states: (hypotheses, 2).

        Returns:
            What each symbol adds to each hypothesis: (hypotheses, vocab).
        """
        if self.model.unit == "character":
            count, vocab = len(states), len(self.symbols)
            repeated = np.repeat(states[:, 0], vocab), np.tile(self.symbols, count)
            scores = self.alpha * self.model.score(*repeated)[0].reshape(count, vocab) + self.beta
        else:
            place = states[:, 1]
            child = self.children[place]  # (hypotheses, vocab)
            scores = self.advance[child] - self.advance[place][:, None]
            leaving = (child == OUTSIDE) & (place != OUTSIDE)[:, None]  # pays for all its letters
            letters = np.where(leaving, self.depth[place][:, None] + 1, child == OUTSIDE)
            scores += self.alpha * LETTER * letters
            scores[:, self.space] = self._close(states)[0]
        scores[:, BLANK] = 0.0
        return scores

    def step(self, states: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Extend every hypothesis by one symbol.

        Args:
            states: (hypotheses, 2).
            tokens: one symbol each, no blanks.

        Returns:
            The states after it: (hypotheses, 2).
        """
        if self.model.unit == "character":
            _, after = self.model.score(states[:, 0], self.symbols[tokens])
            return np.stack([after, states[:, 1]], axis=1)
        place = self.children[states[:, 1], tokens]
        after = states[:, 0].copy()
        closing = np.flatnonzero(tokens == self.space)
        if len(closing):
            after[closing] = self._close(states[closing])[1]
            place[closing] = ROOT
        return np.stack([after, place], axis=1)

    def finish(self, states: np.ndarray) -> np.ndarray:
        """Score the end of the utterance: the last word is complete, and nothing follows.

        Args:
            states: (hypotheses, 2).

        Returns:
            What it adds to each hypothesis.
        """
        scores, after = np.zeros(len(states)), states[:, 0]
        if self.model.unit == "word":
            scores, after = self._close(states)
        return scores + self.alpha * self.model.score(after, np.full(len(after), self.model.end))[0]

    def score(self, tokens: list[int]) -> float:
        """Score one whole text: alpha * log P(text) + beta a word, and its hot words.

        Args:
            tokens: ids without blanks.

        Returns:
            What the search adds to the text's CTC score.
        """
        states, total = self.start(), 0.0
        for token in tokens:
            total += float(self.extensions(states)[0, token])
            states = self.step(states, np.array([token]))
        return total + float(self.finish(states)[0])

    def _close(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """End the word that has begun: what that adds, and the language model's new states.

        Between two words there is nothing to end: a second space adds nothing.
        """
        before, place = states[:, 0], states[:, 1]
        word = self.word[place]
        scores, after = self.model.score(before, word)
        letters = np.where(word == self.model.unknown, self.depth[place] + 1, 0)
        scores = self.alpha * (scores + LETTER * letters) + self.beta + self.bonus[place]
        between = place == ROOT
        return np.where(between, 0.0, scores - self.advance[place]), np.where(
            between, before, after
        )


@lru_cache(maxsize=4)
def _trie(
    language_model: NGramModel, spare: tuple[str, ...], alphabet: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, int]]:
    """Arrange words by their letters.

    Returns:
        For each node: the node after each symbol (nodes, vocab); its depth; the word that ends in
        it, or the unknown word. Then the node of each word. The last node stands for all words
        outside of the trie; its depth is 0, for their letters are charged one by one.
    """
    tokenizer = Tokenizer(alphabet)
    vocab = tokenizer.vocab_size
    table: list[list[int]] = [[OUTSIDE] * vocab]
    depth, word_at, ends = [0], [language_model.unknown], {}
    for word in (*language_model.words, *spare):
        try:
            tokens = tokenizer.encode(word).tolist()
        except ValueError:  # <s>, </s>, <unk>, or letters that the recognizer cannot write
            continue
        node = ROOT
        for token in tokens:
            if table[node][token] == OUTSIDE:
                table[node][token] = len(table)
                table.append([OUTSIDE] * vocab)
                depth.append(depth[node] + 1)
                word_at.append(language_model.unknown)
            node = table[node][token]
        word_at[node] = language_model.index.get(word, language_model.unknown)
        ends[word] = node
    table.append([OUTSIDE] * vocab)
    return (
        np.array(table, dtype=np.int32),
        np.array([*depth, 0]),
        np.array([*word_at, language_model.unknown]),
        ends,
    )
