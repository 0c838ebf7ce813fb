"""Sounds to see, hear and walk through in a notebook, as plain HTML that needs no kernel."""

import base64
import html
import io
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import soundfile
from PIL import Image
from torch import Tensor

from asrlib.audio import SAMPLE_RATE, wav_bytes

ASSETS = Path(__file__).parent / "assets"
DARK, LIGHT = (0, 0, 4), (196, 176, 230)  # of the waveform; DARK is also the darkest of magma
MEL_LEVELS = 64  # colors; with 256 the PNG of 4 s is a third larger and looks the same
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


class Player:
    """Play a sound under its waveform and log-mel spectrogram, with a cursor that moves along.

    Pictures, sound and script stand in the output itself: it needs no kernel, network or widget
    manager, and where scripts are stripped the pictures, the browser's own controls and the
    transcript remain. Space plays and pauses, the left and right arrows move by 0.25 s, and a click
    or drag on the pictures goes there.

    Args:
        waveform: float (samples,), in [-1, 1]; what lies outside is clipped, which the player says.
        sample_rate: in Hz.
        text: the transcript, shown below the controls.
        log_mel: float (n_mels, frames) of the whole waveform, lowest band first, frame 0 centered
            at 0 s and the last one at the end; colors run from its 5th to its 99.9th percentile.
        title: one line above the pictures.
        max_seconds: a longer sound is cut here, and the player says so.
        compress: store MP3 (40 kbit/s at 16 kHz) in place of 16-bit WAV (256 kbit/s); after a jump
            its sound is up to 0.07 s behind the cursor (Chromium, measured), WAV is exact.
        keep_sound: False marks a sound that must not be stored in a notebook that is given away
            (real people, LibriSpeech): `python -m tests.notebooks` takes it out and leaves the
            pictures and the text.

    Raises:
        ValueError: the waveform is empty, not one-dimensional, not float or not finite; log_mel is
            not a finite float matrix; sample_rate or max_seconds is not positive; MP3 does not
            know the sample rate.

    Example:
        >>> tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
        >>> player = Player(tone, text="a tone", title="440 Hz")
        >>> player  # in a notebook: the player itself
        Player(1.00 s at 16000 Hz, text='a tone')
        >>> "a tone</p>" in player._repr_html_()
        True
    """

    # The arrays are not typed by shape: a wrong one is a ValueError here, with a hint.
    def __init__(
        self,
        waveform: np.ndarray | Tensor,
        sample_rate: int = SAMPLE_RATE,
        *,
        text: str = "",
        log_mel: np.ndarray | Tensor | None = None,
        title: str = "",
        max_seconds: float = 15.0,
        compress: bool = False,
        keep_sound: bool = True,
    ) -> None:
        if sample_rate != int(sample_rate) or sample_rate <= 0:
            raise ValueError(f"sample_rate={sample_rate}; it must be a whole number above 0")
        if not max_seconds > 0:
            raise ValueError(f"max_seconds={max_seconds}; it must be above 0")
        if compress and sample_rate not in MP3_RATES:
            raise ValueError(f"sample_rate={sample_rate}: MP3 (compress=True) has {MP3_RATES}")
        waveform = _finite("waveform", waveform, ("samples",))
        samples = int(min(len(waveform), max(1, max_seconds * sample_rate)))
        self.text, self.title, self.compress = text, title, compress
        self.keep_sound = keep_sound
        self.waveform, self.sample_rate = waveform[:samples], int(sample_rate)
        self.seconds, self.full_seconds = samples / sample_rate, len(waveform) / sample_rate
        self.log_mel = None
        if log_mel is not None:
            log_mel = _finite("log_mel", log_mel, ("n_mels", "frames"))
            frames = round((log_mel.shape[1] - 1) * samples / len(waveform)) + 1
            self.log_mel = log_mel[:, :frames]

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 40 else self.text[:39] + "…"
        return f"Player({self.seconds:.2f} s at {self.sample_rate} Hz, text={text!r})"

    def _repr_html_(self) -> str:
        """Return one HTML fragment; the script in it is the same for every player."""
        encode, kind = (_mp3_bytes, "mpeg") if self.compress else (wav_bytes, "wav")
        sound = _data_uri(f"audio/{kind}", encode(self.waveform, self.sample_rate))
        facts = f"{self.seconds:.2f} s · {self.sample_rate / 1000:g} kHz"
        pictures = self._waveform_picture()
        if self.log_mel is not None:
            pictures += self._log_mel_picture()
        text = f'<p class="asrlib-transcript" dir="auto">{_escape(self.text)}</p>'
        keep = "" if self.keep_sound else ' data-keep-sound="no"'
        return f"""<div class="asrlib-player" data-duration="{self.seconds!r}"{keep} role="group" \
aria-label="{_escape("Sound " + self.title[:80]).strip()}">
<style>{_asset("player.css")}</style>
<div class="asrlib-head"><div class="asrlib-title" dir="auto">{_escape(self.title)}</div>
<div class="asrlib-facts">{facts}{" · MP3" if self.compress else ""}</div></div>
<div class="asrlib-figure">{pictures}{_axis(self.seconds)}</div>
<audio controls preload="auto" src="{sound}"></audio>
{self._notes()}{text if self.text else ""}
<script>{_asset("player.js")}</script>
</div>"""

    def _waveform_picture(self) -> str:
        peak = float(np.abs(self.waveform).max())
        limits = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
        limit = next((limit for limit in limits if peak <= limit), 1.0)
        alt = f"Waveform of {self.seconds:.2f} seconds, peak amplitude {peak:.2f}"
        png = _waveform_png(self.waveform, limit)
        return _picture("wave", (f"{limit:g}", "0", f"−{limit:g}"), alt, png, height=76)

    def _log_mel_picture(self) -> str:
        bands, frames = self.log_mel.shape
        alt = f"Log-mel spectrogram, {bands} bands (low at the bottom) by {frames} frames"
        # Frame i is centered at i / (frames - 1) of the axis: half a frame hangs over each end.
        # Said in a variable: sanitizers drop it, and the picture keeps the waveform's width.
        style = f"--frame:{100 / (frames - 1) if frames > 1 else 0:.3f}%"
        labels = (str(bands), "mel", "1")
        return _picture("mel", labels, alt, _log_mel_png(self.log_mel), height=132, style=style)

    def _notes(self) -> str:
        notes = []
        if self.seconds < self.full_seconds:
            notes.append(f"Cut to the first {self.seconds:.4g} s of {self.full_seconds:.4g} s.")
        if clipped := int((np.abs(self.waveform) > 1).sum()):
            notes.append(f"{clipped} of {len(self.waveform)} samples beyond ±1 are clipped.")
        return f'<p class="asrlib-note">{" ".join(notes)}</p>\n' if notes else ""


