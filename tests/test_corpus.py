"""asrlib.corpus: what is indexed, what is skipped by name, and splits that share nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from asrlib.batching import LengthBucketSampler, SpeechDataset, batch_loader
from asrlib.corpus import (
    HELD_OUT_SPEAKERS,
    Corpus,
    LibriSpeech,
    Manifest,
    MiniSpeech,
    Utterance,
    check_disjoint,
    data_root,
    has_librispeech,
    split_by_speaker,
    split_by_text,
)
from asrlib.training import TrainConfig, Trainer
from tests.tones import PLAIN, TEXTS, TINY, write_manifest


def quiet_sound(path: Path, seconds: float = 0.5, rate: int = 16_000) -> None:
    """A file of faint noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.01 * np.random.default_rng(0).standard_normal(round(seconds * rate))
    soundfile.write(path, samples, rate)


@pytest.fixture
def librispeech(tmp_path):
    """A root with two chapters of dev-clean, everything in order."""
    chapters = {
        ("84", "121"): ["GO DO YOU HEAR", "BUT IN LESS THAN FIVE MINUTES", "AT THIS MOMENT"],
        ("1272", "128"): ["MISTER QUILTER", "NOR IS MISTER QUILTER'S MANNER LESS INTERESTING"],
    }
    for (speaker, chapter), texts in chapters.items():
        folder = tmp_path / "LibriSpeech" / "dev-clean" / speaker / chapter
        lines = []
        for n, text in enumerate(texts):
            quiet_sound(folder / f"{speaker}-{chapter}-{n:04d}.flac", 0.5 + 0.25 * n)
            lines.append(f"{speaker}-{chapter}-{n:04d} {text}\n")
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    return tmp_path


def chapter_84(root: Path) -> Path:
    return root / "LibriSpeech" / "dev-clean" / "84" / "121"


def test_librispeech_is_indexed_with_lower_case_texts(librispeech):
    corpus = LibriSpeech("dev-clean", librispeech)
    assert [u.id for u in corpus] == [
        "1272-128-0000",
        "1272-128-0001",
        "84-121-0000",
        "84-121-0001",
        "84-121-0002",
    ]
    assert [u.text for u in corpus][1:3] == [
        "nor is mister quilter's manner less interesting",
        "go do you hear",
    ]
    assert [u.duration_seconds for u in corpus] == [0.5, 0.75, 0.5, 0.75, 1.0]
    assert corpus.speakers == ["1272", "84"] and corpus.skipped == []
    assert repr(corpus) == "LibriSpeech dev-clean: 5 utterances, 2 speakers, 0.00 h"
    assert [len(u.load()) for u in corpus] == [8000, 12000, 8000, 12000, 16000]


def test_a_missing_flac_is_named(librispeech, capsys):
    (chapter_84(librispeech) / "84-121-0001.flac").unlink()
    corpus = LibriSpeech("dev-clean", librispeech)
    assert len(corpus) == 4 and [what for what, _ in corpus.skipped] == ["84-121-0001.flac"]
    assert "skipped 84-121-0001.flac: in the transcripts, not on disk" in capsys.readouterr().err


def test_a_corrupt_flac_is_named(librispeech, capsys):
    (chapter_84(librispeech) / "84-121-0001.flac").write_bytes(b"this is no sound" * 20)
    corpus = LibriSpeech("dev-clean", librispeech)
    assert len(corpus) == 4 and [what for what, _ in corpus.skipped] == ["84-121-0001.flac"]
    assert "not a readable sound file" in capsys.readouterr().err


def test_a_flac_without_a_transcript_is_named(librispeech, capsys):
    quiet_sound(chapter_84(librispeech) / "84-121-0009.flac")
    corpus = LibriSpeech("dev-clean", librispeech)
    assert len(corpus) == 5 and corpus.skipped == [("84-121-0009.flac", "no transcript")]
    assert "skipped 84-121-0009.flac: no transcript" in capsys.readouterr().err


def test_a_missing_transcript_file_names_every_flac_it_left_alone(librispeech, capsys):
    (chapter_84(librispeech) / "84-121.trans.txt").unlink()
    corpus = LibriSpeech("dev-clean", librispeech)
    assert corpus.speakers == ["1272"]
    assert [what for what, _ in corpus.skipped] == [f"84-121-000{n}.flac" for n in range(3)]
    assert "84-121-0002.flac" in capsys.readouterr().err


def test_a_file_that_is_no_librispeech_name_is_skipped_by_name(librispeech):
    quiet_sound(chapter_84(librispeech) / "mine.flac")
    corpus = LibriSpeech("dev-clean", librispeech)
    assert len(corpus) == 5 and [what for what, _ in corpus.skipped] == ["mine.flac"]


