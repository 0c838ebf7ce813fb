"""Sounds to see, hear and walk through in a notebook, as plain HTML that needs no kernel."""

import io

import numpy as np
import soundfile
from torch import Tensor

from asrlib.audio import SAMPLE_RATE, wav_bytes
from asrlib.widgets.card import card, data_uri, escape, finite
from asrlib.widgets.pictures import axis, log_mel_png, picture, waveform_png

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
        waveform = finite("waveform", waveform, ("samples",))
        samples = int(min(len(waveform), max(1, max_seconds * sample_rate)))
        self.text, self.title, self.compress = text, title, compress
        self.keep_sound = keep_sound
        self.waveform, self.sample_rate = waveform[:samples], int(sample_rate)
        self.seconds, self.full_seconds = samples / sample_rate, len(waveform) / sample_rate
        self.log_mel = None
        if log_mel is not None:
            log_mel = finite("log_mel", log_mel, ("n_mels", "frames"))
            frames = round((log_mel.shape[1] - 1) * samples / len(waveform)) + 1
            self.log_mel = log_mel[:, :frames]

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 40 else self.text[:39] + "…"
        return f"Player({self.seconds:.2f} s at {self.sample_rate} Hz, text={text!r})"

    def _repr_html_(self) -> str:
        """Return one HTML fragment; the script in it is the same for every player."""
        encode, kind = (_mp3_bytes, "mpeg") if self.compress else (wav_bytes, "wav")
        sound = data_uri(f"audio/{kind}", encode(self.waveform, self.sample_rate))
        facts = f"{self.seconds:.2f} s · {self.sample_rate / 1000:g} kHz"
        facts += " · MP3" if self.compress else ""
        pictures = self._waveform_picture()
        if self.log_mel is not None:
            pictures += self._log_mel_picture()
        text = f'<p class="asrlib-transcript" dir="auto">{escape(self.text)}</p>'
        body = f"""<div class="asrlib-figure">{pictures}{axis(self.seconds)}</div>
<audio controls preload="auto" src="{sound}"></audio>
{self._notes()}{text if self.text else ""}"""
        marks = {"data_duration": repr(self.seconds)}
        if not self.keep_sound:
            marks["data_keep_sound"] = "no"
        label = f"Sound {self.title[:80]}".strip()
        return card("player", body, title=self.title, facts=facts, label=label, **marks)

    def _waveform_picture(self) -> str:
        peak = float(np.abs(self.waveform).max())
        limits = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
        limit = next((limit for limit in limits if peak <= limit), 1.0)
        alt = f"Waveform of {self.seconds:.2f} seconds, peak amplitude {peak:.2f}"
        png = waveform_png(self.waveform, limit)
        return picture("wave", (f"{limit:g}", "0", f"−{limit:g}"), alt, png, height=76)

    def _log_mel_picture(self) -> str:
        bands, frames = self.log_mel.shape
        alt = f"Log-mel spectrogram, {bands} bands (low at the bottom) by {frames} frames"
        # Frame i is centered at i / (frames - 1) of the axis: half a frame hangs over each end.
        # Said in a variable: sanitizers drop it, and the picture keeps the waveform's width.
        style = f"--frame:{100 / (frames - 1) if frames > 1 else 0:.3f}%"
        labels = (str(bands), "mel", "1")
        return picture("mel", labels, alt, log_mel_png(self.log_mel), height=132, style=style)

    def _notes(self) -> str:
        notes = []
        if self.seconds < self.full_seconds:
            notes.append(f"Cut to the first {self.seconds:.4g} s of {self.full_seconds:.4g} s.")
        if clipped := int((np.abs(self.waveform) > 1).sum()):
            notes.append(f"{clipped} of {len(self.waveform)} samples beyond ±1 are clipped.")
        return f'<p class="asrlib-note">{" ".join(notes)}</p>\n' if notes else ""


def _mp3_bytes(waveform: np.ndarray, sample_rate: int) -> bytes:
    """Encode as MP3 of constant bit rate: browsers seek by guess in a variable one."""
    buffer = io.BytesIO()
    settings = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.8}
    soundfile.write(buffer, np.clip(waveform, -1, 1), sample_rate, **settings)
    return buffer.getvalue()
