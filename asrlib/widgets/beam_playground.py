"""Prefix beam search, frame by frame, on a page that needs no kernel."""

import warnings

import numpy as np
import torch
from torch import Tensor

from asrlib.decoding import beam_search, greedy_search
from asrlib.fusion import Fusion
from asrlib.language_model import NGramModel
from asrlib.text import BLANK, Tokenizer
from asrlib.widgets._card import card, escape, json_element

MAX_BEAM, MAX_ALPHA, MAX_FRAMES, MAX_SYMBOLS = 6, 2.0, 12, 10
MAX_STATES = 2000  # of a language model: each is a row of numbers in the page

# Six frames of somebody who says "a cat", over blank, space, a, c, k, t. Frames 4 and 5 are each
# rather a blank than an "a" (greedy: "a kt"), though an "a" in one of them has 68 in 100: a beam
# of 2 or more adds that up ("a kat"). Spelling is for the language model ("a cat").
EXAMPLE = (
    (0.050, 0.022, 0.880, 0.019, 0.017, 0.012),
    (0.160, 0.780, 0.027, 0.013, 0.011, 0.009),
    (0.040, 0.021, 0.019, 0.340, 0.553, 0.027),
    (0.510, 0.009, 0.430, 0.021, 0.018, 0.012),
    (0.500, 0.008, 0.440, 0.013, 0.011, 0.028),
    (0.080, 0.022, 0.012, 0.019, 0.017, 0.850),
)
# What the language model of the example has read; it knows English spelling from nowhere else.
LINES = (
    "a cat sat on a mat",
    "the cat ate the rat",
    "a man can catch a cat",
    "the king has a cap",
    "a kite can sail far away",
    "the car is at the station",
    "call the cat a good cat",
    "he can take that hat",
    "a kind act at last",
    "cats act like cats",
)
TRY = "Set the beam to 1, then to 3: why does the winner change?"
ANSWER = (
    "In frame 4, a␣k (0.200) is ahead of a␣ka (0.163), and a beam of 1 lets a␣ka go. In"
    " frame 5 its a may still come: both ways to a␣ka merge to 0.242, and a␣k keeps 0.100."
)
TRY_OTHER = "Step through the frames, then change the beam: does the winner change?"


class BeamPlayground:
    """Walk through a prefix beam search: which prefixes grow, meet and fall out of the beam?

    Sliders change the beam and the weight of a language model of characters; at weight 0 there is
    none. All that is shown equals `asrlib.decoding.beam_search`, computed in the page itself; where
    scripts are stripped, the probabilities, the greedy text and the beam's best text remain. The
    left and right arrows step, space plays, Home and End go to either end.

    Args:
        log_probs: natural log (frames, vocab), column 0 the blank; the example if not given. At
            most 12 frames of 10 symbols.
        alphabet: the symbols of columns 1, 2, ...; a space is among them.
        language_model: of characters; trigrams of the ten sentences `LINES` if not given.
        beam_size: 1 to 6, to begin with.
        alpha: weight of the language model, 0 to 2, to begin with.
        beta: added a character while alpha is above 0.
        title: one line above.

    Raises:
        ValueError: shape and alphabet disagree, a row is no distribution, something is too large
            or out of range, or the model is one of words.

    Example:
        >>> BeamPlayground()                                       # in a notebook: the page itself
        BeamPlayground(6 frames, greedy 'a kt', beam of 3 'a kat')
        >>> BeamPlayground(alpha=0.5)
        BeamPlayground(6 frames, greedy 'a kt', beam of 3 'a cat')
    """

    # log_probs is not typed by shape: a wrong one is a ValueError here, with a hint.
    def __init__(
        self,
        log_probs: np.ndarray | Tensor | None = None,
        alphabet: str = " ackt",
        *,
        language_model: NGramModel | None = None,
        beam_size: int = 3,
        alpha: float = 0.0,
        beta: float = 0.0,
        title: str = "Beam search, frame by frame",
    ) -> None:
        if not 1 <= beam_size <= MAX_BEAM:
            raise ValueError(f"beam_size={beam_size}; 1 to {MAX_BEAM}")
        if not 0 <= alpha <= MAX_ALPHA:
            raise ValueError(f"alpha={alpha}; 0 to {MAX_ALPHA:g}")
        if not np.isfinite(beta):
            raise ValueError(f"beta={beta}; it must be finite")
        if " " not in alphabet:
            raise ValueError(f"alphabet {alphabet!r} lacks the space, which Fusion asks for")
        if language_model is not None and language_model.unit != "character":
            raise ValueError("a model of words; this page needs one of characters (unit=...)")
        self.tokenizer = Tokenizer(alphabet)
        self.log_probs = _distributions(
            np.log(EXAMPLE) if log_probs is None else log_probs, self.tokenizer.vocab_size
        )
        self.language_model = language_model or _example_model()
        self.beam_size, self.alpha, self.beta, self.title = beam_size, alpha, beta, title
        self.try_this = TRY if log_probs is None else TRY_OTHER
        batch = torch.from_numpy(self.log_probs)[None], torch.tensor([len(self.log_probs)])
        self.greedy = greedy_search(*batch, self.tokenizer)[0]
        self.best = beam_search(
            *batch, beam_size, self._fusion(alpha, beta), tokenizer=self.tokenizer
        )[0][0]

    def _fusion(self, alpha: float, beta: float = 0.0) -> Fusion | None:
        """Return the language model as the search takes it: none at a weight of 0."""
        if alpha == 0:
            return None
        return Fusion(self.language_model, alpha, beta, tokenizer=self.tokenizer)

    def __repr__(self) -> str:
        frames, beam = len(self.log_probs), f"beam of {self.beam_size}"
        return (
            f"BeamPlayground({frames} frames, greedy {self.greedy.text!r},"
            f" {beam} {self.best.text!r})"
        )

    def _repr_html_(self) -> str:
        """Return one HTML fragment; without its script it is a table and two results."""
        data = {
            "alphabet": list(self.tokenizer.alphabet),
            "rows": [[_finite(x) for x in row] for row in self.log_probs.tolist()],
            "lm": _table(self._fusion(1.0), self.tokenizer.vocab_size),
            "lm_name": f"{self.language_model.order}\u2011gram model of characters",
            "greedy": {"text": self.greedy.text, "score": self.greedy.score},
            "beam": self.beam_size,
            "alpha": float(self.alpha),
            "beta": float(self.beta),
        }
        kind = f"beam of {self.beam_size}"
        kind += f" with language model, weight {self.alpha:g}" if self.alpha else ""
        answer = f"<details><summary>Answer</summary>{ANSWER}</details>\n"
        body = f"""<p class="asrlib-try">{escape(self.try_this)}</p>
{answer if self.try_this == TRY else ""}\
<p class="asrlib-about">Probability of each symbol in each frame; greedy search takes the bold\
 ones.</p>
<div class="asrlib-view">{self._probabilities()}</div>
<div class="asrlib-static"><p>Greedy search: <b>{_shown(self.greedy.text)}</b>\
 (log score {self.greedy.score:.2f})</p>
<p>Best text of a {kind}: <b>{_shown(self.best.text)}</b>\
 (log score {self.best.score:.2f})</p></div>
{json_element(data)}"""
        facts = f"{len(self.log_probs)} frames · {self.tokenizer.vocab_size} symbols"
        label = f"Beam playground {self.title[:80]}".strip()
        return card("beam_playground", body, title=self.title, facts=facts, label=label)

    def _probabilities(self) -> str:
        """Return the table of probabilities; data-level colors a cell, data-best is greedy's."""
        probabilities, best = np.exp(self.log_probs), self.log_probs.argmax(axis=1)
        names = ["blank", *("space" if c == " " else c for c in self.tokenizer.alphabet)]
        heads = "".join(f'<th scope="col">{t + 1}</th>' for t in range(len(best)))
        rows = ""
        for symbol, name in enumerate(names):
            cells = ""
            for frame, p in enumerate(probabilities[:, symbol]):
                greedy = ' data-best="yes"' if best[frame] == symbol else ""
                text = f"<b>{p:.2f}</b>" if greedy else f"{p:.2f}"
                cells += f'<td data-level="{min(4, int(p * 5))}"{greedy}>{text}</td>'
            kind = ' class="asrlib-blank"' if symbol == BLANK else ""
            rows += f'<tr{kind}><th scope="row">{escape(name)}</th>{cells}</tr>\n'
        return f"""<table class="asrlib-matrix">
<thead><tr><th scope="col">frame</th>{heads}</tr></thead>
<tbody>{rows}</tbody></table>"""


