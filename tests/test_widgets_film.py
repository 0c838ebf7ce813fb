"""The training film's HTML, without a browser: what it refuses, what it keeps, how large it is."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from asrlib.features import FeatureExtractor
from asrlib.flight import FlightRecorder, load_flight
from asrlib.metrics import character_error_rate
from asrlib.model import SpeechRecognitionModel
from asrlib.widgets import TrainingFilm
from tests.films import FRAMES, TEXTS, TRUTHS, moments, posteriors
from tests.test_widgets import HOSTILE, Tree
from tests.tones import TINY, tone_corpus


def stored(film):
    return json.loads(Tree(film._repr_html_()).text["script", "asrlib-data"])


def changed(**changes):
    """The usual moments, the third of them changed."""
    return [replace(m, **changes) if n == 2 else m for n, m in enumerate(moments())]


@pytest.mark.parametrize(
    ("record", "options", "message"),
    [
        ([], {}, "no moments"),
        (moments(), {"clip": 3}, "clip=3; 0 to 2"),
        (moments(), {"clip": -1}, "clip=-1; 0 to 2"),
        (changed(texts=["one"]), {}, "step 40: 1 texts and 3 posteriors of 3 clips"),
        (changed(posteriors=[]), {}, "step 40: 3 texts and 0 posteriors of 3 clips"),
        (
            changed(posteriors=[posteriors(0, f) for f in (24, 9, 29)]),
            {},
            r"step 40: posteriors of clip 2 are uint8 \(29, 29\); they must be uint8 \(30, 29\)",
        ),
        (
            changed(posteriors=[posteriors(0, f) / 255 for f in FRAMES]),
            {},
            r"step 40: posteriors of clip 0 are float64 \(24, 29\); they must be uint8",
        ),
        (
            changed(posteriors=[posteriors(0, f)[:, :28] for f in FRAMES]),
            {},
            r"clip 0 are uint8 \(24, 28\); they must be uint8 \(24, 29\)",
        ),
    ],
)
def test_bad_input_is_named(record, options, message):
    with pytest.raises(ValueError, match=message):
        TrainingFilm(TRUTHS, record, **options)


def test_truths_without_a_letter_are_named():
    with pytest.raises(ValueError, match="no reference holds a word"):
        TrainingFilm(["", " ", ""], moments())
    assert stored(TrainingFilm(["", "it's", ""], moments()))["clips"][0]["characters"] == 0


def test_long_films_are_thinned_evenly_and_keep_both_ends():
    blank = np.zeros((1, 29), np.uint8)
    usual = replace(moments()[0], texts=["a"], posteriors=[blank])
    long = [replace(usual, step=10 * n, blank_fraction=float(101 <= n < 103)) for n in range(200)]
    film = TrainingFilm(["a"], long)
    steps = stored(film)["steps"]
    assert len(steps) == 40 and (steps[0], steps[-1]) == (0, 1990)
    assert set(np.diff(steps)) <= {50, 60}
    assert film.plateau == (1010, 1030)  # of all moments, though one of them at most is shown
    assert repr(film) == "TrainingFilm(1 clip, 40 moments, steps 0 to 1990)"
    assert len(stored(TrainingFilm(["a"], long[:40]))["steps"]) == 40
    assert stored(TrainingFilm(["a"], long[:1]))["steps"] == [0]


def test_a_plateau_that_is_not_left_is_called_so():
    record = moments()
    assert stored(TrainingFilm(TRUTHS, record))["plateau"] == {
        "steps": [20, 60],
        "label": "blank plateau (95 % blanks or more): steps 20 until 60",
    }
    label = stored(TrainingFilm(TRUTHS, record[:3]))["plateau"]["label"]
    assert label == "blank plateau (95 % blanks or more): from step 20 on, not left yet"
    assert stored(TrainingFilm(TRUTHS, record[:1]))["plateau"] is None


def test_numbers_that_are_not_finite_are_missing():
    assert stored(TrainingFilm(TRUTHS, changed(gradient_norm=math.inf)))["norm"][2] is None


def test_a_run_is_read_from_its_folder_or_file(tmp_path):
    corpus = tone_corpus(tmp_path / "tones")
    recorder = FlightRecorder(corpus, FeatureExtractor(), tmp_path / "flight.jsonl")
    for step in 1, 5:
        row = {"loss": 3.0, "gradient_norm": 1.0, "blank_fraction": 0.5}
        recorder.record(step, SpeechRecognitionModel(TINY), row)
    truths, record = load_flight(tmp_path / "flight.jsonl")
    for path in tmp_path, tmp_path / "flight.jsonl", str(tmp_path):
        film = TrainingFilm.load(path, clip=1, title="tones")
        assert (film.clip, film.title, film.truths) == (1, "tones", truths)
        data = stored(film)
        assert data["steps"] == [1, 5]
        for clip, states in enumerate(each["states"] for each in data["clips"]):
            rates = [character_error_rate([truths[clip]], [m.texts[clip]]) for m in record]
            assert [state["errors"] for state in states] == [rate.errors for rate in rates]
    with pytest.raises(FileNotFoundError, match="no flight record"):
        TrainingFilm.load(tmp_path / "tones")


def test_five_clips_of_four_seconds_and_forty_moments_stay_small():
    """At 50 frames a second. Pictures of a tiny run took 3.4 bytes a frame, at 25 a second."""
    dice = np.random.default_rng(0)
    clear = dice.normal(size=(5, 200, 29))  # what the network will hear
    texts = [["the quiet water and the quick dog played in the apple trees"] * 5] * 50
    record = []
    for n in range(50):
        logits = (1 + n / 10) * clear + 0.06 * dice.normal(size=clear.shape)
        logits[..., 0] += 6 - n / 10  # rather the blank, at first
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        pictures = list(np.rint(255 * odds / odds.sum(axis=-1, keepdims=True)).astype(np.uint8))
        record.append(replace(moments()[0], step=n, texts=texts[n], posteriors=pictures))
    film = TrainingFilm(["the quite hot daughter ate the quick dog prayed at apples"] * 5, record)
    sizes = [len(each["sprite"]) for each in stored(film)["clips"]]
    assert min(sizes) > 4 / 3 * 40 * 200 * 3.0  # closer frames are more alike
    assert len(film._repr_html_()) <= 250_000


@pytest.mark.parametrize("words", HOSTILE)
def test_text_stays_text(words):
    plain = Tree(TrainingFilm(TRUTHS, moments(), title="plain")._repr_html_())
    texts = [[words, *each[1:]] for each in TEXTS[:2]] + TEXTS[2:]
    tree = Tree(TrainingFilm([words, *TRUTHS[1:]], moments(texts), title=words)._repr_html_())
    count = [tag for tag, _ in plain.elements].count("i") - 1  # step 20 now has a text
    assert [tag for tag, _ in tree.elements].count("i") == count
    tags = [[tag for tag, _ in each.elements if tag != "i"] for each in (plain, tree)]
    assert tags[0] == tags[1]
    assert tree.text["div", "asrlib-title"] == words
    assert tree.text["script", ""] == plain.text["script", ""]
    data = json.loads(tree.text["script", "asrlib-data"])
    assert data["clips"][0]["truth"] == data["clips"][0]["states"][1]["text"] == words
    for said in data["clips"][0]["states"][1]["said"], data["clips"][0]["states"][1]["wrote"]:
        assert said[:2] == [0, len(words.strip())]  # all of it right


def test_text_that_utf8_cannot_hold_is_replaced():
    texts = [["lone \ud800", *each[1:]] for each in TEXTS]
    TrainingFilm(["\ud800", "a", "b"], moments(texts))._repr_html_().encode("utf-8")
