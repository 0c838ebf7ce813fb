"""Connectionist temporal classification to play with: probabilities to drag, paths that collapse.

The page computes for itself; that its numbers are those of asrlib.ctc is tested in a browser.
"""

import numpy as np
import torch
from torch import Tensor

from asrlib.ctc import ctc_loss, required_frames
from asrlib.widgets._card import card, escape, json_element

BLANK_MARK = "\u2013"  # an en dash: shown for the blank, never typed
FEWEST_FRAMES, MOST_FRAMES = 3, 12
MOST_LETTERS = 6
FEWEST_SYMBOLS, MOST_SYMBOLS = 2, 5  # letters, without the blank


class CTCPlayground:
    """Type a text, drag what the network says, and watch alpha flow through the trellis.

    It shows the probability of the text and its loss, every node of the forward pass with where its
    value came from, and the best paths as they collapse. Four scenes ask for a guess and show what
    comes of it. It needs no kernel; where scripts are stripped, the probabilities remain as a table
    with the loss below it.

    Args:
        text: the target, at most 6 letters of the alphabet; may be empty.
        frames: how many frames to begin with, 3 to 12; None: as many as `log_probs` has, else 6.
        alphabet: 2 to 5 different letters; letter i of it is symbol i + 1, symbol 0 is the blank.
        log_probs: float (frames, len(alphabet) + 1), natural log of what a network says, -inf
            allowed; None: a network that is fairly sure of the text.

    Raises:
        ValueError: one is outside these limits, or a frame of `log_probs` does not sum to 1.

    Example:
        >>> playground = CTCPlayground("aab", frames=6)
        >>> playground  # in a notebook: the playground itself
        CTCPlayground('aab', frames=6, alphabet='abc')
        >>> "P(aab) = 0.433" in playground._repr_html_()  # what remains without scripts
        True
    """

    # The array is not typed by shape: a wrong one is a ValueError here, with a hint.
    def __init__(
        self,
        text: str = "aab",
        frames: int | None = None,
        *,
        alphabet: str = "abc",
        log_probs: np.ndarray | Tensor | None = None,
    ) -> None:
        _check_letters(text, alphabet)
        self.text, self.alphabet = text, alphabet
        given = None if log_probs is None else _probabilities(log_probs, len(alphabet) + 1)
        if given is not None and frames is None:
            frames = len(given)
        frames = 6 if frames is None else frames
        if frames != int(frames) or not FEWEST_FRAMES <= frames <= MOST_FRAMES:
            raise ValueError(f"frames={frames}; use {FEWEST_FRAMES} to {MOST_FRAMES}")
        if given is not None and frames != len(given):
            raise ValueError(f"frames={frames}, but log_probs has {len(given)}; leave frames out")
        if given is None:
            given = _peaky(_spikes(text, int(frames)), alphabet)
        self.probabilities = given  # (frames, symbols), float64

    def __repr__(self) -> str:
        frames = len(self.probabilities)
        return f"CTCPlayground({self.text!r}, frames={frames}, alphabet={self.alphabet!r})"

    def _repr_html_(self) -> str:
        """Return one HTML fragment; its script replaces the table by the playground."""
        data = {
            "alphabet": list(self.alphabet),
            "blank": BLANK_MARK,
            "try": self._advice(),
            "text": self.text,
            "columns": self.probabilities.tolist(),
            "frames": [FEWEST_FRAMES, MOST_FRAMES],
            "letters": MOST_LETTERS,
            "scenes": _scenes(self.alphabet),
        }
        body = f"""<div class="asrlib-static">{self._table()}
<p>{escape(self._sentence())}</p></div>
{json_element(data)}"""
        facts = f"{BLANK_MARK} is the blank"
        return card("ctc_playground", body, title="CTC playground", facts=facts)

    def _advice(self) -> str:
        repeats = [x for x, y in zip(self.text, self.text[1:], strict=False) if x == y]
        blank = f"the blank between the two {repeats[0]}" if repeats else "one of the blanks"
        return (
            f"guess what happens to P({self.text or 'no letter'}) when {blank} goes away; then drag"
            " its number down to 0 and look. Or answer a question:"
        )

    def _table(self) -> str:
        """The probabilities, for readers whose viewer strips scripts."""
        rows = [["", *(f"frame {t + 1}" for t in range(len(self.probabilities)))]]
        names = [f"{BLANK_MARK} (blank)", *self.alphabet]
        for name, values in zip(names, self.probabilities.T, strict=True):
            rows.append([name, *(f"{value:.2f}" for value in values)])
        lines = (
            "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
            for tag, row in zip(["th"] + ["td"] * len(names), rows, strict=True)
        )
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"

    def _sentence(self) -> str:
        labels = torch.tensor([_ids(self.text, self.alphabet)], dtype=torch.long)
        log_probs = torch.from_numpy(self.probabilities).log()[:, None]  # (frames, 1, symbols)
        lengths = torch.tensor([len(log_probs)]), torch.tensor([labels.shape[1]])
        loss = float(ctc_loss(log_probs, labels, *lengths))
        return (
            f"With these probabilities P({self.text or 'no letter'}) = {np.exp(-loss):.3g}, and the"
            f" loss, its negative natural logarithm, is {loss:.4g}. The text needs at least"
            f" {required_frames(labels[0])} frames. Where scripts run, this table becomes a"
            " playground: run the cell in Jupyter or Colab."
        )


