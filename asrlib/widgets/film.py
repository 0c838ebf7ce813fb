"""A network learning to spell, replayed step by step on a page that needs no kernel."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asrlib.flight import Moment, load_flight
from asrlib.history import blank_plateau
from asrlib.metrics import ErrorRate, Row, align_corpus
from asrlib.text import BLANK
from asrlib.widgets._card import card, data_uri, escape, json_element
from asrlib.widgets._pictures import HEAT_LABELS, heat_png

# What a page stores: so many moments, and shades of a probability. Five clips of 4 s at 50 frames a
# second then stay below 250 kB.
MOST, SHADES = 40, 16
PLATEAU = 0.95  # of the frames are blank
ROWS = 6  # of the table that stays where scripts are stripped
TRY = "After the silence, which letters come first, and which last?"


class TrainingFilm:
    """Replay how a network learned to spell: what it said of the same clips, step by step.

    A slider and the arrow keys walk through the steps, space plays, Home and End go to either end,
    and a click on a curve goes to that step. Letters that are right are underlined. Where scripts
    are stripped, the last picture and a table of a few steps remain.

    Args:
        truths: what is said in each clip.
        moments: of the training, in the order of the steps, as `asrlib.flight` records them; of
            more than 40, 40 are shown, evenly chosen, the first and the last among them.
        clip: shown first; 0 is the first one.
        title: one line above.

    Raises:
        ValueError: there is no moment or no such clip; the truths hold no character; a moment has
            another number of clips than truths, or posteriors that are not uint8 (frames, 29) with
            the same number of frames at all moments.

    Example:
        >>> blank = np.zeros((50, 29), np.uint8)
        >>> blank[:, BLANK] = 255
        >>> TrainingFilm(["hi"], [Moment(1, 3.4, 9.0, 1.0, [""], [blank])])
        TrainingFilm(1 clip, 1 moment, steps 1 to 1)
    """

    def __init__(
        self,
        truths: Sequence[str],
        moments: Sequence[Moment],
        *,
        clip: int = 0,
        title: str = "A network learns to spell",
    ) -> None:
        _check(truths, moments)
        if not 0 <= clip < len(truths):
            raise ValueError(f"clip={clip}; 0 to {len(truths) - 1}")
        self.truths, self.clip, self.title = list(truths), clip, title
        steps = [moment.step for moment in moments]
        blanks = [moment.blank_fraction for moment in moments]
        self.plateau = blank_plateau(steps, blanks, PLATEAU)
        shown = np.linspace(0, len(moments) - 1, min(MOST, len(moments))).round().astype(int)
        self.moments = [moments[i] for i in shown]
        # For each moment, the rows of each clip.
        self.alignments = [
            align_corpus(self.truths, moment.texts, characters=True) for moment in self.moments
        ]

    @classmethod
    def load(cls, path: Path | str, **options: object) -> "TrainingFilm":
        """Read the film of a run.

        Args:
            path: of the run's folder, or of the `flight.jsonl` in it.
            options: of the film, such as clip and title.

        Raises:
            FileNotFoundError: the run has no flight record.
            ValueError: the record holds no moment, or as in `TrainingFilm`.
        """
        path = Path(path)
        return cls(*load_flight(path / "flight.jsonl" if path.is_dir() else path), **options)

    def __repr__(self) -> str:
        return f"TrainingFilm({_count(len(self.truths), 'clip')}, {self._facts()})"

    def _repr_html_(self) -> str:
        """Return one HTML fragment; without its script it is a picture and a table."""
        data = {
            "clip": self.clip,
            "clips": [self._clip(clip) for clip in range(len(self.truths))],
            "labels": HEAT_LABELS,
            "steps": [moment.step for moment in self.moments],
            "blank": [_finite(moment.blank_fraction) for moment in self.moments],
            "loss": [_finite(moment.loss) for moment in self.moments],
            "norm": [_finite(moment.gradient_norm) for moment in self.moments],
            "plateau": self.plateau and {"steps": self.plateau, "label": self._plateau_label()},
        }
        body = f"""<p class="asrlib-try">{TRY}</p>
