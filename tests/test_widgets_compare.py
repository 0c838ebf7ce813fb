"""The compare player's HTML, without a browser: its table says what asrlib.metrics says."""

import random
import re
from html.parser import HTMLParser

import nbformat
import numpy as np
import pytest

from asrlib.metrics import ErrorRate, edit_alignment, word_error_rate
from asrlib.subtitles import Word
from asrlib.widgets import ComparePlayer
from tests.notebooks import NOT_STORED, normalize
from tests.test_widgets import HOSTILE, Tree

MARKS = {"substitute": "S", "delete": "D", "insert": "I"}


class Tables(HTMLParser):
    """Read every table as rows of cells, each a class, its attributes and its text."""

    def __init__(self, markup):
        super().__init__(convert_charrefs=True)
        self.tables, self.cell = {"asrlib-scores": [], "asrlib-line": []}, None
        self.feed(markup)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "table":
            self.rows = []
            self.tables[attributes["class"]].append(self.rows)
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.cell = [attributes.get("class", "").removeprefix("asrlib-"), attributes, ""]
            self.rows[-1].append(self.cell)

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            self.cell = None

    def handle_data(self, data):
        if self.cell:
            self.cell[2] += data

    @property
    def lines(self):
        """The lines put together: each row's name and its cells."""
        first, *others = self.tables["asrlib-line"]
        rows = [list(row) for row in first]
        for line in others:
            for row, (head, *cells) in zip(rows, line, strict=True):
                assert head[2] == row[0][2]
                row += cells
        return {row[0][2]: row[1:] for row in rows}


def timed(text, seconds=0.3, gap=0.1):
    """Words of one length each, one after the other."""
    starts = [gap + n * (seconds + gap) for n in range(len(text.split()))]
    return [
        Word(word, round(start, 3), round(start + seconds, 3), 1.0)
        for word, start in zip(text.split(), starts)
    ]


def compare(truth, *transcripts, **options):
    words = timed(truth)
    waveform = np.zeros(round(16000 * (words[-1].end + 0.1)))
    systems = {f"system {n}": text for n, text in enumerate(transcripts)}
    return ComparePlayer(waveform, words, systems, **options)


def drawn(seed):
    """A true text and three transcripts from few words, so that alignments tie and repeat."""
    dice = random.Random(seed)
    return [" ".join(dice.choices("abcd", k=dice.randint(n == 0, 12))) for n in range(4)]


EDGES = [
    ["a b c", ""],  # an empty transcript
    ["a b c", "x y z"],  # all wrong
    ["a b c", "a b c"],  # all right
    ["a b c d e f", "c"],  # more words than were written
    ["b", "a a b c c c"],  # fewer
    ["a", "x y", "", "a"],
]


@pytest.mark.parametrize("texts", EDGES + [drawn(seed) for seed in range(40)])
def test_the_table_is_the_alignment(texts):
    truth, *transcripts = texts
    player = compare(truth, *transcripts)
    tables = Tables(player._repr_html_())
    said = tables.lines.pop("Truth")
    assert [cell[2] for cell in said if cell[2]] == truth.split()
    columns = list(zip(said, *(tables.lines[f"system {n}"] for n in range(len(transcripts)))))
    assert all(any(cell[2] for cell in column) for column in columns)
    (heads, *scores) = tables.tables["asrlib-scores"][0]
    for n, (text, score) in enumerate(zip(transcripts, scores, strict=True)):
        rows = []
        for column in columns:
            (_, _, word), (kind, _, written) = column[0], column[n + 1]
            if kind == "equal":
                rows.append((kind, word, written))
            elif kind:
                written, letter = written.rsplit(" ", 1)
                assert letter == MARKS[kind]
                written = None if kind == "delete" else written
                rows.append((kind, word or None, written))
            else:
                assert not word and not written
        expected = edit_alignment(truth.split(), text.split())
        assert rows == expected
        rate = ErrorRate.of([expected])
        assert rate.rate == word_error_rate([truth], [text]).rate
        assert score[1][2] == f"{100 * rate.rate:.1f} %"
        counts = tuple(map(int, re.findall(r"\d+", score[2][2])))
        assert counts == (rate.substitutions, rate.deletions, rate.insertions, rate.words)
        assert str(rate) in repr(player)


