"""What several systems made of one sound, word under word, each error to be heard."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np
from torch import Tensor

from asrlib.audio import SAMPLE_RATE
from asrlib.metrics import ErrorRate, Row, edit_alignment
from asrlib.subtitles import Word
from asrlib.widgets._card import card, escape, sound_uri
from asrlib.widgets._pictures import axis, picture, waveform_png
from asrlib.widgets.player import Player

MAX_SECONDS = 60  # 2.6 MB as WAV in the page
LINE_CHARACTERS = 56  # of a line of the table before the script fits the lines to the page
LETTERS = {"substitute": "S", "delete": "D", "insert": "I"}
LEGEND = {
    "substitute": "substitution: another word",
    "delete": "deletion: a word is missing",
    "insert": "insertion: a word nobody said",
}


class ComparePlayer:
    """Show the transcripts of several systems under the true words, and play what they got wrong.

    A click on a true word or on an error plays it with a little of what surrounds it, and a cursor
    moves along the waveform; a click on the waveform plays the word at that place. The arrow keys
    move from word to word and from error to error, space or enter plays. Alignment, counts and
    rates are those of asrlib.metrics. Where scripts are stripped a table with the letters S, D, I
    remains.

    Args:
        waveform: float (samples,), in [-1, 1], at most 60 s.
        truth: the words that were said, in order, with their times, as `Recognizer.align` finds
            them; at least one.
        systems: the transcript of each system by its name; words are compared as they stand.
        sample_rate: in Hz.
        title: one line above the waveform.
        keep_sound: False marks a sound that must not be stored in a notebook that is given away;
            `python -m tests.notebooks` takes it out, and everything but playing remains.
        compress: store MP3 in place of 16-bit WAV, as in `Player`.

    Attributes:
        alignments: rows (kind, true word, word written) of each system, by its name.
        rates: its `ErrorRate`; the counts are those of the marks shown.

    Raises:
        ValueError: what `Player` refuses; a sound longer than 60 s; no true word, one that is
            empty or holds a space, or times that run backwards or out of the sound; no system, or
            one whose transcript is not a text.

    Example:
        >>> truth = [Word("the", 0.1, 0.3, 1.0), Word("cat", 0.35, 0.8, 1.0)]
        >>> compare = ComparePlayer(np.zeros(16000), truth, {"a": "the cat", "b": "cap"})
        >>> print(compare.rates["b"])
        100.0 % (1 S, 0 I, 1 D of 2)
        >>> "substitution: said &#x27;cat&#x27;, heard &#x27;cap&#x27;" in compare._repr_html_()
        True
    """

    def __init__(
        self,
        waveform: np.ndarray | Tensor,
        truth: Sequence[Word],
        systems: Mapping[str, str],
        sample_rate: int = SAMPLE_RATE,
        *,
        title: str = "",
        keep_sound: bool = True,
        compress: bool = False,
    ) -> None:
        self.sound = Player(waveform, sample_rate, max_seconds=MAX_SECONDS, compress=compress)
        if self.sound.seconds < self.sound.full_seconds:
            raise ValueError(f"waveform: {self.sound.full_seconds:.4g} s; at most {MAX_SECONDS} s")
        self.truth, self.title, self.keep_sound = list(truth), title, keep_sound
        _check_words(self.truth, self.sound.seconds)
        if not systems:
            raise ValueError("systems is empty; give at least one {name: transcript}")
        for name, text in systems.items():
            if not isinstance(text, str):
                raise ValueError(f"systems[{name!r}]: {type(text).__name__}; use its text")
        words = [word.text for word in self.truth]
        self.alignments = {n: edit_alignment(words, text.split()) for n, text in systems.items()}
        self.rates = {name: ErrorRate.of([rows]) for name, rows in self.alignments.items()}

    def __repr__(self) -> str:
        rates = ", ".join(f"{name}: {rate}" for name, rate in self.rates.items())
        return f"ComparePlayer({self.sound.seconds:.2f} s, {rates})"

    def _repr_html_(self) -> str:
        """Return one HTML fragment; the script in it is the same for every compare player."""
        sound = self.sound
        source = sound_uri(sound.waveform, sound.sample_rate, compress=sound.compress)
        peak = float(np.abs(sound.waveform).max())
        png = waveform_png(sound.waveform, min(max(peak, 0.01), 1.0))
        alt = f"Waveform of {sound.seconds:.2f} seconds"
        figure = picture("wave", (), alt, png, height=64) + axis(sound.seconds)
        legend = "".join(
            f'<li class="asrlib-{kind}"><b>{LETTERS[kind]}</b> {meaning}</li>'
            for kind, meaning in LEGEND.items()
        )
        body = f"""<div class="asrlib-figure">{figure}</div>
