"""asrlib.batching: every utterance once an epoch, little padding, nothing lost at the edges."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from asrlib.batching import Batch, LengthBucketSampler, SpeechDataset, batch_loader, collate
from asrlib.corpus import Utterance
from asrlib.text import Tokenizer
from tests.tones import TEXTS, tone_corpus

DURATIONS = st.lists(st.floats(0.01, 40.0), min_size=1, max_size=60)


def librispeech_like(count: int = 2700) -> list[float]:
    """Durations like dev-clean's: lognormal, 1.5 to 35 seconds, one of them the longest."""
    dice = np.random.default_rng(0)
    drawn = np.clip(dice.lognormal(mean=np.log(6.0), sigma=0.6, size=count), 1.5, 35.0)
    drawn[0] = 35.0
    return drawn.tolist()


def epoch(sampler: LengthBucketSampler, number: int) -> list[list[int]]:
    sampler.start_at(number)
    return list(sampler)


@given(DURATIONS, st.floats(1.0, 100.0), st.integers(1, 9), st.booleans(), st.integers(0, 3))
def test_every_utterance_occurs_exactly_once_an_epoch(durations, seconds, most, shuffle, number):
    sampler = LengthBucketSampler(durations, seconds, max_utterances=most, shuffle=shuffle)
    batches = epoch(sampler, number)
    assert sorted(i for batch in batches for i in batch) == list(range(len(durations)))
    assert all(0 < len(batch) <= most for batch in batches)


@given(DURATIONS, st.floats(1.0, 100.0))
def test_the_number_of_batches_never_changes(durations, seconds):
    sampler = LengthBucketSampler(durations, seconds)
    assert {len(epoch(sampler, number)) for number in range(4)} == {len(sampler)}


@given(DURATIONS, st.floats(1.0, 100.0))
def test_without_noise_a_batch_holds_at_most_batch_seconds(durations, seconds):
    for shuffle in (False, True):
        sampler = LengthBucketSampler(durations, seconds, shuffle=shuffle, noise=0.0)
        for batch in sampler:
            padded = len(batch) * max(durations[i] for i in batch)
            assert padded <= seconds or len(batch) == 1


def test_the_same_seed_gives_the_same_batches():
    durations = librispeech_like(300)
    first = LengthBucketSampler(durations, 60.0, seed=5)
    second = LengthBucketSampler(durations, 60.0, seed=5)
    assert [epoch(first, n) for n in range(3)] == [epoch(second, n) for n in range(3)]
    assert epoch(first, 0) != epoch(LengthBucketSampler(durations, 60.0, seed=6), 0)


def test_epochs_differ_in_order_and_in_neighbors():
    sampler = LengthBucketSampler(librispeech_like(300), 60.0)
    first, second = epoch(sampler, 0), epoch(sampler, 1)
    assert first != second
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    assert epoch(sampler, 0) == first  # an epoch depends on its number only


@given(DURATIONS, st.data())
def test_start_at_goes_on_exactly_where_an_epoch_stopped(durations, data):
    sampler = LengthBucketSampler(durations, 30.0)
    whole = epoch(sampler, 2)
    seen = data.draw(st.integers(0, len(whole)))
    resumed = LengthBucketSampler(durations, 30.0)
    resumed.start_at(2, seen)
    assert whole[:seen] + list(resumed) == whole


def test_buckets_pad_under_a_tenth_where_the_longest_clip_would_cost_three_times():
    durations = librispeech_like()
    sampler = LengthBucketSampler(durations, 120.0)
    for number in range(3):
        sampler.start_at(number)
        assert 1.0 < sampler.padding_waste() <= 1.10
    assert len(durations) * max(durations) / sum(durations) > 3
    one_batch = LengthBucketSampler(durations, 1e9, max_utterances=10_000)
    assert one_batch.padding_waste() == pytest.approx(len(durations) * 35.0 / sum(durations))


def test_unshuffled_batches_run_from_short_to_long():
    durations = librispeech_like(200)
    sampler = LengthBucketSampler(durations, 60.0, shuffle=False)
    order = [durations[i] for batch in sampler for i in batch]
    assert order == sorted(durations)
    assert epoch(sampler, 0) == epoch(sampler, 1)


def test_the_last_batch_is_not_dropped_though_it_is_not_full():
    sampler = LengthBucketSampler([1.0] * 10, batch_seconds=4.0, shuffle=False)
    assert [len(batch) for batch in sampler] == [4, 4, 2]
    for number in range(5):
        sizes = sorted(
            len(b) for b in epoch(LengthBucketSampler([1.0] * 10, batch_seconds=4.0), number)
        )
        assert sizes == [2, 4, 4]


def test_an_utterance_longer_than_a_batch_is_alone():
    sampler = LengthBucketSampler([1.0, 50.0, 1.0, 60.0], batch_seconds=10.0, shuffle=False)
    assert list(sampler) == [[0, 2], [1], [3]]


def test_one_utterance_is_a_corpus():
    sampler = LengthBucketSampler([3.0], batch_seconds=1.0)
    assert len(sampler) == 1 and list(sampler) == [[0]] and sampler.padding_waste() == 1.0


@pytest.mark.parametrize(
    "arguments",
    [
        {"durations": [], "batch_seconds": 10.0},
        {"durations": [1.0, 0.0], "batch_seconds": 10.0},
        {"durations": [1.0, -2.0], "batch_seconds": 10.0},
        {"durations": [1.0], "batch_seconds": 0.0},
        {"durations": [1.0], "batch_seconds": 10.0, "max_utterances": 0},
    ],
)
def test_a_plan_that_cannot_work_is_refused(arguments):
    with pytest.raises(ValueError, match="all must be positive"):
        LengthBucketSampler(**arguments)


