"""The beam playground's HTML, without a browser: what it refuses, and that text stays text."""

import math

import numpy as np
import pytest
import torch

from asrlib.language_model import NGramModel
from asrlib.widgets import BeamPlayground
from tests.test_widgets import HOSTILE, Tree

HALF = np.log([[0.5, 0.25, 0.25]])


def word_model():
    with pytest.warns(UserWarning, match="discounts"):
        return NGramModel.train(["a cat", "a dog"])


@pytest.mark.parametrize(
    ("log_probs", "alphabet", "options", "message"),
    [
        (HALF, " ab", {}, r"log_probs \(1, 3\); \(frames, 4\): the blank and 3 letters"),
        (HALF[0], " a", {}, r"log_probs \(3,\)"),
        (np.zeros((0, 3)), " a", {}, r"log_probs \(0, 3\): 1 to 12 frames"),
        (np.repeat(HALF, 13, axis=0), " a", {}, r"log_probs \(13, 3\): 1 to 12 frames"),
        (torch.zeros(1, 11), " abcdefghi", {}, r"\(1, 11\): .* up to 10 symbols"),
        (np.exp(HALF), " a", {}, r"frame 0: probabilities sum to .*log_softmax"),
        (np.array([[np.nan, 0, 0]]), " a", {}, "frame 0: probabilities sum to nan"),
        (np.full((1, 3), -np.inf), " a", {}, "frame 0: probabilities sum to 0"),
        (HALF, "ab", {}, "alphabet 'ab' lacks the space"),
        (HALF, "  ", {}, "holds a symbol twice"),
        (HALF, " a", {"beam_size": 0}, "beam_size=0; 1 to 6"),
        (HALF, " a", {"beam_size": 7}, "beam_size=7; 1 to 6"),
        (HALF, " a", {"alpha": -0.1}, "alpha=-0.1; 0 to 2"),
        (HALF, " a", {"alpha": math.nan}, "alpha=nan; 0 to 2"),
        (HALF, " a", {"beta": math.inf}, "beta=inf"),
        (HALF, " a", {"language_model": word_model}, "a model of words"),
    ],
)
def test_bad_input_is_named(log_probs, alphabet, options, message, unchecked_types):
    options = {name: value() if callable(value) else value for name, value in options.items()}
    with pytest.raises(ValueError, match=message):
        BeamPlayground(log_probs, alphabet, **options)


@pytest.mark.filterwarnings("ignore:n-grams of order")
def test_a_language_model_too_large_for_a_page_is_named():
    letters = np.random.default_rng(0).choice(list(" abcdefgh"), size=(300, 60))
    model = NGramModel.train(["".join(row) for row in letters], order=5, unit="character")
    playground = BeamPlayground(np.full((1, 10), np.log(0.1)), " abcdefgh", language_model=model)
    with pytest.raises(ValueError, match="over 2000 states; take a lower order"):
        playground._repr_html_()


@pytest.mark.parametrize("words", HOSTILE)
def test_text_stays_text(words):
    plain = Tree(BeamPlayground(HALF, " a", title="plain")._repr_html_())
    tree = Tree(BeamPlayground(HALF, " a", title=words)._repr_html_())
    assert [tag for tag, _ in tree.elements] == [tag for tag, _ in plain.elements]
    assert tree.text["div", "asrlib-title"] == words


def test_letters_that_spell_a_tag_stay_text():
    path = np.log(0.9 * np.eye(5)[[2, 3, 4]] + 0.02)
    playground = BeamPlayground(path, " <b>")
    assert playground.greedy.text == playground.best.text == "<b>"
    tree = Tree(playground._repr_html_())
    words = [text for (tag, _), text in tree.text.items() if tag == "b"]
    assert "“<b>”" in "".join(words) and len(tree.all("b")) == 3 + 2  # greedy's cells, two results


def test_the_same_playground_gives_the_same_html_and_it_is_small():
    first, second = (BeamPlayground()._repr_html_() for _ in range(2))
    assert first == second
    assert len(first.encode()) < 60_000