def _distributions(log_probs: np.ndarray | Tensor, symbols: int) -> np.ndarray:
    """Return log_probs as float64 (frames, symbols); log 0 is legal."""
    if isinstance(log_probs, Tensor):
        log_probs = log_probs.detach().cpu().double().numpy()
    array = np.array(log_probs, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != symbols:
        raise ValueError(
            f"log_probs {array.shape}; (frames, {symbols}): the blank and {symbols - 1} letters"
        )
    if not 1 <= len(array) <= MAX_FRAMES or symbols > MAX_SYMBOLS:
        raise ValueError(
            f"log_probs {array.shape}: 1 to {MAX_FRAMES} frames, up to {MAX_SYMBOLS} symbols"
        )
    sums = np.exp(array).sum(axis=1)
    bad = np.flatnonzero(~(np.abs(sums - 1) < 1e-3))  # so that NaN is bad, too
    if len(bad):
        raise ValueError(f"frame {bad[0]}: probabilities sum to {sums[bad[0]]:.4g}; log_softmax?")
    return array


def _example_model() -> NGramModel:
    with warnings.catch_warnings():  # ten sentences give no discounts, so 0.5 is taken
        warnings.filterwarnings("ignore", message="n-grams of order")
        return NGramModel.train(LINES, order=3, unit="character")


def _table(fusion: Fusion, symbols: int) -> dict[str, list]:
    """Ask the language model for all that the page can need.

    Args:
        fusion: with alpha 1 and beta 0, so that it returns plain log-probabilities.
        symbols: of the alphabet, with the blank.

    Returns:
        A row a state, 0 the start: "score" and "next" hold the log-probability of each symbol and
        the state after it, "end" is the log-probability of the end.

    Raises:
        ValueError: the model has too many states.
    """
    states = [tuple(fusion.start()[0].tolist())]
    numbers, table = {states[0]: 0}, {"score": [], "next": [], "end": []}
    letters = np.arange(1, symbols)
    for state in states:  # which grows on the way
        here = np.array([state])
        following = []
        for after in map(tuple, fusion.step(here.repeat(len(letters), axis=0), letters).tolist()):
            if after not in numbers:
                numbers[after] = len(states)
                states.append(after)
            following.append(numbers[after])
        table["score"].append(fusion.extensions(here)[0].tolist())
        table["next"].append([numbers[state], *following])
        table["end"].append(float(fusion.finish(here)[0]))
        if len(states) > MAX_STATES:
            raise ValueError(f"the model has over {MAX_STATES} states; take a lower order")
    return table


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None  # JSON has no infinity


def _shown(text: str) -> str:
    return escape(f"“{text}”") if text else "<i>empty</i>"
