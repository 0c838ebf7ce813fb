"""The embedded corpus keeps its contract: size, voices, sentences, splits, sound, licences."""

import csv
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from asrlib.corpus import MiniSpeech, check_disjoint
from asrlib.text import Tokenizer

FOLDER = Path(__file__).resolve().parents[1] / "asrlib" / "minispeech"
SPLITS = ("train", "dev", "test", "unseen")
COLUMNS = (
    "path start_seconds duration_seconds text speaker split gender accent source licence".split()
)


@cache
def rows() -> list[dict[str, str]]:
    with (FOLDER / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def values(column: str, *splits: str) -> set[str]:
    return {row[column] for row in rows() if row["split"] in splits}


def near_duplicates(texts) -> list[tuple[str, str]]:
    """Pairs of different texts at a word-level edit distance of 1 (at most).

    Two such texts are equal but for the word at one place, or one is the other without a word. So
    it is enough to compare what is left of each text when one word goes: no text meets all others.
    """
    texts = sorted(set(texts))
    buckets = defaultdict(set)
    for text in texts:
        words = text.split()
        buckets[tuple(words), "whole"].add(text)
        for place in range(len(words)):
            rest = tuple(words[:place] + words[place + 1 :])
            buckets[rest, place].add(text)  # a substitution at this place
            buckets[rest, "whole"].add(text)  # an insertion; compared again below
    pairs = set()
    for (rest, kind), members in buckets.items():
        for a in members:
            for b in members:
                if a < b and (kind != "whole" or rest in (tuple(a.split()), tuple(b.split()))):
                    pairs.add((a, b))
    return sorted(pairs)


def word_edit_distance(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=12))
def test_the_search_for_near_duplicates_finds_what_comparing_all_pairs_finds(sentences):
    texts = sorted({" ".join(words) for words in sentences})
    slow = [
        (a, b)
        for a in texts
        for b in texts
        if a < b and word_edit_distance(a.split(), b.split()) <= 1
    ]
    assert near_duplicates(texts) == slow


def test_the_manifest_has_its_columns_and_no_empty_cell():
    assert list(rows()[0]) == COLUMNS
    empty = [(n, name) for n, row in enumerate(rows(), 2) for name in COLUMNS if not row[name]]
    assert empty == []
    assert values("split", *SPLITS) == set(SPLITS) == {row["split"] for row in rows()}
    assert values("gender", *SPLITS) == {"F", "M"} and values("accent", *SPLITS) == {"US", "UK"}


def test_it_is_30_to_40_minutes_in_at_most_9_megabytes():
    seconds = sum(float(r["duration_seconds"]) for r in rows() if r["split"] != "unseen")
    assert 30 <= seconds / 60 <= 40
    files = [
        file
        for file in FOLDER.rglob("*")
        if file.is_file()
        and not any(p.startswith((".", "__")) for p in file.relative_to(FOLDER).parts)
    ]
    assert len(files) > 10
    assert sum(file.stat().st_size for file in files) <= 9_000_000


def test_every_sound_file_is_listed_and_every_listed_one_is_there():
    there = {str(file.relative_to(FOLDER)) for file in FOLDER.rglob("*.ogg")}
    assert values("path", *SPLITS) == there


def test_clips_of_one_file_do_not_overlap():
    places = defaultdict(list)
    for row in rows():
        start = float(row["start_seconds"])
        places[row["path"]].append((start, start + float(row["duration_seconds"])))
    for stretches in places.values():
        stretches.sort()
        assert all(a[1] <= b[0] for a, b in zip(stretches, stretches[1:], strict=False))


def test_words_letters_and_sentences_are_enough_to_learn_from():
    texts = values("text", "train")
    assert len(texts) >= 500
    assert all(3 <= len(text.split()) <= 8 for text in texts)
    assert len({word for text in texts for word in text.split()}) == 40
    assert set("abcdefghijklmnopqrstuvwxyz") <= {letter for text in texts for letter in text}


def test_every_text_is_in_the_alphabet_with_single_spaces():
    tokenizer = Tokenizer()
    for text in values("text", *SPLITS):
        assert tokenizer.decode(tokenizer.encode(text)) == text == " ".join(text.split())


def test_no_two_sentences_are_one_word_apart():
    assert near_duplicates(values("text", *SPLITS)) == []