<audio controls preload="auto" src="{source}"></audio>
{self._scores()}
<div class="asrlib-lines" role="group" aria-label="Aligned words">{self._lines()}</div>
<ul class="asrlib-legend">{legend}</ul>"""
        facts = f"{sound.seconds:.2f} s · {len(self.truth)} word{'s' * (len(self.truth) > 1)}"
        facts += " · MP3" if sound.compress else ""
        marks = {"data_duration": repr(sound.seconds)}
        if sound.compress:
            marks["data_rate"] = str(sound.sample_rate)
        if not self.keep_sound:
            marks["data_keep_sound"] = "no"
        label = f"Transcripts compared {self.title[:80]}".strip()
        return card("compare", body, title=self.title, facts=facts, label=label, **marks)

    def _scores(self) -> str:
        rows = "".join(
            f"\n<tr>{_head(name)}<td>{100 * rate.rate:.1f} %</td><td>({rate.substitutions} S"
            f" + {rate.deletions} D + {rate.insertions} I) / {rate.words}</td></tr>"
            for name, rate in self.rates.items()
        )
        heads = "".join(
            f'<th scope="col">{h}</th>'
            for h in ("System", "Word error rate", "Errors / true words")
        )
        return f'<table class="asrlib-scores"><tr>{heads}</tr>{rows}\n</table>'

    def _lines(self) -> str:
        """Return the aligned words as one table a line; the script breaks the lines anew."""
        lines: list[list[list[str]]] = []
        room = 0
        for rows, span in self._columns():
            width = 4 + max(len(heard or said or "") for _, said, heard in filter(None, rows))
            if width > room:
                lines.append([])
                room = LINE_CHARACTERS
            room -= width
            lines[-1].append([_cell(row, span) for row in rows])
        return "".join(self._table(line) for line in lines)

    def _table(self, line: list[list[str]]) -> str:
        heads = [_head(name) for name in ("Truth", *self.rates)]
        rows = "".join(
            f"<tr>{head}{''.join(cells)}</tr>\n"
            for head, cells in zip(heads, zip(*line, strict=True), strict=True)
        )
        return f'<table class="asrlib-line">\n{rows}</table>\n'

    def _columns(self) -> list[tuple[list[Row | None], tuple[float, float]]]:
        """Put the alignments side by side: a column for each true word and each insertion.

        Returns:
            Of each column its rows, the truth first (None: nothing stands there), and its seconds.
        """
        columns: list[tuple[list[Row | None], tuple[float, float]]] = []
        systems = [_by_true_word(rows) for rows in self.alignments.values()]
        for n in range(len(self.truth) + 1):
            before = float(self.truth[n - 1].end) if n else 0.0
            after = float(self.truth[n].start) if n < len(self.truth) else self.sound.seconds
            gap = min(before, after), max(before, after)  # words may overlap a little
            for inserted in zip_longest(*(insertions[n] for _, insertions in systems)):
                columns.append(([None, *inserted], gap))
            if n < len(self.truth):
                word = self.truth[n]
                rows = [("truth", word.text, word.text), *(written[n] for written, _ in systems)]
                columns.append((rows, (float(word.start), float(word.end))))
        return columns


def _check_words(words: list[Word], seconds: float) -> None:
    if not words:
        raise ValueError("truth holds no word: an error rate over nothing is undefined")
    now = 0.0
    for word in words:
        if word.text.split() != [word.text]:
            raise ValueError(f"true word {word.text!r}; it must be one word without spaces")
        # Times are rounded to a millisecond, so the last one may lie that much past the end.
        if not now <= word.start <= word.end <= seconds + 1e-3:
            raise ValueError(
                f"true word {word.text!r} from {word.start} to {word.end} s: words follow each"
                f" other within the {seconds:g} s of the sound"
            )
        now = word.start


def _by_true_word(rows: list[Row]) -> tuple[list[Row], list[list[Row]]]:
    """Cut an alignment at the true words.

    Returns:
        The row of each true word, and the insertions before each and after the last.
    """
    written: list[Row] = []
    inserted: list[list[Row]] = [[]]
    for row in rows:
        if row[0] == "insert":
            inserted[-1].append(row)
        else:
            written.append(row)
            inserted.append([])
    return written, inserted


def _head(name: str) -> str:
    return f'<th scope="row" dir="auto"><span>{escape(name)}</span></th>'


def _cell(row: Row | None, span: tuple[float, float]) -> str:
    """Return one cell of the table; what can be clicked carries its seconds and its spoken name."""
    if row is None:
        return "<td></td>"
    kind, said, heard = row
    text = f'<span dir="auto">{escape(heard or "—")}</span>'
    if kind == "equal":
        return f'<td class="asrlib-equal">{text}</td>'
    start, end = span
    when = f"{start:.2f} to {end:.2f} s"
    say = {
        "truth": f"{_quoted(said)}, {when}",
        "substitute": f"substitution: said {_quoted(said)}, heard {_quoted(heard)}, {when}",
        "delete": f"deletion: said {_quoted(said)}, heard nothing, {when}",
        "insert": f"insertion: said nothing, heard {_quoted(heard)}, {when}",
    }[kind]
    letter = f" <b>{LETTERS[kind]}</b>" if kind in LETTERS else ""
    return (
        f'<td class="asrlib-{kind}" data-start="{start!r}" data-end="{end!r}"'
        f' data-say="{escape(say)}">{text}{letter}</td>'
    )


def _quoted(word: str | None) -> str:
    """Quote a word; other scripts are isolated, or they would turn around what follows."""
    word = word or ""
    return f"'{word}'" if word.isascii() else f"'\u2068{word}\u2069'"
