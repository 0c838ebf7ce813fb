"""Sound files in and out: read, write, resample, and bytes for players.

Everything inside this package is mono float32 at 16 kHz, in [-1, 1]. `soundfile` decodes FLAC, WAV,
OGG and MP3 by itself; nothing here needs FFmpeg (torchaudio's own reader does since version 2.9).
"""

import io
import math
import os
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio.functional
from jaxtyping import Float32
from torch import Tensor

from asrlib.files import atomic_file

SAMPLE_RATE = 16_000  # Hz


def as_waveform(
    samples: Tensor | np.ndarray, sample_rate: int = SAMPLE_RATE, *, name: str = "audio"
) -> Float32[Tensor, " samples"]:
    """Make any array of samples a checked waveform: mono, float32, 16 kHz.

    Args:
        samples: (samples,) or (samples, channels); floats in [-1, 1], or 16-bit whole numbers.
        sample_rate: of `samples`, in Hz.
        name: what messages call it.

    Returns:
        float32 (samples,) at `SAMPLE_RATE`; channels are averaged.

    Raises:
        ValueError: no samples, NaN or infinite samples, more than two axes, a bad sample rate.

    Example:
        >>> as_waveform(np.zeros((8000, 2), dtype=np.float32), 8000).shape
        torch.Size([16000])
    """
    samples = torch.as_tensor(samples)
    if sample_rate <= 0:
        raise ValueError(f"{name}: sample rate {sample_rate} Hz; it must be positive")
    if samples.dim() not in (1, 2):
        raise ValueError(f"{name}: shape {tuple(samples.shape)}; use (samples,) or (samples, 2)")
    if samples.numel() == 0:
        raise ValueError(f"{name}: 0 samples")
    if samples.dim() == 2 and samples.shape[1] > max(8, len(samples)):
        raise ValueError(
            f"{name}: shape {tuple(samples.shape)} has more channels than samples; transpose it"
        )
    if samples.dtype == torch.int16:
        samples = samples.float() / 32768
    elif not samples.is_floating_point():
        raise ValueError(f"{name}: {samples.dtype}; use floats in [-1, 1] or 16-bit whole numbers")
    samples = samples.to(torch.float32)
    bad = ~torch.isfinite(samples)
    if bad.any():
        first = int(bad.reshape(len(samples), -1).any(dim=1).nonzero()[0])
        raise ValueError(
            f"{name}: {int(bad.sum())} samples are NaN or infinite, the first at sample {first}"
        )
    if samples.dim() == 2:
        samples = samples.mean(dim=1)  # (samples, channels) -> (samples,)
    return resample(samples, sample_rate, SAMPLE_RATE)


def read(
    path: str | os.PathLike, start_seconds: float = 0.0, duration_seconds: float | None = None
) -> Float32[Tensor, " samples"]:
    """Read a sound file, or a part of it, as a 16 kHz mono waveform.

    Args:
        path: a WAV, FLAC, OGG or MP3 file.
        start_seconds: where to begin.
        duration_seconds: how much to read; None reads to the end.

    Returns:
        float32 (samples,) at `SAMPLE_RATE`, in [-1, 1].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be decoded, holds no samples there, or holds NaN; the file is named.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(f"{folder}/beep.wav", torch.zeros(1600))
        ...     read(f"{folder}/beep.wav", start_seconds=0.05).shape
        torch.Size([800])
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if not (0 <= start_seconds < math.inf and 0 < (duration_seconds or 1.0) < math.inf):
        raise ValueError(f"{path}: cannot read {duration_seconds} s from {start_seconds} s on")
    try:
        with soundfile.SoundFile(path) as file:
            start = round(start_seconds * file.samplerate)
            if start > file.frames:
                raise ValueError(f"{path}: {start_seconds} s is past its end")
            frames = -1 if duration_seconds is None else round(duration_seconds * file.samplerate)
            file.seek(start)
            samples, rate = file.read(frames, dtype="float32"), file.samplerate
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a name that ends in .raw
        raise ValueError(f"{path}: not a readable sound file ({error})") from None
    if len(samples) < frames:
        raise ValueError(
            f"{path}: cut short, {len(samples)} of {frames} samples from {start_seconds} s"
        )
    return as_waveform(samples, rate, name=str(path))


def resample(
    waveform: Float32[Tensor, "*batch samples"], from_rate: int, to_rate: int
) -> Float32[Tensor, "*batch resampled"]:
    """Change the sample rate, low-pass filtered so that nothing aliases.

    Args:
        waveform: (samples,) or (batch, samples).
        from_rate: in Hz.
        to_rate: in Hz.

    Returns:
        The same sound with ceil(samples * to_rate / from_rate) samples.

    Example:
        >>> resample(torch.zeros(44100), 44100, 16000).shape
        torch.Size([16000])
    """
    if from_rate == to_rate:
        return waveform
    return torchaudio.functional.resample(waveform, from_rate, to_rate)


def wav_bytes(waveform: Tensor | np.ndarray, sample_rate: int = SAMPLE_RATE) -> bytes:
    """Encode a waveform as a 16-bit PCM WAV file in memory, which every browser plays.

    Args:
        waveform: (samples,), clipped to [-1, 1].
        sample_rate: in Hz.

    Returns:
        The bytes of the file: 44 of header, then 2 a sample.

    Example:
        >>> len(wav_bytes(torch.zeros(100)))
        244
    """
    samples = np.clip(np.asarray(waveform, dtype=np.float32), -1.0, 1.0)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def write(
    path: str | os.PathLike, waveform: Tensor | np.ndarray, sample_rate: int = SAMPLE_RATE
) -> None:
    """Write a 16-bit WAV file; a crash on the way leaves no half-written file.

    Args:
        path: where to, ending in .wav.
        waveform: (samples,), clipped to [-1, 1].
        sample_rate: in Hz.

    Raises:
        ValueError: the name does not end in .wav.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(f"{folder}/tone.wav", torch.sin(torch.arange(1600) * 0.1))
    """
    path = Path(path)
    if path.suffix.lower() != ".wav":
        raise ValueError(f"{path}: write() makes WAV files; name it {path.stem}.wav")
    with atomic_file(path) as part:
        part.write_bytes(wav_bytes(waveform, sample_rate))