def test_many_skipped_files_end_in_a_count(librispeech, capsys):
    for n in range(20, 35):
        quiet_sound(chapter_84(librispeech) / f"84-121-00{n}.flac")
    assert len(LibriSpeech("dev-clean", librispeech).skipped) == 15
    assert "skipped 5 more, see .skipped" in capsys.readouterr().err


def test_an_unknown_subset_names_the_choices(librispeech):
    with pytest.raises(ValueError, match=r"'dev-cleen'.*dev-clean.*train-clean-100"):
        LibriSpeech("dev-cleen", librispeech)


def test_a_missing_root_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ASRLIB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"nowhere.*ASRLIB_DATA.*download=True"):
        LibriSpeech("dev-clean")


def test_a_subset_without_utterances_is_refused(tmp_path):
    (tmp_path / "LibriSpeech" / "dev-clean").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="dev-clean holds no usable utterance"):
        LibriSpeech("dev-clean", tmp_path)


def test_the_environment_names_the_root(librispeech, monkeypatch):
    monkeypatch.setenv("ASRLIB_DATA", str(librispeech))
    assert data_root() == librispeech
    assert has_librispeech("dev-clean") and not has_librispeech("test-clean")
    assert len(LibriSpeech("dev-clean")) == 5
    monkeypatch.delenv("ASRLIB_DATA")
    assert data_root() == Path.home() / "asrlib-data"


def test_download_runs_only_when_asked_and_only_when_missing(librispeech, monkeypatch):
    calls = []
    monkeypatch.setattr("asrlib.corpus.download_librispeech", lambda *a: calls.append(a))
    LibriSpeech("dev-clean", librispeech, download=True)
    assert calls == []
    with pytest.raises((RuntimeError, FileNotFoundError)):  # this download brings nothing
        LibriSpeech("test-clean", librispeech, download=True)
    assert calls == [("test-clean", librispeech)]


def test_held_out_speakers_are_eight_different_ones():
    assert len(HELD_OUT_SPEAKERS) == len(set(HELD_OUT_SPEAKERS)) == 8


# Manifests


@pytest.fixture
def sounds(tmp_path):
    """A folder with sounds/one.wav (1 s) and sounds/two.wav (2 s)."""
    quiet_sound(tmp_path / "sounds" / "one.wav", 1.0)
    quiet_sound(tmp_path / "sounds" / "two.wav", 2.0)
    return tmp_path


def as_file(folder: Path, kind: str, rows: list[dict]) -> Path:
    """Write rows as a manifest of a kind."""
    path = folder / f"mine.{kind}"
    if kind == "jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        names = list(dict.fromkeys(name for row in rows for name in row))
        lines = [names] + [[str(row.get(name, "")) for name in names] for row in rows]
        text = "".join("\t".join(line) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


ROWS = [
    {"path": "sounds/one.wav", "text": "Hello, you!", "speaker": "ann", "part": "a"},
    {"path": "sounds/two.wav", "text": "It’s fine", "speaker": "bob", "part": "b"},
    {
        "path": "sounds/two.wav",
        "text": "café",
        "speaker": "bob",
        "part": "a",
        "start_seconds": 0.5,
        "duration_seconds": 0.25,
        "id": "cut",
    },
]


@pytest.mark.parametrize("kind", ["tsv", "jsonl"])
def test_a_manifest_gives_texts_places_and_speakers(sounds, kind):
    corpus = Manifest(as_file(sounds, kind, ROWS))
    assert [u.text for u in corpus] == ["hello you", "it's fine", "cafe"]
    assert [u.speaker for u in corpus] == ["ann", "bob", "bob"]
    assert [(u.start_seconds, u.duration_seconds) for u in corpus] == [(0, 1), (0, 2), (0.5, 0.25)]
    assert corpus[2].id == "cut" and len({u.id for u in corpus}) == 3
    assert corpus.name == "mine" and corpus.skipped == []


@pytest.mark.parametrize("kind", ["tsv", "jsonl"])
def test_a_part_of_a_file_is_exactly_that_part(sounds, kind):
    corpus = Manifest(as_file(sounds, kind, ROWS))
    whole = corpus[1].load()
    assert torch.equal(corpus[2].load(), whole[8000:12000])


@pytest.mark.parametrize("kind", ["tsv", "jsonl"])
def test_where_keeps_matching_rows(sounds, kind):
    path = as_file(sounds, kind, ROWS)
    assert [u.text for u in Manifest(path, part="a")] == ["hello you", "cafe"]
    assert [u.text for u in Manifest(path, part="a", speaker="bob")] == ["cafe"]
    with pytest.raises(ValueError, match=r"no usable row with \{'part': 'c'\}"):
        Manifest(path, part="c")
    with pytest.raises(ValueError, match=r"line \d: no language"):
        Manifest(path, language="en")


@pytest.mark.parametrize("kind", ["tsv", "jsonl"])
def test_a_byte_order_mark_blank_lines_and_windows_line_ends_do_no_harm(sounds, kind):
    path = as_file(sounds, kind, ROWS)
    lines = path.read_text(encoding="utf-8").splitlines()
    text = "\r\n".join([lines[0], "", *lines[1:], "", ""])
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [u.text for u in Manifest(path)] == ["hello you", "it's fine", "cafe"]


@pytest.mark.parametrize("kind", ["tsv", "jsonl"])
def test_a_digit_is_skipped_naming_line_and_character(sounds, kind, capsys):
    rows = [*ROWS, {"path": "sounds/one.wav", "text": "in 1984", "speaker": "ann", "part": "a"}]
    path = as_file(sounds, kind, rows)
    path.write_text(path.read_text(encoding="utf-8").replace("\n", "\n\n"), encoding="utf-8")
    corpus = Manifest(path)
    [(what, why)] = corpus.skipped
    line = 9 if kind == "tsv" else 7  # as an editor counts, blank lines too
    assert what == f"mine.{kind}, line {line} (sounds/one.wav)" and "character '1'" in why
    assert len(corpus) == 3 and f"skipped {what}" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["tsv", "jsonl"])