def _finite(name: str, values: np.ndarray | Tensor, axes: tuple[str, ...]) -> np.ndarray:
    """Return a float32 copy with these axes; anything else is a ValueError that says why."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values  # NumPy lacks bfloat16
    array = np.asarray(values)
    if array.ndim != len(axes) or array.size == 0:
        raise ValueError(f"{name}: shape {array.shape}; use ({', '.join(axes)}), none of them 0")
    if array.dtype.kind != "f":
        raise ValueError(f"{name}: {array.dtype}; use float (16-bit samples: divide by 32768)")
    if bad := int((~np.isfinite(array)).sum()):
        raise ValueError(f"{name}: {bad} of {array.size} values are NaN or infinite")
    return array.astype(np.float32)


@cache
def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _escape(text: str) -> str:
    """Escape for HTML text and attributes; lone surrogates, which UTF-8 cannot hold, become '?'."""
    return html.escape(text.encode("utf-8", "replace").decode())


def _data_uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _mp3_bytes(waveform: np.ndarray, sample_rate: int) -> bytes:
    """Encode as MP3 of constant bit rate: browsers seek by guess in a variable one."""
    buffer = io.BytesIO()
    settings = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.8}
    soundfile.write(buffer, np.clip(waveform, -1, 1), sample_rate, **settings)
    return buffer.getvalue()


def _picture(
    name: str, labels: tuple[str, ...], alt: str, png: bytes, *, height: int, style: str = ""
) -> str:
    """Return scale and picture; CSS writes the labels: where it is stripped, no number is left."""
    scale = "".join(f'<span data-label="{label}"></span>' for label in labels)
    return f"""
