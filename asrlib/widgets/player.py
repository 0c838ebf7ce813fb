"""Sounds to see, hear and walk through in a notebook, as plain HTML that needs no kernel."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from asrlib.audio import SAMPLE_RATE
from asrlib.decoding import greedy_search
from asrlib.evaluation import Search
from asrlib.features import frame_to_seconds
from asrlib.recognizer import Recognizer
from asrlib.subtitles import Word
from asrlib.text import ALPHABET, BLANK
from asrlib.widgets._card import card, escape, finite, json_element, sound_uri
from asrlib.widgets._pictures import (
    HEAT_LABELS,
    axis,
    heat_png,
    log_mel_png,
    picture,
    text_row,
    waveform_png,
)

MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
LEGEND = """<p class="asrlib-note asrlib-legend"><span class="asrlib-likely">bright: a likely \
symbol</span> <span class="asrlib-ground">gray: the blank is likeliest</span> \
<small>␣ space, - blank</small></p>
"""


class Player:
    """Play a sound under its pictures and words, with a cursor that moves along.

    Pictures, sound and script stand in the output itself: it needs no kernel, network or widget
    manager, and where scripts are stripped the pictures, the browser's own controls and the texts
    remain. Space plays and pauses, the left and right arrows move by 0.25 s, + and - zoom, a click
    or drag on the pictures goes there, and a click on a word plays it again and again until the
    next click on it or Escape.

    Args:
        waveform: float (samples,), in [-1, 1]; what lies outside is clipped, which the player says.
        sample_rate: in Hz.
        text: the transcript, shown below the controls.
        log_mel: float (n_mels, frames) of the whole waveform, lowest band first, frame 0 centered
            at 0 s and the last one at the end; colors run from its 5th to its 99.9th percentile.
        log_probs: float (frames_out, 29) of the whole waveform: what the network says, natural log,
            frame i centered at i * frame_seconds. Shown as probabilities, gray where the blank is
            likeliest, over the greedy string, whose letters stand where they appear.
        frame_seconds: from one frame of log_probs to the next; 0.04 is a stride of 4 at hop 160.
        words: the words that were recognized, with their times in seconds.
        truth: the words that were said, with their times.
        title: one line above the pictures.
        max_seconds: a longer sound is cut here, and the player says so.
        compress: store MP3 (40 kbit/s at 16 kHz) in place of 16-bit WAV (256 kbit/s).
        keep_sound: False marks a sound that must not be stored in a notebook that is given away
            (real people, LibriSpeech): `python -m tests.notebooks` takes it out and leaves the
            pictures and the text.

    Raises:
        ValueError: the waveform is empty, not one-dimensional, not float or not finite; log_mel is
            not a finite float matrix; log_probs are not 29 log-probabilities a frame or reach past
            the sound, as a word does; sample_rate, max_seconds or frame_seconds is not positive;
            MP3 does not know the sample rate.

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
        log_probs: np.ndarray | Tensor | None = None,
        frame_seconds: float = 0.04,
        words: Sequence[Word] | None = None,
        truth: Sequence[Word] | None = None,
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
        self.words, self.truth = self._within(words), self._within(truth)
        self.log_mel = self.probabilities = None
        if log_probs is not None:
            self._hear(log_probs, frame_seconds)
        if log_mel is not None:
            log_mel = finite("log_mel", log_mel, ("n_mels", "frames"))
            frames = round((log_mel.shape[1] - 1) * samples / len(waveform)) + 1
            self.log_mel = log_mel[:, :frames]

    @classmethod
    def of(
        cls,
        recognizer: Recognizer,
        waveform: Tensor,
        *,
        truth: str = "",
        search: Search = Search(),
        **options: object,
    ) -> "Player":
        """Show everything that a recognizer makes of a sound.

        Args:
            recognizer: hears it.
            waveform: float (samples,) at 16 kHz.
            truth: what is said, if known; its words are aligned with the sound.
            search: how the words are found.
            options: of the player, such as title and compress.

        Raises:
            ValueError: as in `Player` and `Recognizer.align`.

        Example:
            >>> from asrlib.features import FeatureConfig
            >>> from asrlib.model import ModelConfig, SpeechRecognitionModel
            >>> model = SpeechRecognitionModel(ModelConfig.preset("tiny"))
            >>> Player.of(Recognizer(model, FeatureConfig()), torch.zeros(16000), truth="hi")
            Player(1.00 s at 16000 Hz, text='hi')
        """
        features, _ = recognizer.extractor(waveform[None], torch.tensor([len(waveform)]))
        hop, stride = recognizer.extractor.config.hop_length, recognizer.model.config.time_stride
        seen = {
            "log_mel": features[0, 0],
            "log_probs": recognizer.log_probs(waveform),
            "frame_seconds": frame_to_seconds(1, hop, stride),
            "words": recognizer.transcribe(waveform, search=search).words,
            "truth": recognizer.align(waveform, truth).words if truth else None,
        }
        return cls(waveform, **{"text": truth, **seen, **options})

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 40 else self.text[:39] + "…"
        return f"Player({self.seconds:.2f} s at {self.sample_rate} Hz, text={text!r})"

    def _repr_html_(self) -> str:
        """Return one HTML fragment; the script in it is the same for every player."""
        sound = sound_uri(self.waveform, self.sample_rate, compress=self.compress)
        facts = f"{self.seconds:.2f} s · {self.sample_rate / 1000:g} kHz"
        facts += " · MP3" if self.compress else ""
        rows = self._waveform_picture()
        if self.log_mel is not None:
            rows += self._log_mel_picture()
        if self.probabilities is not None:
            rows += self._heat_rows()
        rows += self._word_rows() + axis(self.seconds)
        legend = "" if self.probabilities is None else LEGEND
        text = f'<p class="asrlib-transcript" dir="auto">{escape(self.text)}</p>'
        body = f"""<div class="asrlib-figure">{rows}</div>
{legend}{self._timed()}<audio controls preload="auto" src="{sound}"></audio>
{self._notes()}{text if self.text else ""}"""
        marks = {"data_duration": repr(self.seconds)}
        if self.compress:
            marks["data_rate"] = str(self.sample_rate)
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

    def _heat_rows(self) -> str:
        frames, vocab = self.probabilities.shape
        blanks = int((self.probabilities.argmax(axis=1) == BLANK).sum())
        alt = f"Probabilities of {vocab} symbols (a to z, apostrophe, space, blank at the bottom)"
        alt += f" in {frames} frames; the blank is likeliest in {blanks} of them"
        width = 100 * self.frame_seconds / self.seconds  # of a frame; frame 0 is centered at 0 s
        style = f"--left:{-width / 2:.3f}%;--width:{frames * width:.3f}%"
        png = heat_png(self.probabilities)
        rows = picture("heat", HEAT_LABELS, alt, png, height=7 * vocab, style=style)
        text = "".join(letter for letter, _ in self.letters) or "only blanks"
        return rows + text_row("greedy", f"Greedy string: {text}", text, role="img")

    def _word_rows(self) -> str:
        rows = ""
        for name, words in (("heard", self.words), ("said", self.truth)):
            if words is not None:
                text = " ".join(word.text for word in words) or "no words"
                rows += text_row(name, f"Words {name}", text)
        return rows

    def _timed(self) -> str:
        """Return letters and words with their times, for the script to put on the time axis."""
        timed = {}
        if self.probabilities is not None:
            timed["greedy"] = self.letters
        for name, words in (("heard", self.words), ("said", self.truth)):
            if words:
                timed[name] = [(word.text, float(word.start), float(word.end)) for word in words]
        return json_element(timed) + "\n" if timed else ""

    def _notes(self) -> str:
        notes = []
        if self.seconds < self.full_seconds:
            notes.append(f"Cut to the first {self.seconds:.4g} s of {self.full_seconds:.4g} s.")
        if clipped := int((np.abs(self.waveform) > 1).sum()):
            notes.append(f"{clipped} of {len(self.waveform)} samples beyond ±1 are clipped.")
        return f'<p class="asrlib-note">{" ".join(notes)}</p>\n' if notes else ""

    def _hear(self, log_probs: np.ndarray | Tensor, frame_seconds: float) -> None:
        """Keep the probabilities, and the greedy letters with their seconds, before the cut."""
        if not 0 < frame_seconds < float("inf"):
            raise ValueError(f"frame_seconds={frame_seconds}; it must be above 0")
        log_probs = torch.as_tensor(log_probs).detach().cpu().float()
        probabilities = finite("log_probs", log_probs.exp(), ("frames_out", "vocab"))
        if probabilities.shape[1] != len(ALPHABET) + 1:
            raise ValueError(f"log_probs: {probabilities.shape[1]} symbols; asrlib.text has 29")
        sums = probabilities.sum(axis=1)
        worst = np.abs(sums - 1).argmax()
        if abs(sums[worst] - 1) > 0.01:
            raise ValueError(
                f"log_probs: the probabilities of frame {worst} sum to {sums[worst]:.4g}, not to 1;"
                " use natural logarithms, as log_softmax returns"
            )
        end = (len(log_probs) - 1) * frame_seconds
        if end > self.full_seconds + frame_seconds:
            raise ValueError(
                f"log_probs: {len(log_probs)} frames, {frame_seconds} s apart, reach to {end:.4g} s"
                f" of {self.full_seconds:.4g} s; see frame_seconds"
            )
        frames = min(len(log_probs), int(self.seconds / frame_seconds + 1e-6) + 1)
        best = greedy_search(log_probs[None], torch.tensor([len(log_probs)]))[0]
        self.frame_seconds, self.probabilities = frame_seconds, probabilities[:frames]
        self.letters = [
            (letter, round(frame * frame_seconds, 6))
            for letter, frame in zip(best.text, best.timesteps)
            if frame < frames
        ]

    def _within(self, words: Sequence[Word] | None) -> list[Word] | None:
        """Return the words that begin before the cut."""
        for word in words or ():
            if not 0 <= word.start <= word.end <= self.full_seconds + 0.05:
                raise ValueError(
                    f"word {word.text[:40]!r} from {word.start} to {word.end} s of a sound of"
                    f" {self.full_seconds:.4g} s"
                )
        kept = [word for word in words or () if word.start < self.seconds]
        kept = [replace(word, end=min(word.end, self.seconds)) for word in kept]
        return None if words is None else kept
