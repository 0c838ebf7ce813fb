"""Sound files in and out, the good and the broken ones."""

import io

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from asrlib.audio import SAMPLE_RATE, as_waveform, read, resample, wav_bytes, write


def tone(hertz, seconds, rate=SAMPLE_RATE):
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(round(seconds * rate)) / rate)


def loudest_hertz(waveform, rate=SAMPLE_RATE):
    spectrum = torch.fft.rfft(waveform * torch.hann_window(len(waveform))).abs()
    return int(spectrum.argmax()) * rate / len(waveform)


@pytest.fixture
def noise():
    return torch.rand(16_000) * 2 - 1


@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_reading_a_lossless_file_gives_its_samples(tmp_path, noise, extension):
    samples = (noise * 32767).to(torch.int16)
    soundfile.write(tmp_path / f"clip.{extension}", samples.numpy(), SAMPLE_RATE)
    waveform = read(tmp_path / f"clip.{extension}")
    assert waveform.dtype == torch.float32
    assert torch.equal(waveform, samples.float() / 32768)


@pytest.mark.parametrize("extension", ["ogg", "mp3"])
def test_reading_a_lossy_file_gives_its_sound(tmp_path, extension):
    sound = tone(440, 1.0)
    soundfile.write(tmp_path / f"clip.{extension}", sound.numpy(), SAMPLE_RATE)
    waveform = read(tmp_path / f"clip.{extension}")
    assert abs(len(waveform) - len(sound)) < 2500  # MP3 may pad a frame or two
    assert loudest_hertz(waveform) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(("start", "count"), [(0, 1), (1, 7), (12_345, 3_655), (15_999, 1)])
@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_reading_a_part_is_exact_to_the_sample(tmp_path, noise, extension, start, count):
    soundfile.write(tmp_path / f"clip.{extension}", noise.numpy(), SAMPLE_RATE)
    path = tmp_path / f"clip.{extension}"
    part = read(path, start / SAMPLE_RATE, count / SAMPLE_RATE)
    assert torch.equal(part, read(path)[start : start + count])
    assert torch.equal(read(path, start / SAMPLE_RATE), read(path)[start:])


def test_a_part_is_counted_in_the_samples_of_the_file_not_of_the_result(tmp_path):
    samples = torch.rand(44_100) - 0.5
    soundfile.write(tmp_path / "clip.wav", samples.numpy(), 44_100, subtype="FLOAT")
    part = read(tmp_path / "clip.wav", 0.25, 0.5)
    assert torch.equal(part, resample(samples[11_025:33_075], 44_100, SAMPLE_RATE))


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_every_sample_rate_becomes_16_khz(tmp_path, rate):
    soundfile.write(tmp_path / "clip.wav", tone(440, 1.0, rate).numpy(), rate)
    waveform = read(tmp_path / "clip.wav")
    assert len(waveform) == SAMPLE_RATE
    assert loudest_hertz(waveform) == pytest.approx(440, abs=1)


def test_channels_are_averaged(tmp_path):
    stereo = np.stack([np.full(800, 0.5), np.full(800, -0.25)], axis=1)
    soundfile.write(tmp_path / "clip.wav", stereo, SAMPLE_RATE)
    assert torch.equal(read(tmp_path / "clip.wav"), torch.full((800,), 0.125))


@pytest.mark.parametrize("samples", [1, 40 * SAMPLE_RATE])
@pytest.mark.parametrize("value", [0.0, 0.25])
def test_the_shortest_the_longest_and_silence_are_read(tmp_path, samples, value):
    soundfile.write(tmp_path / "clip.flac", np.full(samples, value), SAMPLE_RATE)
    assert torch.equal(read(tmp_path / "clip.flac"), torch.full((samples,), value))


def test_clipped_sound_is_read_up_to_full_scale(tmp_path):
    clipped = (4 * tone(440, 0.1)).clamp(-1, 1)
    soundfile.write(tmp_path / "clip.wav", clipped.numpy(), SAMPLE_RATE)
    waveform = read(tmp_path / "clip.wav")
    assert (float(waveform.min()), float(waveform.max())) == (-1.0, 32767 / 32768)
    assert (waveform - clipped).abs().max() <= 1 / 32768  # no sample wrapped around


