"""Log-mel spectrograms and their augmentation, against torchaudio."""

import math

import pytest
import torch
import torchaudio
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from asrlib.features import (
    FeatureConfig,
    FeatureExtractor,
    LogMelSpectrogram,
    SpecAugment,
    frame_to_seconds,
    hz_to_mel,
    mel_filters,
    normalize,
    speed_perturb,
    valid_mask,
)

CONFIGS = [
    FeatureConfig(),
    FeatureConfig(n_mels=128, n_fft=1024, hop_length=200),
    FeatureConfig(n_mels=40, n_fft=400, win_length=320, hop_length=100),
]


def torchaudio_log_mel(waveforms, config, pad_mode="constant"):
    mel = torchaudio.transforms.MelSpectrogram(
        sample_rate=16_000,
        n_fft=config.n_fft,
        win_length=config.win_length,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
        power=2.0,
        center=True,
        pad_mode=pad_mode,
        norm=None,
        mel_scale="htk",
    )
    return torch.log(mel(waveforms) + 1e-6)[:, None]


def alone_and_in_a_batch(extract, waveform, filler=0.0, longest=30_000):
    """Features of a waveform by itself, and between two neighbors with padding after it."""
    lengths = torch.tensor([longest, len(waveform), longest // 2])
    batch = torch.randn(3, longest)
    batch[1] = filler
    batch[1, : len(waveform)] = waveform
    alone, frames = extract(waveform[None], lengths[1:2])
    together, all_frames = extract(batch, lengths)
    assert frames.tolist() == all_frames[1:2].tolist() == [alone.shape[-1]]
    return alone[0], together[1, ..., : alone.shape[-1]]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("samples", [1, 159, 160, 161, 8_000, 16_001])
def test_log_mels_equal_torchaudio(config, samples):
    waveforms = torch.rand(2, samples) * 2 - 1
    features, _ = LogMelSpectrogram(config)(waveforms, torch.tensor([samples, samples]))
    expected = torchaudio_log_mel(waveforms, config)
    torch.testing.assert_close(features, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize(("n_mels", "n_fft"), [(80, 512), (128, 1024), (23, 256), (40, 400)])
def test_mel_filters_equal_torchaudio(n_mels, n_fft):
    expected = torchaudio.functional.melscale_fbanks(
        n_fft // 2 + 1, 0.0, 8_000.0, n_mels, 16_000, norm=None, mel_scale="htk"
    )
    torch.testing.assert_close(mel_filters(n_mels, n_fft), expected, atol=1e-4, rtol=0)


def test_the_mel_scale_gives_equal_steps_to_equal_ratios_far_up():
    assert hz_to_mel(0) == 0
    assert hz_to_mel(1000) == pytest.approx(1000, abs=0.1)
    step = hz_to_mel(80_000) - hz_to_mel(40_000)
    assert step == pytest.approx(2595 * math.log10(2), rel=0.02)


def test_a_tone_lights_up_the_filter_at_its_frequency():
    sound = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)
    features, _ = LogMelSpectrogram()(sound[None], torch.tensor([16_000]))
    expected = hz_to_mel(1000) / (hz_to_mel(8000) / 81) - 1  # centers are 81st parts of the scale
    assert abs(int(features[0, 0, :, 50].argmax()) - expected) <= 1


@given(st.integers(1, 5000), st.sampled_from([100, 160, 200]))
def test_frame_lengths_are_the_real_number_of_frames(samples, hop):
    config = FeatureConfig(hop_length=hop)
    features, lengths = LogMelSpectrogram(config)(torch.zeros(1, samples), torch.tensor([samples]))
    assert lengths.tolist() == [features.shape[-1]] == [samples // hop + 1]


@pytest.mark.parametrize("samples", [1, 16_000, 40 * 16_000])
def test_the_shortest_and_the_longest_have_finite_features(samples):
    features, lengths = FeatureExtractor()(torch.randn(1, samples), torch.tensor([samples]))
    assert features.shape == (1, 1, 80, samples // 160 + 1)
    assert torch.isfinite(features).all()


def by_utterance():
    return FeatureExtractor(FeatureConfig.preset("tiny"))


@pytest.mark.parametrize("extractor", [LogMelSpectrogram, FeatureExtractor, by_utterance])
@pytest.mark.parametrize("filler", [0.0, 100.0, math.nan, math.inf])
@pytest.mark.parametrize("samples", [1, 200, 15_987, 29_999])
def test_alone_equals_in_a_batch_whatever_the_padding_holds(extractor, filler, samples):
    alone, together = alone_and_in_a_batch(extractor(), torch.randn(samples) * 0.1, filler)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_reflected_edges_would_depend_on_the_batch():
    # Why pad_mode is "constant": with torchaudio's default, the last frames of an utterance alone
    # see its own end mirrored, in a batch they see zeros.
    def reflecting(waveforms, lengths):
        return torchaudio_log_mel(waveforms, FeatureConfig(), "reflect"), lengths // 160 + 1

    alone, together = alone_and_in_a_batch(reflecting, torch.randn(16_000) * 0.1)
    assert (together - alone).abs().max() > 0.1


def test_the_order_of_a_batch_only_orders_the_features():
    waveforms, lengths = torch.randn(4, 5000), torch.tensor([5000, 4000, 321, 1])
    order = torch.tensor([2, 0, 3, 1])
    features, frames = FeatureExtractor()(waveforms, lengths)
    shuffled, shuffled_frames = FeatureExtractor()(waveforms[order], lengths[order])
    torch.testing.assert_close(shuffled, features[order], atol=1e-5, rtol=0)
    assert torch.equal(shuffled_frames, frames[order])


def test_normalized_bands_have_mean_0_and_variance_1_over_real_frames_only():
    features = torch.randn(2, 1, 80, 90) * 3 + torch.arange(80.0)[:, None]
    features[1, ..., 60:] = math.nan
    normalized = normalize(features, torch.tensor([90, 60]))
    for row, length in enumerate((90, 60)):
        real = normalized[row, ..., :length]
        assert real.mean(dim=-1).abs().max() < 1e-5
        assert (real.square().mean(dim=-1) - 1).abs().max() < 1e-4
    assert (normalized[1, ..., 60:] == 0).all()


def test_normalized_utterances_have_mean_0_and_variance_1_over_real_frames_only():
    features = torch.randn(2, 1, 80, 90) * 3 + torch.arange(80.0)[:, None]
    features[1, ..., 60:] = math.nan
    normalized = normalize(features, torch.tensor([90, 60]), over="utterance")
    for row, length in enumerate((90, 60)):
        real = normalized[row, ..., :length]
        assert real.mean().abs() < 1e-5
        assert (real.square().mean() - 1).abs() < 1e-4
        assert real.mean(dim=-1).abs().max() > 1  # the shape of the spectrum stays
    assert (normalized[1, ..., 60:] == 0).all()


@pytest.mark.parametrize("over", ["band", "utterance"])
@pytest.mark.parametrize("samples", [1, 16_000, 40 * 16_000])
def test_silence_becomes_zeros(samples, over):
    waveforms, lengths = torch.zeros(1, samples), torch.tensor([samples])
    extractor = FeatureExtractor(FeatureConfig(normalize=over))
    assert (extractor(waveforms, lengths)[0] == 0).all()
    log_mel, _ = LogMelSpectrogram()(waveforms, lengths)
    torch.testing.assert_close(log_mel, torch.full_like(log_mel, math.log(1e-6)))


def test_the_level_of_the_microphone_is_taken_away():
    waveforms, lengths = torch.randn(1, 16_000), torch.tensor([16_000])
    loud, _ = FeatureExtractor()(waveforms, lengths)
    quiet, _ = FeatureExtractor()(0.1 * waveforms, lengths)
    torch.testing.assert_close(quiet, loud, atol=0.01, rtol=0)


def test_normalization_can_be_switched_off():
    waveforms, lengths = torch.randn(1, 800), torch.tensor([800])
    raw, _ = FeatureExtractor(FeatureConfig(normalize="none"))(waveforms, lengths)
    assert torch.equal(raw, LogMelSpectrogram()(waveforms, lengths)[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_mels": 128, "n_fft": 400}, "n_mels=128 leaves 4 mel filters empty at n_fft=400"),
        ({"win_length": 600}, "win_length=600 is longer than n_fft=512"),
        ({"hop_length": 0}, "hop_length=0 must be at least 1"),
        ({"n_mels": -1}, "n_mels=-1 must be at least 1"),
        ({"normalize": "bands"}, "normalize='bands': choose band, utterance or none"),
    ],
)
def test_bad_settings_are_refused_with_their_values(settings, message):
    with pytest.raises(ValueError, match=message):
        FeatureConfig(**settings)


@pytest.mark.parametrize("lengths", [[0, 5], [5, 11], [-1, 5]])
def test_lengths_outside_the_waveforms_are_refused(lengths):
    with pytest.raises(ValueError, match=r"must lie in 1\.\.10"):
        LogMelSpectrogram()(torch.zeros(2, 10), torch.tensor(lengths))


def test_wrong_shapes_are_refused_in_tests_by_type_and_without_the_checker_by_message(request):
    # This also shows that the import hook of conftest.py works: without it the first call would
    # raise the ValueError.
    with pytest.raises(TypeCheckError):
        LogMelSpectrogram()(torch.zeros(2, 10), torch.tensor([10]))
    request.getfixturevalue("unchecked_types")
    for waveforms in (torch.zeros(2, 10), torch.zeros(10), torch.zeros(1, 1, 10)):
        with pytest.raises(ValueError, match=r"expected \(batch, samples\) and \(batch,\)"):
            LogMelSpectrogram()(waveforms, torch.zeros(3, dtype=torch.int64))


def test_the_mask_is_true_where_real():
    expected = [[False, False], [True, False], [True, True]]
    assert valid_mask(torch.tensor([0, 1, 2]), 2).tolist() == expected


def masked(augment, lengths, frames=200, n_mels=80):
    """Where SpecAugment hides frames and bands: (batch, frames) and (batch, n_mels), bool."""
    ones = torch.ones(len(lengths), 1, n_mels, frames)
    hidden = augment.train()(ones, torch.tensor(lengths))[:, 0] == 0
    return hidden.all(dim=1), hidden.all(dim=2)


def test_augmentation_does_nothing_outside_training():
    features = torch.randn(4, 1, 80, 100)
    augment = SpecAugment(time_fraction=1.0).eval()
    assert torch.equal(augment(features, torch.full((4,), 100)), features)


def test_augmentation_in_training_hides_and_leaves_its_input_alone():
    features = torch.ones(4, 1, 80, 100)
    augmented = SpecAugment().train()(features, torch.full((4,), 100))
    assert (augmented == 0).any()
    assert (features == 1).all()
    assert torch.equal(augmented, augmented.round())  # what is not hidden is not changed


def test_time_masks_lie_inside_each_true_length():
    # Without bands, a frame is hidden only by a time mask; 512 rows of eight lengths.
    lengths = [1, 7, 20, 50, 99, 100, 150, 200] * 64
    hidden, _ = masked(SpecAugment(frequency_masks=0, time_fraction=0.5), lengths)
    assert not (hidden & ~valid_mask(torch.tensor(lengths), 200)).any()
    # ... and they reach both ends of it, or the test above would hold for masks near the start.
    for length in (50, 100, 200):
        rows = hidden[torch.tensor(lengths) == length]
        assert rows[:, :5].any()
        assert rows[:, length - 5 : length].any()


def test_time_masks_are_no_longer_than_their_share():
    hidden, _ = masked(
        SpecAugment(frequency_masks=0, time_masks=1, time_fraction=0.1), [200, 105] * 200
    )
    widths = hidden.sum(dim=1)
    assert widths[::2].max() == 20
    assert widths[1::2].max() == 10  # a tenth of 105, rounded down
    assert widths.min() == 0
    edges = hidden.int().diff(dim=1).abs().sum(dim=1) + hidden[:, 0] + hidden[:, -1]
    assert (edges <= 2).all()  # one stretch, in one piece


def test_bands_are_no_wider_than_asked():
    _, hidden = masked(
        SpecAugment(frequency_masks=1, frequency_width=10, time_masks=0), [200] * 400
    )
    widths = hidden.sum(dim=1)
    assert widths.max() == 10
    assert widths.min() == 0
    assert hidden[:, 0].any()
    assert hidden[:, -1].any()


def test_a_band_wider_than_the_picture_is_legal():
    _, hidden = masked(SpecAugment(1, 100, 0), [30] * 100, frames=30, n_mels=20)
    assert hidden.all(dim=1).any()  # now and then everything is hidden


def test_each_row_gets_its_own_masks():
    frames, bands = masked(SpecAugment(), [200] * 8)
    assert len({tuple(row) for row in frames.tolist()}) == 8
    assert len({tuple(row) for row in bands.tolist()}) > 4


def test_the_same_seed_draws_the_same_masks():
    features, lengths = torch.ones(4, 1, 80, 100), torch.full((4,), 100)
    draws = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        draws.append(SpecAugment().train()(features, lengths))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("settings", [{"time_masks": -1}, {"time_fraction": 1.1}])
def test_bad_augmentation_settings_are_refused(settings):
    with pytest.raises(ValueError, match="SpecAugment takes"):
        SpecAugment(**settings)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.1, 1.25, 2.0])
def test_speed_changes_the_lengths_by_its_factor(factor):
    lengths = torch.tensor([16_000, 12_345, 1])
    waveforms, new_lengths = speed_perturb(torch.randn(3, 16_000), lengths, factor)
    hundredths = round(factor * 100)
    assert new_lengths.tolist() == [-(-100 * n // hundredths) for n in lengths.tolist()]
    assert waveforms.shape == (3, int(new_lengths.max()))


@pytest.mark.parametrize(("factor", "hertz"), [(1.1, 484), (0.9, 396), (1.0, 440)])
def test_speed_changes_the_pitch_as_a_tape_would(factor, hertz):
    sound = torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)
    waveforms, lengths = speed_perturb(sound[None], torch.tensor([16_000]), factor)
    spectrum = torch.fft.rfft(waveforms[0] * torch.hann_window(len(waveforms[0]))).abs()
    assert int(spectrum.argmax()) * 16_000 / int(lengths[0]) == pytest.approx(hertz, abs=1.5)


def test_speed_alone_equals_in_a_batch():
    lengths = torch.tensor([9000, 5003])
    waveforms = torch.randn(2, 9000) * valid_mask(lengths, 9000)
    together, new_lengths = speed_perturb(waveforms, lengths, 1.1)
    alone, new_length = speed_perturb(waveforms[1:, :5003], lengths[1:], 1.1)
    assert new_length.tolist() == new_lengths[1:].tolist()
    torch.testing.assert_close(together[1:, : int(new_length)], alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("factor", [0.49, 2.01, -1.0])
def test_an_extreme_speed_is_refused(factor):
    with pytest.raises(ValueError, match=r"outside 0\.5\.\.2"):
        speed_perturb(torch.zeros(1, 10), torch.tensor([10]), factor)


def test_frames_are_centered_on_multiples_of_the_hop():
    assert frame_to_seconds(0) == 0
    assert frame_to_seconds(100) == 1.0
    assert frame_to_seconds(25, hop_length=160, stride=4) == 1.0
    # A click lights up the frame at its time most.
    waveform = torch.zeros(1, 16_000)
    waveform[0, 8_000] = 1.0
    features, _ = LogMelSpectrogram()(waveform, torch.tensor([16_000]))
    assert frame_to_seconds(int(features.sum(dim=(0, 1, 2)).argmax())) == 0.5
