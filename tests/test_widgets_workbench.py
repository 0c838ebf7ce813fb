"""The workbench without a browser: what the knobs do to picture and sound."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from asrlib.corpus import MiniSpeech
from asrlib.features import FeatureConfig, FeatureExtractor, LogMelSpectrogram
from asrlib.widgets import SpectrogramWorkbench
from asrlib.widgets.workbench import Settings, what_the_network_gets


@pytest.fixture(scope="module")
def speech():
    return MiniSpeech("dev")[0].load()


def log_mel(sound, config=FeatureConfig()):
    return LogMelSpectrogram(config)(sound[None], torch.tensor([len(sound)]))[0][0, 0]


@pytest.mark.parametrize("over", ["none", "utterance", "band"])
def test_the_picture_is_what_the_network_is_given(speech, over):
    config = FeatureConfig(n_mels=64, hop_length=200, normalize=over)
    features, sound = what_the_network_gets(speech, Settings(config))
    expected, _ = FeatureExtractor(config)(speech[None], torch.tensor([len(speech)]))
    torch.testing.assert_close(features, expected[0, 0], atol=1e-5, rtol=0)
    assert sound.shape == speech.shape
    assert sound.abs().max() == pytest.approx(float(speech.abs().max()), rel=1e-4)


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("over", ["none", "utterance"])
def test_the_sound_has_the_features_of_the_picture(speech, over, log):
    _, sound = what_the_network_gets(speech, Settings(FeatureConfig(normalize=over), log=log))
    picture, again = log_mel(speech), log_mel(sound)
    loud = picture > picture.max() - 8
    difference = (again - picture)[loud]
    assert (difference - difference.median()).abs().mean() < 0.6  # up to its level
    assert torch.corrcoef(torch.stack([picture[loud], again[loud]]))[0, 1] > 0.9


def test_by_band_the_color_of_the_sound_is_gone(speech):
    _, kept = what_the_network_gets(speech, Settings(FeatureConfig(normalize="utterance")))
    _, gone = what_the_network_gets(speech, Settings(FeatureConfig(normalize="band")))
    means = [log_mel(sound).mean(dim=1) for sound in (kept, gone)]
    assert means[1].std() < 0.5 * means[0].std()


def test_few_bands_lose_what_many_keep(speech):
    picture = log_mel(speech)
    errors = []
    for n_mels in (12, 80):
        _, sound = what_the_network_gets(speech, Settings(FeatureConfig(n_mels, normalize="none")))
        errors.append(float((log_mel(sound) - picture)[picture > 0].abs().mean()))
    assert errors[0] > 1.5 * errors[1]


def test_holes_are_seen_and_heard_and_follow_the_seed(speech):
    config = FeatureConfig(hop_length=80, normalize="utterance")
    before = torch.get_rng_state()
    full, whole = what_the_network_gets(speech, Settings(config))
    cut, holes = what_the_network_gets(speech, Settings(config, time_masks=10, seed=3))
    assert torch.equal(torch.get_rng_state(), before)  # the reader's dice stay as they are
    hidden = (cut == 0).all(dim=0)  # (frames,)
    assert 0 < hidden.sum() < 0.6 * len(hidden) and torch.equal(cut[:, ~hidden], full[:, ~hidden])
    # Where no window reaches out of a hole, all bands sound alike.
    inside = torch.nn.functional.avg_pool1d(hidden[None].float(), 7, 1, 3)[0] == 1
    uneven = [log_mel(sound, config)[:, inside].std(dim=0).mean() for sound in (whole, holes)]
    assert inside.sum() > 20 and uneven[1] < 0.5 * uneven[0]
    again, _ = what_the_network_gets(speech, Settings(config, time_masks=10, seed=3))
    other, _ = what_the_network_gets(speech, Settings(config, time_masks=10, seed=4))
    assert torch.equal(again, cut) and not torch.equal(other, cut)
    bands, _ = what_the_network_gets(speech, Settings(config, frequency_masks=2, seed=1))
    assert (bands == 0).all(dim=1).any()


def test_a_sound_whose_end_no_window_reaches():
    # The last window is centered at 3840 and reaches 200 samples on; the sound, 319.
    settings = Settings(FeatureConfig(hop_length=320, normalize="none"))
    _, sound = what_the_network_gets(torch.rand(3840 + 319) - 0.5, settings)
    assert sound.shape == (4159,) and bool(torch.isfinite(sound).all())


def test_holes_without_normalization_are_explained(speech):
    bench = SpectrogramWorkbench(speech)
    bench.controls["SpecAugment"].value = True
    assert "here the holes stand out" in bench._message.value and bench.problem == ""
    bench.controls["normalize"].value = "utterance"
    assert "holes" not in bench._message.value


def test_every_knob_turns(speech):
    bench = SpectrogramWorkbench(speech)
    assert bench.settings == Settings() and bench.problem == ""
    seen = [bench.features]
    for name, value in [
        ("n_fft", 1024), ("win_length", 800), ("hop_length", 320), ("n_mels", 40), ("log", False),
        ("log", True), ("normalize", "band"), ("SpecAugment", True), ("seed", 2),
        ("frequency_masks", 3), ("time_masks", 2), ("SpecAugment", False),
    ]:  # fmt: skip
        bench.controls[name].value = value
        assert bench.problem == "" and "role" in bench._message.value
        assert not any(torch.equal(bench.features, picture) for picture in seen[-1:]), name
        seen.append(bench.features)
    config = FeatureConfig(40, 1024, 800, 320, "band")
    assert bench.settings == Settings(config, seed=2)
    assert torch.equal(bench.features, what_the_network_gets(speech, bench.settings)[0])


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ({"win_length": 800}, "win_length=800 is longer than n_fft=512"),
        ({"n_fft": 256}, "win_length=400 is longer than n_fft=256"),
        ({"hop_length": 400}, "hop_length=400 must be shorter than win_length=400"),
        ({"n_mels": 128}, "n_mels=128 leaves"),
    ],
)
def test_what_does_not_fit_is_said_and_the_last_state_stays(speech, turns, words):
    bench = SpectrogramWorkbench(speech)
    features, sound = bench.features, bench.sound
    for name, value in turns.items():
        bench.controls[name].value = value
    assert bench.problem.startswith(words) and words in bench._message.value
    assert "Below is still what came before" in bench._message.value
    assert bench.features is features and bench.sound is sound and bench.settings == Settings()
    bench.controls["n_mels"].value = 40
    bench.controls["n_fft"].value = 1024
    bench.controls["hop_length"].value = 160
    assert bench.problem == "" and "do not fit" not in bench._message.value


def test_silence_and_shortest_sounds_work():
    bench = SpectrogramWorkbench(torch.zeros(3200))
    for name, value in [
        ("n_fft", 2048),
        ("win_length", 1600),
        ("log", False),
        ("normalize", "band"),
    ]:
        bench.controls[name].value = value
    assert bench.problem == "" and bool(torch.isfinite(bench.sound).all())


@pytest.mark.parametrize(
    ("waveform", "options", "message"),
    [
        (torch.zeros(3199), {}, r"waveform: 0\.20 s; use 0\.2 to 10 s"),
        (torch.zeros(160_001), {}, r"waveform: 10\.00 s; use 0\.2 to 10 s"),
        (np.full(16000, np.nan), {}, "waveform: 16000 samples are NaN"),
        (torch.zeros(16000), {"settings": Settings(FeatureConfig(hop_length=500))}, "hop_length"),
    ],
)
def test_bad_input_is_named(waveform, options, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        SpectrogramWorkbench(waveform, **options)


def test_the_knobs_show_the_first_settings():
    config = FeatureConfig(n_mels=60, n_fft=768, win_length=600, hop_length=150, normalize="band")
    settings = Settings(config, log=False, frequency_masks=1, time_masks=12, seed=30)
    bench = SpectrogramWorkbench(torch.rand(8000), settings=settings)
    values = {name: control.value for name, control in bench.controls.items()}
    assert values == {
        "win_length": 600, "hop_length": 150, "n_fft": 768, "n_mels": 60, "log": False,
        "normalize": "band", "SpecAugment": True, "frequency_masks": 1, "time_masks": 12,
        "seed": 30,
    }  # fmt: skip


def test_no_figure_stays_open(speech):
    bench = SpectrogramWorkbench(speech)
    bench._ipython_display_()
    bench.controls["n_mels"].value = 40
    assert plt.get_fignums() == []