def test_a_single_sample_at_another_rate_is_not_lost():
    assert as_waveform(torch.tensor([0.5]), 44_100).shape == (1,)
    assert as_waveform(torch.tensor([0.5]), 8_000).shape == (2,)


def test_int16_samples_are_scaled_to_one():
    samples = np.array([-32768, -1, 0, 16384, 32767], dtype=np.int16)
    expected = torch.tensor([-1.0, -1 / 32768, 0.0, 0.5, 32767 / 32768])
    assert torch.equal(as_waveform(samples), expected)


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.int64])
def test_other_whole_numbers_are_refused_since_their_scale_is_unknown(kind):
    with pytest.raises(ValueError, match=f"clip: .*{np.dtype(kind).name}"):
        as_waveform(np.ones(10, dtype=kind), name="clip")


def test_float64_becomes_float32():
    assert as_waveform(np.zeros(10)).dtype == torch.float32


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (torch.zeros(0), SAMPLE_RATE, "mine: 0 samples"),
        (torch.zeros(10, 0), SAMPLE_RATE, "mine: 0 samples"),
        (torch.zeros(2, 2, 2), SAMPLE_RATE, r"mine: shape \(2, 2, 2\)"),
        (torch.tensor(1.0), SAMPLE_RATE, r"mine: shape \(\)"),
        (torch.zeros(1, 1600), SAMPLE_RATE, "mine: .* more channels than samples"),
        (torch.zeros(10), 0, "mine: sample rate 0 Hz"),
        (torch.tensor([0, torch.nan, 0, torch.nan]), SAMPLE_RATE, "mine: 2 samples .* sample 1$"),
        (torch.tensor([[0, 0], [0, torch.inf]]), SAMPLE_RATE, "mine: 1 samples .* sample 1$"),
    ],
)
def test_bad_arrays_are_refused_by_name(samples, rate, message):
    with pytest.raises(ValueError, match=message):
        as_waveform(samples, rate, name="mine")


def broken_files(folder):
    """Write one broken file of each kind; give name and expected message."""
    soundfile.write(folder / "empty.wav", np.zeros(0), SAMPLE_RATE)
    yield "empty.wav", "empty.wav: 0 samples"
    nan = np.array([0.0, np.nan])
    soundfile.write(folder / "nan.wav", nan, SAMPLE_RATE, subtype="FLOAT")
    yield "nan.wav", "nan.wav: 1 samples are NaN or infinite, the first at sample 1"
    for name in ("text.wav", "text.flac", "text.raw"):
        (folder / name).write_text("This is not a sound.")
        yield name, f"{name}: not a readable sound file"
    (folder / "nothing.wav").write_bytes(b"")
    yield "nothing.wav", "nothing.wav: not a readable sound file"
    soundfile.write(folder / "whole.flac", np.random.uniform(-1, 1, SAMPLE_RATE), SAMPLE_RATE)
    whole = (folder / "whole.flac").read_bytes()
    for share in (0.9, 0.5, 0.01):
        name = f"cut-{share}.flac"
        (folder / name).write_bytes(whole[: int(share * len(whole))])
        yield name, f"{name}: not a readable sound file"


def test_broken_files_are_refused_by_name(tmp_path):
    for name, message in broken_files(tmp_path):
        with pytest.raises(ValueError) as caught:
            read(tmp_path / name)
        assert message in str(caught.value)


def test_a_file_with_no_samples_in_flac_is_refused_by_name(tmp_path):
    # libsndfile writes no header at all for an empty FLAC file, so this is one that lost its sound.
    path = tmp_path / "clip.flac"
    soundfile.write(path, np.zeros(100), SAMPLE_RATE)
    path.write_bytes(path.read_bytes()[:42])  # "fLaC" and the stream description, no frame
    with pytest.raises(ValueError, match=r"clip\.flac: "):
        read(path)