def test_each_mark_carries_its_sound_and_its_name():
    # Words of 0.3 s begin at 0.1, 0.5, 0.9 and 1.3 s.
    rows = Tables(compare("a b c d", "x b y d", "b c z z d e")._repr_html_()).lines
    assert [cell[1]["data-say"] for cell in rows["Truth"] if cell[2]] == [
        "'a', 0.10 to 0.40 s",
        "'b', 0.50 to 0.80 s",
        "'c', 0.90 to 1.20 s",
        "'d', 1.30 to 1.60 s",
    ]
    marks = [cell[1] for row in rows.values() for cell in row if cell[0] in MARKS]
    assert [mark["data-say"] for mark in marks] == [
        "substitution: said 'a', heard 'x', 0.10 to 0.40 s",
        "substitution: said 'c', heard 'y', 0.90 to 1.20 s",
        "deletion: said 'a', heard nothing, 0.10 to 0.40 s",
        "insertion: said nothing, heard 'z', 1.20 to 1.30 s",
        "insertion: said nothing, heard 'z', 1.20 to 1.30 s",
        "insertion: said nothing, heard 'e', 1.60 to 1.70 s",
    ]
    for mark in marks:
        spoken = [float(number) for number in re.findall(r"\d\.\d+", mark["data-say"])]
        assert [float(mark["data-start"]), float(mark["data-end"])] == pytest.approx(spoken)
    first = Tables(compare("b", "a b")._repr_html_()).lines["system 0"][0][1]
    assert (first["data-start"], first["data-end"]) == ("0.0", "0.1")  # from the sound's beginning


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text(text):
    def fragment(words, name):
        words = " ".join(words)
        systems = {name: words, "other": "plain"}
        return ComparePlayer(np.zeros(160000), timed(words, 0.001, 0.001), systems, title=name)

    words = text.split()[:60]
    markup = fragment(words, text)._repr_html_()
    tree, plain = Tree(markup), Tree(fragment(["w"] * len(words), "plain")._repr_html_())
    assert {tag for tag, _ in tree.elements} == {tag for tag, _ in plain.elements}
    names = [set(attributes) for _, attributes in tree.elements]
    assert set().union(*names) == set().union(*(set(a) for _, a in plain.elements))
    assert tree.text["script", ""] == plain.text["script", ""]
    lines = Tables(markup).lines
    assert [cell[2] for cell in lines["Truth"]] == words
    assert [cell[2] for cell in lines[text]] == words
    assert tree.text["div", "asrlib-title"] == text
    assert "id" not in set().union(*names)


def test_a_sound_that_must_not_be_kept_is_taken_out():
    cell = nbformat.v4.new_code_cell("x", outputs=[])
    kept, unkept = (compare("a b", "a", keep_sound=keep)._repr_html_() for keep in (True, False))
    cell.outputs = [
        nbformat.v4.new_output("display_data", {"text/html": html}) for html in (kept, unkept)
    ]
    notebook = normalize(nbformat.v4.new_notebook(cells=[cell]))
    first, second = (output.data["text/html"] for output in notebook.cells[0].outputs)
    assert first == kept
    assert "data:audio" not in second and NOT_STORED in second
    assert Tables(second).lines == Tables(unkept).lines


def test_compressed_and_plain_sound():
    for compress, mime in ((False, "wav"), (True, "mpeg")):
        [audio] = Tree(compare("a b", "a", compress=compress)._repr_html_()).all("audio")
        assert audio["src"].startswith(f"data:audio/{mime};base64,")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truth": []}, "truth holds no word"),
        ({"truth": [Word("two words", 0, 1, 1)]}, "true word 'two words'; it must be one word"),
        ({"truth": [Word("", 0, 1, 1)]}, "true word ''"),
        ({"truth": [Word("late", 0.5, 1.2, 1)]}, r"'late' from 0.5 to 1.2 s: .* within the 1 s"),
        ({"truth": [Word("b", 0.5, 0.6, 1), Word("a", 0.1, 0.2, 1)]}, "'a' from 0.1 to 0.2 s"),
        ({"truth": [Word("back", 0.5, 0.4, 1)]}, "'back' from 0.5 to 0.4 s"),
        ({"truth": [Word("nan", 0.5, float("nan"), 1)]}, "'nan' from 0.5 to nan s"),
        ({"systems": {}}, "systems is empty"),
        ({"systems": {"tiny": ["a", "b"]}}, r"systems\['tiny'\]: list; use its text"),
        ({"waveform": np.zeros(61 * 16000)}, "waveform: 61 s; at most 60 s"),
        ({"waveform": np.zeros(0)}, r"waveform: shape \(0,\)"),
        ({"sample_rate": 0}, "sample_rate=0"),
    ],
)
def test_bad_input_is_named(options, message, unchecked_types):
    usual = {"waveform": np.zeros(16000), "truth": [Word("a", 0, 1, 1)], "systems": {"x": "a"}}
    with pytest.raises(ValueError, match=message):
        ComparePlayer(**{**usual, **options})


def test_times_rounded_past_the_end_and_overlapping_words_are_legal():
    words = [Word("a", 0.0, 0.6, 1.0), Word("b", 0.5, 1.0005, 1.0)]
    markup = ComparePlayer(np.zeros(16000), words, {"x": "a z b"})._repr_html_()
    [inserted] = [cell[1] for cell in Tables(markup).lines["x"] if cell[0] == "insert"]
    assert (inserted["data-start"], inserted["data-end"]) == ("0.5", "0.6")
