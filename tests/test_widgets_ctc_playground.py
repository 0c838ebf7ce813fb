"""The CTC playground without a browser: what remains without scripts, and what it refuses."""

import numpy as np
import pytest
import torch

from asrlib.ctc import ctc_loss
from asrlib.widgets import CTCPlayground
from tests.test_widgets import Tree


def log_probs(frames=4, symbols=4):
    return torch.randn(frames, symbols).log_softmax(dim=1)


def test_the_plain_table_holds_the_numbers():
    given = log_probs(5)
    playground = CTCPlayground("cab", log_probs=given)
    markup = playground._repr_html_()
    tree = Tree(markup)
    cells = tree.text["td", ""]
    assert cells == "".join(
        name + "".join(f"{p:.2f}" for p in row)
        for name, row in zip(["– (blank)", *"abc"], given.exp().T.tolist())
    )
    lengths = torch.tensor([5]), torch.tensor([3])
    loss = float(ctc_loss(given.double()[:, None], torch.tensor([[3, 1, 2]]), *lengths))
    assert f"P(cab) = {np.exp(-loss):.3g}" in markup and f"is {loss:.4g}." in markup
    assert all("id" not in attributes for _, attributes in tree.elements)  # any number per page


@pytest.mark.parametrize("text", ["<&'", "", "&&&<"])
def test_letters_stay_text(text):
    markup = CTCPlayground(text, alphabet="<&'")._repr_html_()
    plain = CTCPlayground("abc"[: len(text)])._repr_html_()
    assert [tag for tag, _ in Tree(markup).elements] == [tag for tag, _ in Tree(plain).elements]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_a_network_says_is_taken_in_any_precision(dtype):
    given = log_probs(12).to(dtype).requires_grad_()
    shown = CTCPlayground("ab", log_probs=given).probabilities
    assert shown.dtype == np.float64 and shown.shape == (12, 4)
    np.testing.assert_allclose(shown.sum(axis=1), 1, atol=1e-15)
    np.testing.assert_allclose(shown, given.detach().double().exp(), rtol=0.01)
    assert CTCPlayground(log_probs=np.log(np.eye(4)[[1, 0, 1]] + 1e-30)).text == "aab"


def test_by_default_the_network_is_fairly_sure_of_the_text():
    for text in ("aab", "", "cab", "aabbcc"):
        best = CTCPlayground(text, 9).probabilities.argmax(axis=1).tolist()
        heard = [symbol for symbol, before in zip(best, [0, *best]) if symbol and symbol != before]
        assert "".join("abc"[symbol - 1] for symbol in heard) == text
    assert len(CTCPlayground("aabbcc", 3).probabilities) == 3  # too few is a thing to see


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "abd"}, "text='abd': 'd' is not in the alphabet 'abc'"),
        ({"text": "–"}, "text='–'"),
        ({"text": "abcabca"}, "text='abcabca' has 7 letters; use at most 6"),
        ({"frames": 2}, "frames=2; use 3 to 12"),
        ({"frames": 13}, "frames=13; use 3 to 12"),
        ({"frames": 4.5}, "frames=4.5; use 3 to 12"),
        ({"text": "", "alphabet": "a"}, "alphabet='a'; use 2 to 5 different visible characters"),
        ({"alphabet": "abcdef"}, "alphabet='abcdef'"),
        ({"alphabet": "aba"}, "alphabet='aba'"),
        ({"alphabet": "ab "}, "alphabet='ab '"),
        ({"alphabet": "ab–"}, "alphabet='ab–'"),
        ({"alphabet": "ab\u202e"}, r"alphabet='ab\\u202e'"),
        ({"alphabet": "ab\ud800"}, r"alphabet='ab\\ud800'"),
        ({"log_probs": log_probs(4, 3)}, r"log_probs: shape \(4, 3\); use \(frames, 4\)"),
        ({"log_probs": log_probs()[0]}, r"log_probs: shape \(4,\)"),
        ({"log_probs": log_probs(2)}, "frames=2; use 3 to 12"),
        ({"log_probs": torch.zeros(0, 4)}, "frames=0; use 3 to 12"),
        ({"log_probs": log_probs(4), "frames": 5}, "frames=5, but log_probs has 4"),
        ({"log_probs": torch.zeros(4, 4)}, "the probabilities of frame 0 sum to 4; use"),
        ({"log_probs": torch.full((4, 4), torch.nan)}, "frame 0 sum to nan"),
    ],
)
def test_bad_input_is_named(arguments, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        CTCPlayground(**arguments)