# Batches


def item(text: str, samples: int) -> tuple[torch.Tensor, Utterance]:
    return torch.full((samples,), 0.5), Utterance(text, Path(), text, "ann", samples / 16_000)


def test_collate_pads_with_zeros_and_blanks_and_keeps_the_lengths():
    batch = collate([item("hi", 3), item("you all", 7), item("", 5)])
    assert isinstance(batch, Batch)
    assert batch.waveforms.dtype == torch.float32 and batch.waveforms.shape == (3, 7)
    assert batch.waveform_lengths.tolist() == [3, 7, 5]
    assert batch.target_lengths.tolist() == [2, 7, 0]
    texts = ["hi", "you all", ""]
    assert [u.text for u in batch.utterances] == texts
    for row, n in zip(batch.waveforms, batch.waveform_lengths, strict=True):
        assert bool((row[:n] == 0.5).all()) and bool((row[n:] == 0).all())
    tokenizer = Tokenizer()
    for row, n, text in zip(batch.targets, batch.target_lengths, texts, strict=True):
        assert tokenizer.decode(row[:n]) == text and bool((row[n:] == 0).all())


def test_a_batch_of_nothing_and_a_text_outside_the_alphabet_are_refused():
    with pytest.raises(ValueError, match="no utterances"):
        collate([])
    with pytest.raises(ValueError, match="'4'"):
        collate([item("4 cats", 5)])


def loader(utterances, **options):
    dataset = SpeechDataset(utterances)
    durations = [u.duration_seconds for u in utterances]
    return dataset, batch_loader(dataset, LengthBucketSampler(durations, **options))


def test_a_loader_gives_the_sounds_that_the_files_hold(tmp_path):
    corpus = tone_corpus(tmp_path)
    _, batches = loader(corpus, batch_seconds=3.0)
    seen = []
    for batch in batches:
        for place, utterance in enumerate(batch.utterances):
            heard = batch.waveforms[place, : batch.waveform_lengths[place]]
            assert torch.equal(heard, utterance.load())  # 16-bit files survive the 16-bit cache
            seen.append(utterance.text)
    assert sorted(seen) == sorted(TEXTS)


def test_sounds_stay_in_memory_once_read_unless_told_not_to(tmp_path):
    corpus = tone_corpus(tmp_path, TEXTS[:1])
    kept, unkept = SpeechDataset(corpus), SpeechDataset(corpus, keep_in_memory=False)
    first = kept[0][0]
    assert torch.equal(unkept[0][0], first)
    corpus[0].path.unlink()
    assert torch.equal(kept[0][0], first)
    assert unkept[0] is None


def test_loud_and_clipped_sound_survives_the_cache(tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.array([1.5, -1.5, 0.25]), 16_000, subtype="FLOAT")
    dataset = SpeechDataset([Utterance("loud", tmp_path / "loud.wav", "a", "ann", 3 / 16_000)])
    for _ in range(2):  # from the file, then from memory
        assert dataset[0][0].tolist() == [32767 / 32768, -1.0, 0.25]


def test_an_unreadable_file_is_skipped_by_name_and_its_batch_goes_on(tmp_path, capsys):
    corpus = tone_corpus(tmp_path)
    corpus[3].path.write_bytes(b"no sound any more")
    dataset, batches = loader(corpus, batch_seconds=60.0)
    [batch] = batches
    assert sorted(u.text for u in batch.utterances) == sorted({*TEXTS} - {corpus[3].text})
    assert batch.waveforms.shape[0] == batch.targets.shape[0] == len(TEXTS) - 1
    [(what, why)] = dataset.skipped
    assert what == corpus[3].id and "not a readable sound file" in why
    assert f"skipped {corpus[3].id}" in capsys.readouterr().out


def test_a_file_cut_short_after_indexing_is_skipped_by_name(tmp_path):
    corpus = tone_corpus(tmp_path)
    whole = corpus[0].path.read_bytes()
    corpus[0].path.write_bytes(whole[: len(whole) // 2])
    dataset = SpeechDataset(corpus)
    assert dataset[0] is None and "cut short" in dataset.skipped[0][1]


def test_a_batch_without_a_readable_file_is_none(tmp_path):
    corpus = tone_corpus(tmp_path)
    for utterance in corpus:
        if utterance.speaker == "bob":
            utterance.path.unlink()
    dataset, batches = loader(corpus, batch_seconds=0.1)  # one utterance a batch
    assert sum(batch is None for batch in batches) == len(TEXTS) // 2
    assert len(dataset.skipped) == len(TEXTS) // 2


def test_one_utterance_goes_through_a_loader(tmp_path):
    _, batches = loader(tone_corpus(tmp_path, TEXTS[:1]), batch_seconds=1.0)
    [batch] = batches
    assert batch.utterances[0].text == TEXTS[0] and batch.waveforms.shape[0] == 1


def test_worker_processes_give_the_same_batches(tmp_path):
    corpus = tone_corpus(tmp_path)
    sampler = LengthBucketSampler([u.duration_seconds for u in corpus], batch_seconds=2.0)
    alone = list(batch_loader(SpeechDataset(corpus), sampler))
    helped = list(batch_loader(SpeechDataset(corpus), sampler, workers=1))
    assert len(alone) == len(helped) > 1
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.waveforms, b.waveforms) and torch.equal(a.targets, b.targets)
        assert [u.id for u in a.utterances] == [u.id for u in b.utterances]
