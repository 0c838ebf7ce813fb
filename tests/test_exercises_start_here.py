"""Exercises of notebook 00: typical mistakes are named."""

from itertools import groupby

import pytest

from asrlib.exercises.start_here import check_collapse, check_frames, check_word_errors


@pytest.mark.parametrize(
    ("check", "answer", "says"),
    [
        (check_frames, 50, "201 spectrogram frames, not 200"),
        (check_frames, 200, "hops of 10 ms"),
        (check_frames, 201, "keeps one of four"),
        (check_frames, 32000, "those are samples"),
        (check_frames, 7, "a stride of 4"),
        (check_collapse, lambda path: path.replace("-", ""), "merge repeats first"),
        (
            check_collapse,
            lambda path: "".join(c for c, _ in groupby(path.replace("-", ""))),
            "a blank between two equal letters keeps both",
        ),
        (
            check_collapse,
            lambda path: "".join(c for c, _ in groupby(path)),
            "blanks are no letters",
        ),
        (check_collapse, lambda path: path[99], "IndexError"),
        (check_word_errors, 75, "a fraction"),
        (check_word_errors, 1.0, "line up the equal words"),
        (check_word_errors, 0.25, "missed and invented ones count too"),
        (check_word_errors, 0.5, "two of the three kinds"),
        (check_word_errors, 0.6, "words said"),
    ],
)
def test_a_typical_mistake_is_named(check, answer, says, capsys):
    check(answer)
    said = capsys.readouterr().out
    assert said.startswith("not yet: ") and says in said