def test_a_missing_column_is_refused_with_file_and_line(sounds, kind):
    rows = [{"path": "sounds/one.wav", "speaker": "ann"}]
    with pytest.raises(ValueError, match=rf"mine\.{kind}, line {2 - (kind == 'jsonl')}: no text"):
        Manifest(as_file(sounds, kind, rows))


def test_a_line_with_too_few_columns_is_refused_with_its_number(sounds):
    path = as_file(sounds, "tsv", ROWS[:1])
    path.write_text(path.read_text() + "\nsounds/two.wav\n")
    with pytest.raises(ValueError, match=r"mine\.tsv, line 4: no part, speaker, text"):
        Manifest(path, part="a")


@pytest.mark.parametrize("broken", ["{'path': 1}", "{", "[1, 2]", '"text"', "17"])
def test_a_line_that_is_no_json_object_is_refused_with_its_number(sounds, broken):
    path = as_file(sounds, "jsonl", ROWS)
    path.write_text(path.read_text() + broken + "\n")
    with pytest.raises(ValueError, match=r"mine\.jsonl, line 4: not"):
        Manifest(path)


def test_null_is_no_text(sounds):
    path = as_file(sounds, "jsonl", [{"path": "sounds/one.wav", "text": None, "speaker": "ann"}])
    with pytest.raises(ValueError, match="line 1: no text"):
        Manifest(path)


def test_a_manifest_in_another_encoding_is_refused_by_name(sounds):
    path = as_file(sounds, "tsv", ROWS)
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    with pytest.raises(ValueError, match=r"mine\.tsv: not UTF-8"):
        Manifest(path)


@pytest.mark.parametrize(
    ("start", "duration"),
    [("-0.1", ""), ("1.0", ""), ("0.5", "0.6"), ("0", "0"), ("0", "-1"), ("nan", ""), ("x", "")],
)
def test_a_stretch_outside_the_sound_is_skipped(sounds, start, duration):
    bad = {**ROWS[0], "start_seconds": start, "duration_seconds": duration}
    corpus = Manifest(as_file(sounds, "tsv", [*ROWS, bad]))
    assert len(corpus) == 3 and len(corpus.skipped) == 1


def test_a_duration_rounded_up_can_still_be_read(sounds):
    soundfile.write(sounds / "odd.wav", np.zeros(16_007), 16_000)  # 1.0004375 s
    rows = [{"path": "odd.wav", "text": "a", "speaker": "ann", "duration_seconds": "1.001"}]
    corpus = Manifest(as_file(sounds, "tsv", rows))
    assert len(corpus[0].load()) == 16_007


def test_files_that_are_missing_empty_or_broken_are_skipped_by_name(sounds, capsys):
    (sounds / "broken.wav").write_bytes(b"RIFF and nothing else")
    soundfile.write(sounds / "empty.wav", np.zeros(0), 16_000)
    bad = ["gone.wav", "broken.wav", "empty.wav", "sounds"]
    rows = [*ROWS, *({**ROWS[0], "path": name} for name in bad)]
    corpus = Manifest(as_file(sounds, "tsv", rows))
    assert len(corpus) == 3 and len(corpus.skipped) == 4
    report = capsys.readouterr().err
    assert all(name in what for name, (what, _) in zip(bad, corpus.skipped, strict=True))
    assert all(f"({name})" in report for name in bad)


def test_a_manifest_without_a_usable_row_says_why(sounds):
    with pytest.raises(ValueError, match=r"no usable row.*gone\.wav"):
        Manifest(as_file(sounds, "tsv", [{**ROWS[0], "path": "gone.wav"}]))
    with pytest.raises(FileNotFoundError, match=r"none\.tsv: no such file"):
        Manifest(sounds / "none.tsv")