def _check_letters(text: str, alphabet: str) -> None:
    legal = all(c.isprintable() and not c.isspace() and c != BLANK_MARK for c in alphabet)
    few_or_many = not FEWEST_SYMBOLS <= len(alphabet) <= MOST_SYMBOLS
    if not legal or few_or_many or len(set(alphabet)) < len(alphabet):
        raise ValueError(
            f"alphabet={alphabet!r}; use {FEWEST_SYMBOLS} to {MOST_SYMBOLS} different visible"
            f" characters other than {BLANK_MARK!r}, the blank"
        )
    if strange := sorted(set(text) - set(alphabet)):
        raise ValueError(f"text={text!r}: {strange[0]!r} is not in the alphabet {alphabet!r}")
    if len(text) > MOST_LETTERS:
        raise ValueError(f"text={text!r} has {len(text)} letters; use at most {MOST_LETTERS}")


def _probabilities(log_probs: np.ndarray | Tensor, symbols: int) -> np.ndarray:
    """Return float64 (frames, symbols); every frame sums to 1 exactly."""
    values = torch.as_tensor(log_probs).detach().cpu()
    if values.dim() != 2 or values.shape[1] != symbols:
        raise ValueError(
            f"log_probs: shape {tuple(values.shape)}; use (frames, {symbols}): the blank, then"
            f" {symbols - 1} letters"
        )
    probabilities = values.double().exp().numpy()
    sums = probabilities.sum(axis=1)
    if wrong := np.flatnonzero(~(np.abs(sums - 1) < 1e-2)).tolist():  # bfloat16 is 0.4 % off; NaN
        raise ValueError(
            f"log_probs: the probabilities of frame {wrong[0]} sum to {sums[wrong[0]]:.4g}; use"
            " the output of log_softmax"
        )
    return probabilities / sums[:, None]


def _ids(text: str, alphabet: str) -> list[int]:
    return [(BLANK_MARK + alphabet).index(letter) for letter in text]


def _spikes(text: str, frames: int) -> str:
    """Spell a text the way a trained network does: every letter once, blanks around it."""
    path = "".join(
        BLANK_MARK + letter if letter == before else letter
        for before, letter in zip(" " + text, text, strict=False)
    )[:frames]
    front = (frames - len(path)) // 2
    return (BLANK_MARK * front + path).ljust(frames, BLANK_MARK)


def _peaky(path: str, alphabet: str) -> np.ndarray:
    """Return probabilities (frames, symbols) of a network that is fairly sure of a path.

    A little leaks in from the frames beside, as in a real network, and a little goes to everything.
    """
    here = np.eye(len(alphabet) + 1)[_ids(path, alphabet)]
    beside = np.concatenate([here[:1], here[:-1]]) + np.concatenate([here[1:], here[-1:]])
    return 0.8 * here + 0.08 * beside + 0.04 / here.shape[1]


def _scenes(alphabet: str) -> list[dict]:
    """What to guess: a state, a question, and for each answer the state that shows who is right."""
    x, y = alphabet[:2]
    blank, symbols = BLANK_MARK, len(alphabet) + 1

    def state(text: str, path: str) -> dict:
        return {"text": text, "columns": _peaky(path, alphabet).tolist()}

    def answer(name: str, state: dict, right: bool = False) -> dict:
        return {"name": name, "right": right, **state}

    heard = state(x + x + y, f"{blank}{x}{x}{x}{y}{blank}")
    even = np.full((6, symbols), 1 / symbols).tolist()
    swapped = {"text": x + y + x, "columns": even}
    surest = {"text": x + x + y, "columns": np.eye(symbols)[[1, 1, 2]].tolist()}
    return [
        {
            "name": "Peaky",
            **state(x + x + y, f"{blank}{x}{blank}{x}{y}{blank}"),
            "question": f"Frame 3 holds the blank between the two {x}. If the network hears {x}"
            f" there instead, what becomes of P({x}{x}{y})?",
            "answers": [
                answer("it rises", heard),
                answer("hardly a change", heard),
                answer("less than a third is left", heard, right=True),
            ],
            "why": f"Equal neighbors merge: the best path {blank} {x} {x} {x} {y} {blank} now"
            f" spells {x}{y}. Only a blank keeps two {x} apart.",
        },
        {
            "name": "Flat",
            "text": x + x + y,
            "columns": even,
            "question": "Every symbol is as probable as any other, in every frame. Same letters,"
            f" other order: is {x}{y}{x} more or less probable than {x}{x}{y}?",
            "answers": [
                answer("more", swapped, right=True),
                answer("the same", swapped),
                answer("less", swapped),
            ],
            "why": f"All paths weigh the same here, so P counts them. {x}{x}{y} has to spend a"
            f" frame on the blank between its two {x}, which leaves fewer ways.",
        },
        {
            "name": "No blank between repeats",
            **state(x + x, x * 4),
            "question": f"The network hears {x} in all four frames; they merge to one {x}. In which"
            f" frame would a blank make {x}{x} probable?",
            "answers": [
                answer("frame 1", state(x + x, blank + x * 3)),
                answer("frame 2", state(x + x, x + blank + x * 2), right=True),
                answer("frame 4", state(x + x, x * 3 + blank)),
            ],
            "why": "The blank has to stand between the two: frame 2 or 3. In the trellis no arrow"
            " skips the blank between two equal letters.",
        },
        {
            "name": "Too few frames",
            **state(x + x + y, x + x + y),
            "question": "P is 0 and the loss infinite. Training goes on until the network is sure"
            f" of {x}, {x} and {y}: what becomes of the loss?",
            "answers": [
                answer("it falls", surest),
                answer("it stays infinite", surest, right=True),
            ],
            "why": "Without a path of 3 frames there is nothing to learn from. Press + for a fourth"
            f" frame: the only path is then {x} {blank} {x} {y}. Drag up {blank} in frame 2, then"
            f" {x} in frame 3.",
        },
    ]
