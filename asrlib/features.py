"""From a waveform to what the network sees: log-mel spectrograms, normalized and masked.

Everything works on batches, on the CPU or a GPU, and ignores padding: an utterance gives the same
numbers alone as in any batch.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from asrlib.audio import SAMPLE_RATE, resample

LOG_FLOOR = 1e-6  # added to the mel power before the log; a full-scale sine peaks at 1e4, 100 dB up


@dataclass(frozen=True)
class FeatureConfig:
    """Settings of the spectrogram; they travel in the checkpoint.

    Attributes:
        n_mels: mel filters, the height of the picture.
        n_fft: samples in a Fourier transform (512 at 16 kHz: bins 31.25 Hz apart).
        win_length: samples in a Hann window (400 = 25 ms).
        hop_length: samples between frames (160 = 10 ms, 100 frames a second).
        normalize: bring each mel "band" of each utterance, or each whole "utterance", to mean 0
            and variance 1, or "none".
    """

    n_mels: int = 80
    n_fft: int = 512
    win_length: int = 400
    hop_length: int = 160
    normalize: str = "band"

    def __post_init__(self) -> None:
        for name in ("n_mels", "n_fft", "win_length", "hop_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length={self.win_length} is longer than n_fft={self.n_fft}")
        if self.normalize not in ("band", "utterance", "none"):
            raise ValueError(f"normalize={self.normalize!r}: choose band, utterance or none")
        empty = int((mel_filters(self.n_mels, self.n_fft).sum(dim=0) == 0).sum())
        if empty:
            raise ValueError(
                f"n_mels={self.n_mels} leaves {empty} mel filters empty at n_fft={self.n_fft}: they"
                " are narrower than a Fourier bin; use fewer mels or a larger n_fft"
            )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "FeatureConfig":
        """Look up the settings that go with a model preset.

        Args:
            name: "original", "base", "small" or "tiny".
            changes: fields to set differently.

        Returns:
            The settings.

        Raises:
            ValueError: unknown name.

        Example:
            >>> FeatureConfig.preset("original").n_mels
            128
        """
        if name not in _PRESETS:
            raise ValueError(f"unknown preset {name!r}; choose {', '.join(_PRESETS)}")
        return replace(cls(**_PRESETS[name]), **changes)


_PRESETS: dict[str, dict[str, Any]] = {
    "original": {"n_mels": 128, "n_fft": 1024, "hop_length": 200},
    "base": {},
    "small": {},
    # A band's mean over a two-second clip depends on its words: with whole-utterance normalization
    # the character error on dev voices fell from 32 to 22-29 % (notebooks/RESULTS.md).
    "tiny": {"normalize": "utterance"},
}


def hz_to_mel(hz: float) -> float:
    """Convert Hertz to mel, the pitch scale on which equal steps sound equal (O'Shaughnessy 1987).

    Args:
        hz: frequency.

    Returns:
        2595 log10(1 + hz / 700).

    Example:
        >>> round(hz_to_mel(1000.0))
        1000
    """
    return 2595.0 * math.log10(1.0 + hz / 700.0)


def mel_filters(
    n_mels: int, n_fft: int, sample_rate: int = SAMPLE_RATE
) -> Float[Tensor, "bins n_mels"]:
    """Triangular filters, evenly spaced on the mel scale from 0 Hz to half the sample rate.

    Args:
        n_mels: how many.
        n_fft: of the spectrum they are laid on.
        sample_rate: in Hz.

    Returns:
        float32 (n_fft // 2 + 1, n_mels), each triangle 1 at its peak (the HTK form, the default of
        torchaudio's `melscale_fbanks`, which tests compare it with).

    Example:
        >>> mel_filters(80, 512).shape
        torch.Size([257, 80])
    """
    bins_hz = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    mels = torch.linspace(0, hz_to_mel(sample_rate / 2), n_mels + 2, dtype=torch.float64)
    corners_hz = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)  # left, peak, right of neighbors overlap
    width = corners_hz[1:] - corners_hz[:-1]  # (n_mels + 1,)
    offset = corners_hz[None, :] - bins_hz[:, None]  # (bins, n_mels + 2)
    rising = -offset[:, :-2] / width[:-1]  # (bins, n_mels)
    falling = offset[:, 2:] / width[1:]  # (bins, n_mels)
    return torch.minimum(rising, falling).clamp(min=0.0).float()


def valid_mask(lengths: Int[Tensor, " batch"], size: int) -> Tensor:
    """Tell real positions from padding.

    Args:
        lengths: how many of each row are real.
        size: of the padded axis.

    Returns:
        bool (batch, size), True where real.

    Example:
        >>> valid_mask(torch.tensor([1, 3]), 3).tolist()
        [[True, False, False], [True, True, True]]
    """
    return torch.arange(size, device=lengths.device) < lengths[:, None]


class LogMelSpectrogram(nn.Module):
    """Log-mel spectrograms of a batch of waveforms.

    window -> Fourier transform -> power -> mel filters -> log. Frames are centered on multiples of
    the hop and the edges see zeros, so an utterance gives `samples // hop_length + 1` frames.

    Example:
        >>> spectrogram = LogMelSpectrogram()
        >>> features, lengths = spectrogram(torch.zeros(2, 16000), torch.tensor([16000, 8000]))
        >>> features.shape, lengths.tolist()
        (torch.Size([2, 1, 80, 101]), [101, 51])
    """

    def __init__(self, config: FeatureConfig = FeatureConfig()) -> None:
        """Prepare the window and the filters.

        Args:
            config: the settings; `normalize` is not used here but by `FeatureExtractor`.
        """
        super().__init__()
        self.config = config
        window = torch.hann_window(config.win_length)  # periodic, as torch.stft expects
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", mel_filters(config.n_mels, config.n_fft), persistent=False)

    @torch.no_grad()
    def forward(
        self, waveforms: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch 1 n_mels frames"], Int[Tensor, " batch"]]:
        """Compute the spectrograms.

        Args:
            waveforms: float32, in [-1, 1]; samples past `lengths` may hold anything.
            lengths: real samples of each row.

        Returns:
            features, natural log of the mel power, float32 (batch, 1, n_mels, frames), and
            frame_lengths = lengths // hop_length + 1.

        Raises:
            ValueError: the shapes disagree, or a length is below 1 or above the samples given.
        """
        if waveforms.dim() != 2 or lengths.shape != waveforms.shape[:1]:
            raise ValueError(
                f"waveforms {tuple(waveforms.shape)} and lengths {tuple(lengths.shape)}; expected"
                " (batch, samples) and (batch,)"
            )
        if int(lengths.min()) < 1 or int(lengths.max()) > waveforms.shape[1]:
            raise ValueError(f"lengths {lengths.tolist()} must lie in 1..{waveforms.shape[1]}")
        config = self.config
        mask = valid_mask(lengths.to(waveforms.device), waveforms.shape[1])
        waveforms = torch.where(mask, waveforms, 0.0).float()
        with torch.autocast(waveforms.device.type, enabled=False):  # the log needs float32
            spectrum = torch.stft(
                waveforms,
                config.n_fft,
                config.hop_length,
                config.win_length,
                self.window,
                center=True,
                pad_mode="constant",  # reflected edges would mix the padding in
                return_complex=True,
            )  # (batch, samples) -> (batch, bins, frames)
            power = spectrum.real**2 + spectrum.imag**2
            mel = power.transpose(1, 2) @ self.filters  # (batch, frames, n_mels)
            log_mel = torch.log(mel + LOG_FLOOR).transpose(1, 2)  # (batch, n_mels, frames)
        return log_mel.unsqueeze(1), lengths // config.hop_length + 1


def normalize(
    features: Float[Tensor, "batch 1 n_mels frames"],
    lengths: Int[Tensor, " batch"],
    *,
    over: str = "band",
) -> Float[Tensor, "batch 1 n_mels frames"]:
    """Bring each utterance, or each mel band of it, to mean 0 and variance 1; padding becomes 0.

    By band it takes away the level and the color of the microphone, but a band's mean over two
    seconds depends on what was said. By utterance it takes away only the level.

    Args:
        features: log-mels; frames past `lengths` may hold anything.
        lengths: real frames.
        over: "band" or "utterance".

    Returns:
        The normalized features. What never changes becomes 0.

    Raises:
        ValueError: `over` is something else.

    Example:
        >>> x = normalize(torch.randn(1, 1, 80, 50) * 3 + 7, torch.tensor([40]))
        >>> bool(x[..., :40].mean().abs() < 1e-5), x[..., 40:].abs().max().item()
        (True, 0.0)
    """
    if over not in ("band", "utterance"):
        raise ValueError(f"normalize over {over!r}: choose band or utterance")
    axes = (-1,) if over == "band" else (-1, -2)
    lengths = lengths.to(features.device)
    mask = valid_mask(lengths, features.shape[-1])[:, None, None, :]  # (batch, 1, 1, frames)
    count = lengths[:, None, None, None] * (1 if over == "band" else features.shape[2])
    # Numbers near 0 keep their digits: without this shift silence comes out as rounding noise.
    features = features - (features[..., :1] if over == "band" else features[..., :1, :1])
    mean = torch.where(mask, features, 0.0).sum(dim=axes, keepdim=True) / count
    centered = torch.where(mask, features - mean, 0.0)
    variance = centered.square().sum(dim=axes, keepdim=True) / count
    return centered / (variance + 1e-5).sqrt()


class FeatureExtractor(LogMelSpectrogram):
    """What the network is fed: log-mels, normalized if the settings say so.

    Example:
        >>> features, _ = FeatureExtractor()(torch.randn(1, 16000), torch.tensor([16000]))
        >>> bool(features.mean().abs() < 1e-5)
        True
    """

    @torch.no_grad()
    def forward(
        self, waveforms: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch 1 n_mels frames"], Int[Tensor, " batch"]]:
        """Compute the features; arguments, results and errors as in `LogMelSpectrogram`."""
        features, frame_lengths = super().forward(waveforms, lengths)
        if self.config.normalize != "none":
            features = normalize(features, frame_lengths, over=self.config.normalize)
        return features, frame_lengths


class SpecAugment(nn.Module):
    """Hide random bands and stretches of the spectrogram while training (Park et al. 2019).

    Masks are drawn for each utterance from its own length, so padding is never "hidden" in place
    of speech. Outside training this module does nothing.

    Example:
        >>> augment = SpecAugment().train()
        >>> x, lengths = torch.ones(1, 1, 80, 200), torch.tensor([200])
        >>> bool((augment(x, lengths) == 0).any()), bool((augment.eval()(x, lengths) == x).all())
        (True, True)
    """

    def __init__(
        self,
        frequency_masks: int = 2,
        frequency_width: int = 27,
        time_masks: int = 5,
        time_fraction: float = 0.05,
    ) -> None:
        """Set the strength; the defaults worked on 100 hours (ESPnet's LibriSpeech-100 recipe).

        Args:
            frequency_masks: bands an utterance.
            frequency_width: widest band in mels; the width is uniform in 0..frequency_width.
            time_masks: stretches an utterance.
            time_fraction: longest stretch as a share of the utterance, in [0, 1].

        Raises:
            ValueError: a negative number, or time_fraction above 1.
        """
        super().__init__()
        if min(frequency_masks, frequency_width, time_masks) < 0 or not 0 <= time_fraction <= 1:
            raise ValueError("SpecAugment takes counts >= 0 and time_fraction in [0, 1]")
        self.frequency_masks, self.frequency_width = frequency_masks, frequency_width
        self.time_masks, self.time_fraction = time_masks, time_fraction

    def forward(
        self, features: Float[Tensor, "batch 1 n_mels frames"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch 1 n_mels frames"]:
        """Mask the features with 0, their mean after normalization.

        Args:
            features: normalized features.
            lengths: real frames.

        Returns:
            A masked copy while training, else the features themselves.
        """
        if not self.training:
            return features
        n_mels, frames = features.shape[2:]
        lengths = lengths.to(features.device)
        widest = torch.full_like(lengths, min(self.frequency_width, n_mels))
        longest = (lengths * self.time_fraction).long()
        bands = _random_stretches(
            self.frequency_masks, widest, torch.full_like(lengths, n_mels), n_mels
        )
        times = _random_stretches(self.time_masks, longest, lengths, frames)
        hidden = bands[:, None, :, None] | times[:, None, None, :]  # (batch, 1, n_mels, frames)
        return features.masked_fill(hidden, 0.0)


def _random_stretches(count: int, longest: Tensor, lengths: Tensor, size: int) -> Tensor:
    """Draw `count` stretches a row, up to `longest` long, in 0..lengths: bool (batch, size)."""
    width = torch.rand(len(lengths), count, device=lengths.device) * (longest[:, None] + 1)
    width = width.long()  # uniform in 0..longest
    start = torch.rand_like(width, dtype=torch.float32) * (lengths[:, None] - width + 1)
    start = start.long()[..., None]  # (batch, count, 1), uniform in 0..lengths - width
    position = torch.arange(size, device=lengths.device)
    inside = (position >= start) & (position < start + width[..., None])  # (batch, count, size)
    return inside.any(dim=1)


def speed_perturb(
    waveforms: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"], factor: float
) -> tuple[Float[Tensor, "batch resampled"], Int[Tensor, " batch"]]:
    """Play a batch faster or slower, as a tape would: tempo and pitch change (Ko et al. 2015).

    Args:
        waveforms: padded with zeros.
        lengths: real samples.
        factor: 1.1 is 10 % faster; rounded to hundredths.

    Returns:
        The new waveforms and lengths, ceil(samples / factor).

    Raises:
        ValueError: factor is outside 0.5..2.

    Example:
        >>> w, n = speed_perturb(torch.zeros(1, 1100), torch.tensor([1100]), 1.1)
        >>> w.shape, n.tolist()
        (torch.Size([1, 1000]), [1000])
    """
    if not 0.5 <= factor <= 2.0:
        raise ValueError(f"speed factor {factor} is outside 0.5..2")
    hundredths = round(factor * 100)
    if hundredths == 100:
        return waveforms, lengths
    common = math.gcd(hundredths, 100)
    fast, slow = hundredths // common, 100 // common
    return resample(waveforms, fast, slow), -(-lengths * slow // fast)  # ceil division


def frame_to_seconds(frame: float, hop_length: int = 160, stride: int = 1) -> float:
    """When does a frame lie? Frames are centered on multiples of the hop.

    Args:
        frame: index of a feature frame, or of an output frame if `stride` is the model's.
        hop_length: samples between feature frames.
        stride: feature frames between output frames.

    Returns:
        Seconds from the start of the sound.

    Example:
        >>> frame_to_seconds(25, stride=4)
        1.0
    """
    return frame * stride * hop_length / SAMPLE_RATE