def test_an_id_that_occurs_twice_is_refused(sounds):
    rows = [{**ROWS[0], "id": "same"}, {**ROWS[1], "id": "same"}]
    with pytest.raises(ValueError, match=r"line 3: id 'same'"):
        Manifest(as_file(sounds, "tsv", rows))


def test_an_absolute_path_and_another_sample_rate_work(sounds):
    quiet_sound(sounds / "deep" / "slow.wav", 1.0, rate=44_100)
    row = {"path": str(sounds / "deep" / "slow.wav"), "text": "a", "speaker": "ann"}
    corpus = Manifest(as_file(sounds, "jsonl", [row]))
    assert corpus[0].duration_seconds == 1.0 and len(corpus[0].load()) == 16_000


def test_one_manifest_goes_through_split_batches_and_a_training_step(tmp_path):
    corpus = Manifest(write_manifest(tmp_path))
    train, held_out = split_by_speaker(corpus, ["bob"])
    assert len(train) + len(held_out) == len(TEXTS)
    sampler = LengthBucketSampler([u.duration_seconds for u in train], batch_seconds=60.0)
    [batch] = batch_loader(SpeechDataset(train), sampler)
    assert {u.speaker for u in batch.utterances} == {"ann"}
    trainer = Trainer(TINY, TrainConfig(**PLAIN), train, held_out, device="cpu")
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    row = trainer.train_step(batch)
    assert row is not None and 0 < row["loss"] < 100
    assert not any(torch.equal(before[n], p) for n, p in trainer.model.named_parameters())


# Splits


def utterances(pairs) -> list[Utterance]:
    return [Utterance(f"u{n}", Path(), text, who, 1.0) for n, (who, text) in enumerate(pairs)]


PAIRS = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("vwxyz")), min_size=1)


@given(PAIRS, st.sets(st.sampled_from("abcde")))
def test_split_by_speaker_shares_no_speaker_and_loses_nothing(pairs, held_out):
    corpus = Corpus("c", utterances(pairs))
    speakers = set(corpus.speakers)
    if not held_out or not held_out < speakers:
        with pytest.raises(ValueError):
            split_by_speaker(corpus, held_out)
        return
    first, second = split_by_speaker(corpus, held_out)
    assert set(second.speakers) == held_out and set(first.speakers) == speakers - held_out
    assert sorted(u.id for u in [*first, *second]) == sorted(u.id for u in corpus)


@given(PAIRS, st.floats(0, 1), st.integers(0, 3))
def test_split_by_text_shares_no_text_and_loses_nothing(pairs, share, seed):
    corpus = Corpus("c", utterances(pairs))
    texts = {u.text for u in corpus}
    if not 0 < round(share * len(texts)) < len(texts):
        with pytest.raises(ValueError, match="both sides need some"):
            split_by_text(corpus, share, seed)
        return
    first, second = split_by_text(corpus, share, seed)
    assert not {u.text for u in first} & {u.text for u in second}
    assert len({u.text for u in second}) == round(share * len(texts))
    assert sorted(u.id for u in [*first, *second]) == sorted(u.id for u in corpus)
    again = split_by_text(corpus, share, seed)
    assert [u.id for u in again[1]] == [u.id for u in second]


def test_check_disjoint_names_an_example():
    first = Corpus("one", utterances([("ann", "hello"), ("bob", "you")]))
    second = Corpus("two", utterances([("cy", "hello"), ("dan", "me")]))
    check_disjoint(first, second, "speaker")
    with pytest.raises(ValueError, match="one and two share 1 texts, for instance 'hello'"):
        check_disjoint(first, second, "speaker", "text")


def test_an_unknown_speaker_is_named():
    corpus = Corpus("c", utterances([("ann", "x"), ("bob", "y")]))
    with pytest.raises(ValueError, match="c has no speaker 'eve'"):
        corpus.select(["ann", "eve"])
    with pytest.raises(ValueError, match="'eve'"):
        split_by_speaker(corpus, ["eve"])


def test_a_corpus_is_a_sequence_and_a_slice_of_it_a_corpus():
    corpus = Corpus("c", utterances([("ann", "x"), ("bob", "y"), ("ann", "z")]))
    assert corpus[-1].text == "z" and isinstance(corpus[1:], Corpus)
    assert [u.text for u in corpus[1:]] == ["y", "z"] and corpus.seconds == 3.0
    assert corpus[1] in corpus and len(corpus.select(["ann"])) == 2


def test_an_unknown_split_of_minispeech_names_the_choices():
    with pytest.raises(ValueError, match=r"'valid'; choose train, dev, test, unseen"):
        MiniSpeech("valid")