def test_a_cut_wav_file_is_noticed_when_its_duration_is_known(tmp_path, noise):
    # By itself a cut WAV is a shorter WAV: libsndfile takes the size of the file for the truth.
    path = tmp_path / "clip.wav"
    path.write_bytes(wav_bytes(noise)[: 44 + 2 * 5000])
    with pytest.raises(ValueError, match=r"clip\.wav: cut short, 5000 of 16000 samples"):
        read(path, 0.0, 1.0)
    assert len(read(path)) == 5000


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "missing.wav", tmp_path):
        with pytest.raises(FileNotFoundError, match=path.name):
            read(path)


@pytest.mark.parametrize(
    ("start", "duration"),
    [(-0.1, None), (1.5, None), (1.0, None), (0.5, 0.6), (0.0, -1.0)]
    + [(float("nan"), None), (0.0, float("nan")), (0.0, float("inf"))],
)
def test_a_part_outside_the_file_is_refused_by_name(tmp_path, noise, start, duration):
    write(tmp_path / "clip.wav", noise)  # 1 s
    with pytest.raises(ValueError, match=r"clip\.wav: "):
        read(tmp_path / "clip.wav", start, duration)


@given(st.integers(1, 300), st.integers(0, 9))
def test_wav_bytes_lose_at_most_one_step_of_16_bits(samples, seed):
    waveform = torch.rand(samples, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    data = wav_bytes(waveform)
    decoded, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == SAMPLE_RATE
    assert len(data) == 44 + 2 * samples
    assert np.abs(decoded - waveform.numpy()).max() <= 1 / 32768


def test_wav_bytes_keep_16_bit_sound_exactly():
    # A file that is read and written again and again must not fade.
    grid = np.arange(-32768, 32768).astype(np.float32) / 32768
    decoded, _ = soundfile.read(io.BytesIO(wav_bytes(grid)), dtype="float32")
    assert np.array_equal(decoded, grid)


def test_wav_bytes_clip_what_is_too_loud():
    decoded, _ = soundfile.read(io.BytesIO(wav_bytes(torch.tensor([2.0, -3.0, 0.5]))))
    assert decoded == pytest.approx([32767 / 32768, -1.0, 0.5])  # wrapped around, 2.0 would be 0


def test_write_makes_a_file_that_read_reads_and_leaves_nothing_else(tmp_path, noise):
    write(tmp_path / "clip.wav", noise)
    write(tmp_path / "clip.wav", noise / 2)  # replaces the first
    assert [file.name for file in tmp_path.iterdir()] == ["clip.wav"]
    assert (read(tmp_path / "clip.wav") - noise / 2).abs().max() <= 1 / 32768


def test_write_refuses_another_format_and_names_the_right_one(tmp_path, noise):
    with pytest.raises(ValueError, match=r"name it clip\.wav"):
        write(tmp_path / "clip.flac", noise)
    assert list(tmp_path.iterdir()) == []


def test_resampling_keeps_the_pitch_and_the_level():
    resampled = resample(tone(440, 1.0, 44_100), 44_100, SAMPLE_RATE)
    assert len(resampled) == SAMPLE_RATE
    middle = slice(1000, -1000)  # the filter sees zeros beyond both ends
    assert (resampled - tone(440, 1.0))[middle].abs().max() < 0.01


def test_resampling_removes_what_would_alias():
    # Without a low-pass filter, 10 kHz at a rate of 16 kHz would sound as 6 kHz.
    resampled = resample(tone(10_000, 1.0, 44_100), 44_100, SAMPLE_RATE)
    assert resampled[1000:-1000].abs().max() < 0.01
    every_third = tone(10_000, 1.0, 48_000)[::3]
    assert loudest_hertz(every_third) == pytest.approx(6_000, abs=2)  # the bug this guards against


def test_resampling_to_the_same_rate_changes_nothing(noise):
    assert torch.equal(resample(noise, SAMPLE_RATE, SAMPLE_RATE), noise)


@given(st.integers(1, 2000), st.sampled_from([8_000, 11_025, 44_100, 48_000]))
def test_resampling_rounds_the_length_up(samples, rate):
    assert len(resample(torch.zeros(samples), rate, SAMPLE_RATE)) == -(
        -samples * SAMPLE_RATE // rate
    )
