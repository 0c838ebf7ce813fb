"""Corpora, and what every n-gram model must satisfy, for the tests of the modules around it."""

import numpy as np
from hypothesis import strategies as st

TEXT = ["the cat sat", "the cat ran", "the dog ran away", "a dog sat", "the cat sat on the dog"]
words = st.sampled_from(["a", "b", "c", "dog", "e'e"])
sentences = st.lists(words, min_size=1, max_size=6).map(" ".join)
corpora = st.lists(sentences, min_size=1, max_size=8)
orders = st.integers(1, 4)
units = st.sampled_from(["word", "character"])


def splitter(unit):
    return str.split if unit == "word" else list


def every_state(model):
    """The states that histories of up to order - 1 words lead to, and some words on top."""
    states = {model.empty_state, model.start_state}
    for _ in range(model.order):
        here = np.repeat(sorted(states), len(model.words))
        following = np.tile(np.arange(len(model.words)), len(states))
        states |= set(model.score(here, following)[1].tolist())
    return np.array(sorted(states))


def sums(model):
    """The sum over the vocabulary after every state; <s> is never predicted."""
    states, n = every_state(model), len(model.words)
    log_probs, _ = model.score(np.repeat(states, n), np.tile(np.arange(n), len(states)))
    return np.exp(log_probs).reshape(len(states), n).sum(axis=1)


def sizes(model):
    return np.diff(model._first)[1:].tolist()


def long_text(lines=300, seed=0):
    """Sentences of made-up words whose frequencies fall as in a language."""
    dice = np.random.default_rng(seed)
    ranks = np.minimum(dice.zipf(1.4, size=(lines, 12)), 200)
    return [" ".join(f"w{rank}" for rank in row[: dice.integers(1, 13)]) for row in ranks]


def assert_same(model, other, atol):
    assert (other.words, other.order, other.unit) == (model.words, model.order, model.unit)
    states, n = every_state(model), len(model.words)
    np.testing.assert_array_equal(every_state(other), states)
    states, ids = np.repeat(states, n), np.tile(np.arange(n), len(states))
    ours, theirs = model.score(states, ids), other.score(states, ids)
    np.testing.assert_array_equal(theirs[1], ours[1])
    np.testing.assert_allclose(theirs[0], ours[0], atol=atol, rtol=1e-6)
    np.testing.assert_allclose(sums(other), 1, atol=1e-5)
