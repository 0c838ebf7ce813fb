"""Exercises of notebook 02: typical mistakes are named."""

import pytest
import torch

from asrlib.exercises.spectrograms import check_bin, check_halve, check_mask, check_window


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (1600, "the window's 400 samples"),
        (2500, "256 is how many bins there are"),
        (625.0, "half of it"),
        (40 * 8000 / 257, "the steps between them are 256"),
        (40, "the number of the bin"),
        (999, "how many turns in a second"),
    ],
)
def test_a_wrong_bin_is_explained(answer, message, capsys):
    check_bin(answer)
    printed = capsys.readouterr().out
    assert printed.startswith("not yet: ") and message in printed


def cosine(size):
    return torch.cos(2 * torch.pi * torch.arange(size) / size)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (lambda size: torch.hann_window(size, periodic=False), "symmetric window"),
        (torch.hamming_window, "Hamming"),
        (torch.ones, "rectangular"),
        (lambda size: 0.5 + 0.5 * cosine(size), "upside down"),
        (lambda size: torch.sin(torch.pi * torch.arange(size) / size), "half a sine"),
        (lambda size: 1 - cosine(size), "its peak is 2.00"),
        (lambda size: torch.hann_window(size + 1), "its shape is (9,)"),
        (lambda size: torch.bartlett_window(size), "expected 0.5 - 0.5 cos"),
        (lambda size: torch.hann(size), "AttributeError"),
    ],
)
def test_a_wrong_window_is_explained(window, message, capsys):
    check_window(window)
    printed = capsys.readouterr().out
    assert printed.startswith("not yet: ") and message in printed


def masked(features, starts, width, *, value=0.0):
    features = features.clone()
    for row, start in enumerate(starts):
        features[row, :, start : start + width] = value
    return features


def draw(high):
    return int(torch.randint(high, ()))


def one_place_for_all(features, lengths, width):
    start = draw(int(lengths.min()) - width + 1)
    return masked(features, [start] * len(lengths), width)


def in_place(features, lengths, width):
    for row, length in enumerate(lengths.tolist()):
        start = draw(length - width + 1)
        features[row, :, start : start + width] = 0
    return features


def over_the_end(features, lengths, width):
    return masked(features, [draw(length) for length in lengths.tolist()], width)


def of_the_padded_width(features, lengths, width):
    return masked(features, [draw(features.shape[2] - width + 1) for _ in lengths], width)


def bands(features, lengths, width):
    features = features.clone()
    features[:, draw(2)] = 0
    return features


def scattered(features, lengths, width):
    features = features.clone()
    for row, length in enumerate(lengths.tolist()):
        features[row, :, torch.randperm(length)[:width]] = 0
    return features


def too_loud(features, lengths, width):
    starts = [draw(length - width + 1) for length in lengths.tolist()]
    return masked(features, starts, width) * 2


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (of_the_padded_width, "padding"),
        (over_the_end, "clip"),
        (in_place, "mask a clone"),
        (one_place_for_all, "at the same place: draw a start for each"),
        (lambda f, n, w: masked(f, [0] * len(n), w), "the same place each time"),
        (lambda f, n, w: masked(f, [draw(x - w + 1) for x in n.tolist()], w - 1), "expected 6"),
        (bands, "time is the last axis"),
        (scattered, "not in a row"),
        (too_loud, "outside the mask changed"),
        (lambda f, n, w: masked(f, [0, 0, 0], w)[..., :-1], "expected (3, 4, 60)"),
        (lambda f, n, w: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_wrong_mask_is_explained(mask, message, capsys):
    check_mask(mask)
    printed = capsys.readouterr().out
    assert printed.startswith("not yet: ") and message in printed


def too_low(waveform):
    spectrum = torch.fft.rfft(waveform)
    spectrum[len(spectrum) // 4 :] = 0
    return torch.fft.irfft(spectrum, len(waveform))[::2]


def without_keeping_every_second(waveform):
    spectrum = torch.fft.rfft(waveform)
    spectrum[len(spectrum) // 2 :] = 0
    return torch.fft.irfft(spectrum, len(waveform))


@pytest.mark.parametrize(
    ("halve", "message"),
    [
        (lambda waveform: waveform[::2], "folded to 2000 Hz"),
        (lambda waveform: (waveform[::2] + waveform[1::2]) / 2, "folded to"),
        (too_low, "a tone of 3000 Hz came out"),
        (without_keeping_every_second, "expected (8000,)"),
        (lambda waveform: torch.fft.rfft(waveform)[:8000].reshape(2, -1), "expected (8000,)"),
        (lambda waveform: torch.zeros(8000), "a tone of 500 Hz came out at -120 dB"),
        (lambda waveform: waveform.nothing, "AttributeError"),
    ],
)
def test_a_wrong_way_to_halve_the_rate_is_explained(halve, message, capsys):
    check_halve(halve)
    printed = capsys.readouterr().out
    assert printed.startswith("not yet: ") and message in printed