def test_splits_share_no_text_and_no_voice():
    splits = {name: MiniSpeech(name) for name in SPLITS}
    for a in ("train", "dev", "test"):
        for b in ("train", "dev", "test"):
            if a < b:
                check_disjoint(splits[a], splits[b], "speaker", "text", "id")
    check_disjoint(splits["unseen"], splits["train"], "speaker", "text")
    assert all(speaker.startswith("flite") for speaker in splits["unseen"].speakers)
    assert not any(
        speaker.startswith("flite")
        for name in ("train", "dev", "test")
        for speaker in splits[name].speakers
    )


def test_no_blend_holds_a_voice_of_dev_or_test():
    kept_away = values("speaker", "dev", "test")
    blends = [speaker for speaker in values("speaker", *SPLITS) if "+" in speaker]
    assert blends  # else there is nothing to look at
    assert not any("+" in speaker for speaker in kept_away)
    # A part is a voice's name, with its weight in front or not: "0.66bf_lily+0.34af_aoede".
    parts = {part.lstrip("0123456789.") for blend in blends for part in blend.split("+")}
    assert not parts & kept_away
    assert parts <= values("speaker", "train")  # each is a voice that also reads alone


def test_the_test_voices_are_of_both_sexes_and_accents():
    voices = {r["speaker"]: (r["gender"], r["accent"]) for r in rows() if r["split"] == "test"}
    assert len(voices) >= 4
    genders = Counter(gender for gender, _ in voices.values())
    assert genders["F"] >= 2 and genders["M"] >= 2
    assert {accent for _, accent in voices.values()} == {"US", "UK"}


def test_a_voice_has_one_gender_one_accent_one_source():
    for column in ("gender", "accent", "source", "licence", "split"):
        found = defaultdict(set)
        for row in rows():
            found[row["speaker"]].add(row[column])
        assert {len(kinds) for kinds in found.values()} == {1}


def test_every_test_sentence_has_a_pair_of_words_that_training_lacks():
    def pairs(text: str) -> set[tuple[str, str]]:
        words = text.split()
        return set(zip(words, words[1:], strict=False))

    known = set().union(*(pairs(text) for text in values("text", "train")))
    assert [text for text in values("text", "test") if pairs(text) <= known] == []


def test_every_test_word_occurs_in_training():
    known = {word for text in values("text", "train") for word in text.split()}
    assert {word for text in values("text", "test") for word in text.split()} <= known


@pytest.mark.parametrize("split", SPLITS)
def test_every_clip_decodes_to_speech_of_a_sensible_pace(split):
    corpus = MiniSpeech(split)
    assert corpus.skipped == [] and "synthetic speech" in corpus.name
    assert len(corpus) == sum(row["split"] == split for row in rows())
    for utterance in corpus:
        waveform = utterance.load()
        assert torch.isfinite(waveform).all(), utterance
        assert 0.1 < waveform.abs().max() < 1.0, utterance  # neither silent nor clipped
        assert waveform.square().mean().sqrt() > 0.005, utterance
        seconds = len(waveform) / 16_000
        assert seconds == pytest.approx(utterance.duration_seconds, abs=1e-4)
        assert 0.12 <= seconds / len(utterance.text.split()) <= 1.2, utterance


def test_a_clip_inside_a_file_is_the_same_alone_as_in_the_whole_file():
    corpus = MiniSpeech("test")
    path = corpus[0].path
    whole, rate = soundfile.read(path, dtype="float32")
    assert rate == 16_000
    for utterance in [u for u in corpus if u.path == path]:
        start = round(utterance.start_seconds * rate)
        clip = utterance.load()
        assert (clip - torch.from_numpy(whole[start : start + len(clip)])).abs().max() < 1e-4


def test_the_notice_names_what_made_the_sound_and_its_licences():
    notice = (FOLDER / "NOTICE").read_text(encoding="utf-8")
    for name in ("Kokoro-82M", "Apache", "flite", "SYNTHETIC"):
        assert name in notice
    assert "Apache License 2.0" in notice or "Apache-2.0" in notice
    sources = {(row["source"].split()[0], row["licence"]) for row in rows()}
    assert {source for source, _ in sources} == {"Kokoro-82M", "flite"}
    assert ("Kokoro-82M", "Apache-2.0") in sources
    assert all(licence in notice for source, licence in sources if source == "flite")
