"""The language model's share in the search, by an oracle that counts by words."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asrlib.decoding import beam_search
from asrlib.fusion import Fusion
from asrlib.language_model import NGramModel
from asrlib.text import Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:order")  # tiny texts have no discounts

LINES = ["the cat sat", "the dog sat on the cat", "a cat", "dogs sat"]
texts = st.text("acdt osn", max_size=14)


def by_words(model, text, alpha, beta, hot_words):
    """Score a text word by word, without any trie: alpha log P + beta a word + hot words."""
    history, total = ["<s>"], 0.0
    for word in text.split():
        total += alpha * model.log_prob(word, history) + beta + hot_words.get(word, 0.0)
        if word not in model.index:
            total += alpha * (len(word) + 1) * -math.log(28)
        history.append(word)
    return total + alpha * model.log_prob("</s>", history)


@given(texts, st.floats(0, 2), st.floats(-2, 2), st.integers(1, 3))
def test_advances_cancel_so_that_a_text_costs_what_its_words_cost(text, alpha, beta, order):
    model = NGramModel.train(LINES, order=order)
    hot = {"cat": 2.5, "cod": 4.0, "sat": -1.0}
    fusion = Fusion(model, alpha, beta, hot_words=hot)
    found = fusion.score(Tokenizer().encode(text).tolist())
    assert found == pytest.approx(by_words(model, text, alpha, beta, hot), abs=1e-4)


@given(texts, st.integers(1, 4))
def test_a_character_model_scores_every_character(text, order):
    model = NGramModel.train(LINES, order=order, unit="character")
    fusion = Fusion(model, 0.7, 0.3)
    history, expected = ["<s>"], 0.0
    for character in text:
        expected += 0.7 * model.log_prob(character, history) + 0.3
        history.append(character)
    expected += 0.7 * model.log_prob("</s>", history)
    assert fusion.score(Tokenizer().encode(text).tolist()) == pytest.approx(expected, abs=1e-4)


def test_many_hypotheses_at_once_are_scored_as_one_by_one():
    fusion = Fusion(NGramModel.train(LINES), 0.6, 0.2, hot_words={"cod": 3.0})
    states = fusion.start()
    for token in Tokenizer().encode("the ca").tolist():
        states = np.concatenate([fusion.start(), fusion.step(states, np.full(len(states), token))])
    scores = fusion.extensions(states)
    for n in range(len(states)):
        np.testing.assert_allclose(fusion.extensions(states[n : n + 1])[0], scores[n])


def test_a_letter_that_leads_to_words_costs_less_than_one_that_leads_nowhere():
    fusion = Fusion(NGramModel.train(LINES), alpha=1.0, beta=0.0)
    first = fusion.extensions(fusion.start())[0]
    c, x, t = Tokenizer().encode("cxt").tolist()
    assert first[t] > first[x] and first[c] > first[x]
    assert first[0] == 0.0  # a blank says nothing


def test_spaces_between_two_words_add_nothing():
    fusion = Fusion(NGramModel.train(LINES), 0.6, 0.2)
    once, twice, around = (
        fusion.score(Tokenizer().encode(text).tolist()) for text in ("a cat", "a  cat", " a cat  ")
    )
    assert once == pytest.approx(twice) == pytest.approx(around)


@pytest.mark.parametrize("word", ["cat", "cod"])
def test_a_hot_word_is_heard_where_it_was_not(word):
    """Between two words that sound alike, the bonus decides; "cod" is not even in the model."""
    other = {"cat": "cot", "cod": "cot"}[word]
    logits = torch.full((7, 29), -6.0)
    for n, letters in enumerate(zip(word, other)):
        logits[2 * n + 1, Tokenizer().encode("".join(letters))] = torch.tensor([3.0, 3.3])
    logits[0::2, 0] = 3.0
    log_probs, lengths = logits.log_softmax(-1)[None], torch.tensor([7])
    model = NGramModel.train(["a cot", "the cot", "cot"])
    assert beam_search(log_probs, lengths, 16, model, 0.3, 0.0)[0][0].text == "cot"
    heard = beam_search(log_probs, lengths, 16, model, 0.3, 0.0, hot_words={word: 12.0})
    assert heard[0][0].text == word


@pytest.mark.parametrize(
    ("hot", "message"),
    [({"two words": 1.0}, "one word"), ({"": 1.0}, "one word"), ({"caf\u00e9": 1.0}, "position 3")],
)
def test_bad_hot_words_are_named(hot, message):
    with pytest.raises(ValueError, match=message):
        Fusion(NGramModel.train(LINES), hot_words=hot)


def test_hot_words_need_a_word_model():
    with pytest.raises(ValueError, match="hot words need a word model"):
        Fusion(NGramModel.train(LINES, unit="character"), hot_words={"cat": 1.0})