<div class="asrlib-scale" aria-hidden="true">{scale}</div>\
<div class="asrlib-picture asrlib-{name}"><img src="{_data_uri("image/png", png)}" alt="{alt}" \
width="720" height="{height}" style="{style}" draggable="false"></div>"""


def _axis(seconds: float) -> str:
    """Return the time axis: at most 9 ticks at round times, the last one with the unit."""
    exponent = np.floor(np.log10(seconds / 8))
    steps = np.outer([10**exponent, 10 ** (exponent + 1)], (1, 2, 5)).ravel()
    step = steps[steps >= seconds / 8][0]
    ticks = np.arange(0, seconds + step * 1e-6, step)
    labels = [f"{tick:.6g}" for tick in ticks[:-1]] + [f"{ticks[-1]:.6g} s"]
    spans = "".join(
        f'<span style="left:{100 * tick / seconds:.3f}%" data-label="{label}"></span>'
        for tick, label in zip(ticks, labels, strict=True)
    )
    return f'<div class="asrlib-axis" aria-hidden="true">{spans}</div>'


def _png(levels: np.ndarray, colors: np.ndarray) -> bytes:
    """Encode levels (rows, columns), each the index of one of colors (n, 3) in [0, 255]."""
    image = Image.fromarray(np.rint(levels).astype(np.uint8))
    image.putpalette(np.rint(colors).astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _waveform_png(waveform: np.ndarray, limit: float) -> bytes:
    """Draw the lowest to the highest sample of each column, between -limit and limit."""
    rows, columns = 152, 1440  # twice the CSS pixels: sharp on dense screens
    if len(waveform) < 4 * columns:  # few samples become a curve
        at = np.linspace(0, len(waveform) - 1, 4 * columns)
        waveform = np.interp(at, np.arange(len(waveform)), waveform)
    starts = np.linspace(0, len(waveform), columns, endpoint=False).astype(int)
    around = np.clip(np.arange(columns) + [[-1], [0], [1]], 0, columns - 1)  # (3, columns)
    # Each column takes in its neighbors: a steep curve stays a line, as thick as a flat one.
    low = np.minimum.reduceat(waveform, starts)[around].min(axis=0).clip(-limit, limit)
    high = np.maximum.reduceat(waveform, starts)[around].max(axis=0).clip(-limit, limit)
    pixels = (rows / 2 - 3) / limit  # of an amplitude of 1
    center = rows / 2 - pixels * (high + low) / 2
    reach = np.maximum(pixels * (high - low) / 2, 1.2)  # silence is a thin line
    distance = np.abs(np.arange(rows)[:, None] + 0.5 - center)  # (rows, columns)
    return _png(15 * np.clip(reach + 0.5 - distance, 0, 1), np.linspace(DARK, LIGHT, 16))


def _log_mel_png(log_mel: np.ndarray) -> bytes:
    """Color (n_mels, frames) by loudness, low bands at the bottom."""
    dark, bright = np.percentile(log_mel, (5, 99.9))
    levels = np.clip((log_mel[::-1] - dark) / max(bright - dark, 1e-6), 0, 1) * (MEL_LEVELS - 1)
    return _png(levels, 255 * matplotlib.colormaps["magma"](np.linspace(0, 1, MEL_LEVELS))[:, :3])
