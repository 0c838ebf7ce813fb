"""Predictions are scored, claims are proved, exercises diagnose."""

import pytest

from asrlib import lesson as lessons
from asrlib.exercises import start_here


def test_claims_outside_their_range_fail():
    lesson = lessons.Lesson()
    with pytest.raises(AssertionError, match="claim wer = 16 is outside 0 to 15"):
        lesson.claim("wer", 16.0, full=(0, 15))


def test_smoke_has_its_own_range_and_size():
    smoke, full = lessons.Lesson(smoke=True), lessons.Lesson()
    smoke.claim("wer", 90.0, full=(0, 15), smoke=(0, 300))
    with pytest.raises(AssertionError):
        smoke.claim("wer", 301.0, full=(0, 15), smoke=(0, 300))
    assert (smoke.size(100, 3), full.size(100, 3)) == (3, 100)


def test_a_claim_prints_what_the_prose_may_quote(capsys):
    lessons.Lesson().claim("wer", 7.26, full=(0, 15))
    assert capsys.readouterr().out == "claim wer = 7.3 (holds: 0 to 15)\n"


@pytest.mark.parametrize(
    "guess, truth, within, score",
    [
        (30.0, 33.0, 5.0, "hit"),
        (30.0, 40.0, 5.0, "miss"),
        ("a", "a", 0, "hit"),
        ("a", "b", 0, "miss"),
    ],
)
def test_predictions_are_scored(guess, truth, within, score):
    lesson = lessons.Lesson()
    lesson.predict("question", guess)
    lesson.reveal("question", truth, within)
    assert lesson.scores == {"question": score}


def test_no_guess_is_no_miss(capsys):
    lesson = lessons.Lesson()
    lesson.predict("question", None)
    lesson.reveal("question", 3.0)
    lesson.summary()
    assert lesson.scores == {} and "0 guesses, 0 hits" in capsys.readouterr().out


def test_unknown_profile_is_refused(monkeypatch):
    monkeypatch.setenv("ASRLIB_PROFILE", "smok")
    with pytest.raises(ValueError, match="ASRLIB_PROFILE='smok': choose full or smoke"):
        lessons.setup()


@pytest.mark.parametrize(
    "answer, verdict", [(51, "right"), (50, "close"), (200, "hops"), (7, "2 s")]
)
def test_frames_exercise(answer, verdict, capsys):
    start_here.check_frames(answer)
    assert verdict in capsys.readouterr().out


def test_frames_solution_is_the_model_s():
    from asrlib.model import ModelConfig, output_lengths

    assert output_lengths(32_000 // 160 + 1, ModelConfig.preset("tiny")) == 51


def solution(path):
    from itertools import groupby

    return "".join(c for c, _ in groupby(path) if c != "-")


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda path: path.replace("-", ""), "merge repeats first"),
        (lambda path: solution(path.replace("-", "")), "a blank between two equal letters"),
        (lambda path: path, "blanks are no letters"),
        (lambda path: path[100], "it raised IndexError"),
        (lambda path: "".join(dict.fromkeys(path.replace("-", ""))), "expected 'hello'"),
    ],
)
def test_typical_wrong_collapses_get_a_useful_message(wrong, message, capsys):
    start_here.check_collapse(wrong)
    said = capsys.readouterr().out
    assert said.startswith("not yet") and message in said


def test_collapse_solution_passes_and_an_untouched_exercise_runs(capsys):
    start_here.check_collapse(solution)
    start_here.check_collapse(lambda path: None)
    start_here.check_frames(None)
    right, first, second = capsys.readouterr().out.splitlines()
    assert right.startswith("right") and first == second == "not answered yet"
