"""The real thing: LibriSpeech dev-clean as the course uses it (ASRLIB_DATA names its root)."""

import os
from pathlib import Path

import pytest
import torch

from asrlib.batching import LengthBucketSampler, SpeechDataset, batch_loader
from asrlib.corpus import (
    HELD_OUT_SPEAKERS,
    LibriSpeech,
    check_disjoint,
    has_librispeech,
    librispeech_training_data,
    split_by_speaker,
    split_by_text,
)
from asrlib.ctc import required_frames
from asrlib.features import FeatureConfig, FeatureExtractor
from asrlib.model import ModelConfig, SpeechRecognitionModel, output_lengths
from asrlib.objective import ctc_losses
from asrlib.text import Tokenizer

ROOT = Path(os.environ.get("ASRLIB_DATA", ""))
pytestmark = pytest.mark.skipif(
    "ASRLIB_DATA" not in os.environ or not has_librispeech("dev-clean", ROOT),
    reason="needs LibriSpeech dev-clean: set ASRLIB_DATA to the folder of LibriSpeech/dev-clean",
)


@pytest.fixture(scope="module")
def dev_clean():
    return LibriSpeech("dev-clean", ROOT)


def test_dev_clean_is_complete(dev_clean):
    assert repr(dev_clean) == "LibriSpeech dev-clean: 2703 utterances, 40 speakers, 5.39 h"
    assert dev_clean.skipped == []
    assert len({utterance.id for utterance in dev_clean}) == 2703


def test_held_out_speakers_are_four_women_and_four_men_of_dev_clean():
    gender, subset = {}, {}
    for line in (ROOT / "LibriSpeech" / "SPEAKERS.TXT").read_text(encoding="utf-8").splitlines():
        if not line.startswith(";"):
            fields = [field.strip() for field in line.split("|")]
            gender[fields[0]], subset[fields[0]] = fields[1:3]
    assert {subset[speaker] for speaker in HELD_OUT_SPEAKERS} == {"dev-clean"}
    assert sorted(gender[speaker] for speaker in HELD_OUT_SPEAKERS) == list("FFFFMMMM")


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("dev-clean", "2123 utterances, 32 speakers, 4.31 h"),
        ("dev-clean-whole", "2703 utterances, 40 speakers, 5.39 h"),
        ("8h", "3535 utterances, 47 speakers, 7.38 h"),
        ("8h-whole", "4115 utterances, 55 speakers, 8.46 h"),
    ],
)
def test_the_recipes_of_the_results_learn_from_what_they_say(name, facts):
    if name.startswith("8h") and not has_librispeech("train-clean-100", ROOT):
        pytest.skip("needs dev-other and train-clean-100 in ASRLIB_DATA, too")
    train_set, held_out = librispeech_training_data(name, root=ROOT)
    assert repr(train_set) == f"LibriSpeech {name}: {facts}"
    assert held_out.speakers == sorted(HELD_OUT_SPEAKERS)
    if not name.endswith("-whole"):
        check_disjoint(train_set, held_out, "speaker")


def test_the_split_to_choose_on_shares_no_speaker_text_or_id(dev_clean):
    train, held_out = split_by_speaker(dev_clean, HELD_OUT_SPEAKERS)
    check_disjoint(train, held_out, "speaker", "text", "id")
    assert held_out.speakers == sorted(HELD_OUT_SPEAKERS) and len(train.speakers) == 32
    assert len(train) + len(held_out) == 2703
    assert 0.15 < held_out.seconds / dev_clean.seconds < 0.25
    check_disjoint(*split_by_text(dev_clean, 0.1), "text", "id")


def test_buckets_pad_a_tenth_where_the_longest_clip_would_cost_four_times(dev_clean):
    durations = [utterance.duration_seconds for utterance in dev_clean]
    sampler = LengthBucketSampler(durations, 120.0)
    for epoch in range(3):
        sampler.start_at(epoch)
        assert 1.0 < sampler.padding_waste() <= 1.10
    to_the_longest = len(durations) * max(durations) / sum(durations)
    assert to_the_longest == pytest.approx(4.55, abs=0.05)


def test_every_text_is_in_the_alphabet(dev_clean):
    tokenizer = Tokenizer()
    for utterance in dev_clean:
        assert tokenizer.decode(tokenizer.encode(utterance.text)) == utterance.text != ""


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_every_utterance_has_a_ctc_path(dev_clean, preset):
    tokenizer, config = Tokenizer(), ModelConfig.preset(preset)
    hop = FeatureConfig().hop_length
    for utterance in dev_clean:
        frames = output_lengths(int(utterance.duration_seconds * 16_000) // hop + 1, config)
        assert required_frames(tokenizer.encode(utterance.text)) <= frames, utterance


def test_one_batch_goes_through_the_small_network(dev_clean):
    few = sorted(dev_clean, key=lambda utterance: utterance.duration_seconds)[:600:150]
    sampler = LengthBucketSampler([u.duration_seconds for u in few], batch_seconds=60.0)
    [batch] = batch_loader(SpeechDataset(few), sampler)
    model = SpeechRecognitionModel(ModelConfig.preset("small"))
    features, frame_lengths = FeatureExtractor()(batch.waveforms, batch.waveform_lengths)
    log_probs, lengths = model(features, frame_lengths)
    losses = ctc_losses(log_probs, lengths, batch.targets, batch.target_lengths)
    assert torch.isfinite(losses).all() and bool((losses > 0).all())  # 0: there was no path
    losses.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
