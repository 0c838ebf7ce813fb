"""Words in time and the files they are written to."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrlib.ctc import TokenSpan
from asrlib.subtitles import Word, to_json, to_textgrid, word_times
from asrlib.text import Tokenizer


@st.composite
def spans(draw):
    """Labels one after the other, with gaps."""
    tokens = draw(st.lists(st.integers(1, 28), max_size=12))
    edges = draw(
        st.lists(
            st.integers(0, 99), min_size=2 * len(tokens), max_size=2 * len(tokens), unique=True
        )
    )
    edges = sorted(edges)
    scores = [draw(st.floats(-5, 0)) for _ in tokens]
    return [TokenSpan(*row) for row in zip(tokens, edges[::2], edges[1::2], scores)]


@given(spans())
def test_words_are_what_spaces_part_with_the_times_of_their_letters(given_spans):
    words = word_times(given_spans, 0.04)
    text = Tokenizer().decode([span.token for span in given_spans])
    assert [word.text for word in words] == text.split()
    letters = [span for span in given_spans if span.token != 1]
    for word in words:
        own, letters = letters[: len(word.text)], letters[len(word.text) :]
        assert word.start == pytest.approx(max(0.0, 0.04 * own[0].start_frame - 0.02), abs=1e-3)
        assert word.end == pytest.approx(0.04 * own[-1].end_frame - 0.02, abs=1e-3)
        product = 1.0
        for span in own:
            product *= 2.718281828459045**span.score
        assert word.confidence == pytest.approx(product ** (1 / len(own)), abs=1e-4)


def intervals(textgrid):
    """Read a TextGrid as Praat does: numbers and quoted texts in their order."""
    values = re.findall(
        r'=\s*(?:"((?:[^"]|"")*)"|([\d.]+))', textgrid.split("intervals: size", 1)[1]
    )
    count, rows = int(values[0][1]), values[1:]
    assert len(rows) == 3 * count
    read = [
        (float(a[1]), float(b[1]), c[0].replace('""', '"')) for a, b, c in zip(*[iter(rows)] * 3)
    ]
    return read


WORDS = [Word("hi", 0.1, 0.3, 0.9), Word('a "b"', 0.3, 0.5, 0.8), Word("c", 0.7, 1.0, 0.7)]


def test_a_textgrid_covers_the_recording_without_a_gap():
    grid = to_textgrid(WORDS, 1.2)
    assert grid.startswith(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1.2\n'
    )
    rows = intervals(grid)
    assert rows[0][0] == 0 and rows[-1][1] == 1.2
    assert all(a[1] == b[0] for a, b in zip(rows, rows[1:]))
    assert [row for row in rows if row[2]] == [(w.start, w.end, w.text) for w in WORDS]
    assert [row[2] for row in rows] == ["", "hi", 'a "b"', "", "c", ""]


def test_a_textgrid_of_silence_is_one_empty_interval():
    assert intervals(to_textgrid([], 2.0)) == [(0, 2, "")]


@pytest.mark.parametrize(
    "words", [[WORDS[1], WORDS[0]], [Word("x", 0.5, 1.5, 1.0)], [Word("x", 0.5, 0.5, 1.0)]]
)
def test_words_that_overlap_or_leave_the_recording_are_named(words):
    with pytest.raises(ValueError, match=r"word '.*' from .* words follow each other"):
        to_textgrid(words, 1.2)


def test_json_holds_every_word():
    assert json.loads(to_json(WORDS)) == [vars(word) for word in WORDS]