<div class="asrlib-static">{self._picture()}{self._table()}</div>
{json_element(data)}"""
        label = f"Training film {self.title[:80]}".strip()
        return card("film", body, title=self.title, facts=self._facts(), label=label)

    def _facts(self) -> str:
        first, last = self.moments[0].step, self.moments[-1].step
        return f"{_count(len(self.moments), 'moment')}, steps {first} to {last}"

    def _plateau_label(self) -> str:
        first, last = self.plateau
        still = self.moments[-1].step == last and self.moments[-1].blank_fraction >= PLATEAU
        until = f"from step {first} on, not left yet" if still else f"steps {first} until {last}"
        return f"blank plateau ({100 * PLATEAU:.0f} % blanks or more): {until}"

    def _clip(self, clip: int) -> dict[str, object]:
        """Return what the script shows of a clip; the sprite holds all pictures, side by side."""
        posteriors = [moment.posteriors[clip] for moment in self.moments]
        sprite = heat_png(np.concatenate(posteriors) / 255, shades=SHADES, cell=(1, 1))
        truth, states = self.truths[clip], []
        for moment, alignments, each in zip(self.moments, self.alignments, posteriors):
            rows, text = alignments[clip], moment.texts[clip]
            states.append(
                {
                    "text": text,
                    "said": _runs(truth, [row for row in rows if row[1] is not None]),
                    "wrote": _runs(text, [row for row in rows if row[2] is not None]),
                    "errors": ErrorRate.of([rows]).errors,
                    "blanks": _blanks(each),
                }
            )
        return {
            "truth": truth,
            "frames": len(posteriors[0]),
            "characters": ErrorRate.of([self.alignments[0][clip]]).words,
            "sprite": data_uri("image/png", sprite),
            "states": states,
        }

    def _picture(self) -> str:
        """Return the last picture of the first clip."""
        moment = self.moments[-1]
        posteriors = moment.posteriors[self.clip]
        frames, vocab = posteriors.shape
        alt = f"Probabilities of {vocab} symbols (a to z, apostrophe, space, blank at the bottom)"
        alt += f" in {frames} frames of clip {self.clip + 1} after step {moment.step};"
        alt += f" the blank is likeliest in {_blanks(posteriors)} of them"
        source = data_uri("image/png", heat_png(posteriors / 255))
        return f'<img src="{source}" alt="{alt}" width="720" height="232">'

    def _table(self) -> str:
        """Return what was written after a few steps beside what was said."""
        rows = ""
        for i in np.linspace(0, len(self.moments) - 1, min(ROWS, len(self.moments))).round():
            moment, alignments = self.moments[int(i)], self.alignments[int(i)]
            text = moment.texts[self.clip]
            wrote = escape(text) if text.strip() else "<i>no letter</i>"
            errors = ErrorRate.of([alignments[self.clip]]).errors
            rows += f"<tr><td>{moment.step}</td><td>{wrote}</td><td>{errors}</td></tr>\n"
        plateau = f"<p>{self._plateau_label()}</p>" if self.plateau else ""
        return f"""
<p>Said in clip {self.clip + 1}: <b>{escape(self.truths[self.clip])}</b></p>
<table><thead><tr><th>step</th><th>the network wrote</th><th>wrong characters</th></tr></thead>
<tbody>{rows}</tbody></table>{plateau}"""


def _check(truths: Sequence[str], moments: Sequence[Moment]) -> None:
    if not moments:
        raise ValueError("no moments; a run records them if film_every > 0")
    for moment in moments:
        where = f"step {moment.step}: "
        if not len(truths) == len(moment.texts) == len(moment.posteriors):
            raise ValueError(
                f"{where}{len(moment.texts)} texts and {len(moment.posteriors)} posteriors of"
                f" {len(truths)} clips"
            )
        for clip, posteriors in enumerate(moment.posteriors):
            frames = len(moments[0].posteriors[clip])
            shape, wanted = posteriors.shape, (frames, len(HEAT_LABELS))
            if shape != wanted or not frames or posteriors.dtype != np.uint8:
                raise ValueError(
                    f"{where}posteriors of clip {clip} are {posteriors.dtype} {shape};"
                    f" they must be uint8 {wanted}"
                )


def _runs(text: str, rows: list[Row]) -> list[int]:
    """Count the letters of a text that are wrong, then right, then wrong, and so on.

    Args:
        text: one side of an alignment.
        rows: of its letters, without the spaces at both ends, which no error rate counts.

    Example:
        >>> _runs(" the bat", align_corpus(["the cat"], [" the bat"], characters=True)[0])
        [1, 4, 1, 2]
    """
    margin = len(text) - len(text.lstrip())
    right = [False] * margin + [row[0] == "equal" for row in rows]
    right += [False] * (len(text) - len(right))
    runs = [0]
    for is_right in right:
        if is_right != (len(runs) % 2 == 0):  # runs at odd places are right
            runs.append(0)
        runs[-1] += 1
    return runs


def _blanks(posteriors: np.ndarray) -> int:
    return int((posteriors.argmax(axis=1) == BLANK).sum())


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None  # JSON has no infinity


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
