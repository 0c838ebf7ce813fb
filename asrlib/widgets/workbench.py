"""Turn every knob of the spectrogram: see what the network is given, and hear what is left of it.

ipywidgets is imported when a workbench is made, not before.
"""

import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torchaudio
from jaxtyping import Float
from matplotlib import pyplot
from torch import Tensor

from asrlib.audio import SAMPLE_RATE, as_waveform
from asrlib.features import LOG_FLOOR, FeatureConfig, LogMelSpectrogram, SpecAugment, normalize
from asrlib.plots.spectrograms import stacked
from asrlib.widgets._card import escape
from asrlib.widgets.player import Player

ROUNDS = 16  # of Griffin and Lim; twice as many take twice as long and are hardly heard
SHORTEST, LONGEST = 0.2, 10.0  # seconds
TRY = (
    "<b>Try</b> win_length 80: what gets sharp, what blurs? Then 1600, with n_fft 2048. Then"
    " n_mels 12."
)
NOT_THE_MEAN = (
    "SpecAugment hides with 0, the mean only after normalization: here the holes stand out."
)
CHOICES = {
    "win_length": (80, 160, 240, 320, 400, 512, 800, 1024, 1600),
    "hop_length": (80, 160, 200, 320, 400, 640),
    "n_fft": (256, 512, 1024, 2048),
}


@dataclass(frozen=True)
class Settings:
    """Where the knobs stand.

    Attributes:
        config: window, hop, transform, mel bands and normalization.
        log: take the logarithm of the mel power.
        frequency_masks: bands that SpecAugment hides; widths as in training.
        time_masks: stretches of time that it hides.
        seed: which ones.
    """

    config: FeatureConfig = FeatureConfig(normalize="none")
    log: bool = True
    frequency_masks: int = 0
    time_masks: int = 0
    seed: int = 0


def what_the_network_gets(
    waveform: Float[Tensor, " samples"], settings: Settings = Settings()
) -> tuple[Float[Tensor, "n_mels frames"], Float[Tensor, " samples"]]:
    """Compute the features of a sound, and a sound that has these features.

    The way back: the mean and spread of the whole picture are given back, as nothing could be heard
    without them (what "band" takes from each band stays away), the logarithm is undone, the power
    in each bin is the smallest that gives these bands (least squares), and the phase is guessed
    (Griffin and Lim 1984). Hidden parts stay hidden. The peak is that of the sound.

    Args:
        waveform: at 16 kHz.
        settings: where the knobs stand.

    Returns:
        What the network is given, and the sound.

    Raises:
        ValueError: the hop is not shorter than the window, so that samples are lost between them.

    Example:
        >>> tone = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(8000) / 16000)
        >>> features, sound = what_the_network_gets(tone)
        >>> hertz = 2 * int(torch.fft.rfft(sound).abs().argmax())
        >>> features.shape, abs(hertz - 440) < 20  # a band is 30 Hz wide there
        (torch.Size([80, 51]), True)
    """
    config = settings.config
    if config.hop_length >= config.win_length:
        raise ValueError(
            f"hop_length={config.hop_length} must be shorter than win_length={config.win_length}:"
            " what lies between two windows is lost"
        )
    length = torch.tensor([len(waveform)])
    values, frames = LogMelSpectrogram(config)(waveform[None], length)  # (1, 1, n_mels, frames)
    if not settings.log:
        values = (values.exp() - LOG_FLOOR).clamp(min=0)
    mean, spread = values.mean(), values.std(correction=0)
    features = values
    if config.normalize != "none":
        features = normalize(values, frames, over=config.normalize)
    augment = SpecAugment(settings.frequency_masks, time_masks=settings.time_masks).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        features = augment(features, frames)

    mel = features[0, 0] if config.normalize == "none" else features[0, 0] * spread + mean
    mel = ((mel.exp() - LOG_FLOOR) if settings.log else mel).clamp(min=0)
    bins, rate = config.n_fft // 2 + 1, SAMPLE_RATE
    to_bins = torchaudio.transforms.InverseMelScale(bins, config.n_mels, rate, driver="gelsd")
    sizes = (config.n_fft, ROUNDS, config.win_length, config.hop_length)
    to_sound = torchaudio.transforms.GriffinLim(*sizes, power=2.0, rand_init=False)
    sound = to_sound(to_bins(mel))  # (n_mels, frames) -> (bins, frames) -> (samples,)
    # It ends at the middle of the last window, as no window may reach all of what follows.
    sound = torch.nn.functional.pad(sound, (0, len(waveform) - len(sound)))
    return features[0, 0], sound * (waveform.abs().max() / sound.abs().max().clamp(min=1e-6))


class SpectrogramWorkbench:
    """Knobs over a spectrogram and a player; each turn draws and sounds anew.

    Picture and player are ordinary outputs: without a kernel, on GitHub or in exported HTML, the
    first state is there to see and to hear. With one, the knobs replace them.

    Args:
        waveform: (samples,) at 16 kHz, 0.2 to 10 s.
        text: what is said in it, shown below the player.
        settings: where the knobs stand first.
        keep_sound: as in `Player`.

    Raises:
        ValueError: the sound is too short, too long or no waveform, or the settings do not fit.

    Attributes:
        controls: the knobs by name, widgets of ipywidgets; setting their `value` turns them.
        settings: the last ones that fit together.
        features: what the network gets, (n_mels, frames).
        sound: what is left, (samples,).
        problem: why the knobs as they stand do not fit together, or "".

    Example:
        >>> bench = SpectrogramWorkbench(torch.sin(torch.arange(8000) * 0.2))
        >>> bench.controls["n_mels"].value = 40
        >>> bench.features.shape
        torch.Size([40, 51])
        >>> bench.controls["win_length"].value = 800
        >>> bench.problem
        'win_length=800 is longer than n_fft=512'
    """

    # The waveform is not typed by shape: as_waveform says what is wrong, with a hint.
    def __init__(
        self,
        waveform: np.ndarray | Tensor,
        *,
        text: str = "",
        settings: Settings = Settings(),
        keep_sound: bool = True,
    ) -> None:
        self.waveform = as_waveform(waveform, name="waveform")
        seconds = len(self.waveform) / SAMPLE_RATE
        if not SHORTEST <= seconds <= LONGEST:
            raise ValueError(f"waveform: {seconds:.2f} s; use {SHORTEST} to {LONGEST:g} s")
        self.text, self.keep_sound = text, keep_sound
        self.settings, self.problem = settings, ""
        self.features, self.sound = what_the_network_gets(self.waveform, settings)
        self.controls, self._panel, self._message = _controls(settings)
        self._ids = [uuid.uuid4().hex for _ in range(2)]  # of the picture and the player on pages
        self._shown = False
        for control in self.controls.values():
            control.observe(self._turned, names="value")

    def __repr__(self) -> str:
        return f"SpectrogramWorkbench({len(self.waveform) / SAMPLE_RATE:.2f} s, {self.settings})"

    def _ipython_display_(self) -> None:
        from IPython.display import display

        view = {"version_major": 2, "version_minor": 0, "model_id": self._panel.model_id}
        stand = "; ".join(_words(self.settings))
        still = f"<p>Run this cell, and sliders appear here. They stand at: {stand}.</p>"
        bundle = {"text/plain": repr(self), "text/html": still}
        display(bundle | {"application/vnd.jupyter.widget-view+json": view}, raw=True)
        self._shown = True
        self._show(update=False)

    def _turned(self, _change: object) -> None:
        knobs = {name: control.value for name, control in self.controls.items()}
        hide = knobs.pop("SpecAugment")
        masks = {name: knobs.pop(name) * hide for name in ("frequency_masks", "time_masks")}
        log, seed = knobs.pop("log"), knobs.pop("seed")
        self._say("Computing …")
        try:
            settings = Settings(FeatureConfig(**knobs), log=log, seed=seed, **masks)
            self.features, self.sound = what_the_network_gets(self.waveform, settings)
        except ValueError as error:
            self.problem = str(error)
            self._say(f"These do not fit together: {error}. Below is still what came before.")
            return
        self.settings, self.problem = settings, ""
        self._say(NOT_THE_MEAN if hide and settings.config.normalize == "none" else "")
        if self._shown:
            self._show(update=True)

    def _say(self, text: str) -> None:
        self._message.value = f'<div role="status" style="min-height: 1.5em">{escape(text)}</div>'

    def _show(self, *, update: bool) -> None:
        from IPython.display import display

        seconds = len(self.waveform) / SAMPLE_RATE
        dark = float(self.features.max() - self.features.quantile(0.05))
        words = _words(self.settings)
        figure = stacked(
            [("\n".join(words), self.features)],
            seconds=seconds,
            top=len(self.features),
            unit="mel band",
            depth=max(dark, 1e-6),
        )
        figure.set_size_inches(6.55, 2.6)  # as wide as the player
        alt = (
            f"Spectrogram of {seconds:.2f} s, {self.features.shape[1]} frames: {'; '.join(words)}."
        )
        metadata = {"image/png": {"alt": alt}}
        display(figure, display_id=self._ids[0], metadata=metadata, update=update)
        pyplot.close(figure)
        player = Player(
            self.sound,
            text=self.text,
            title="What the network hears",
            compress=True,
            keep_sound=self.keep_sound,
        )
        display(player, display_id=self._ids[1], update=update)


def _words(settings: Settings) -> tuple[str, str]:
    """Say where the knobs stand: what makes the picture, and what happens to it."""
    config = settings.config
    hidden = f"{settings.frequency_masks} bands and {settings.time_masks} stretches hidden"
    picture = (
        f"window {_milliseconds(config.win_length)}, hop {_milliseconds(config.hop_length)},"
        f" n_fft {config.n_fft}, {config.n_mels} mel bands, {'with' if settings.log else 'no'} log"
    )
    then = (
        "not normalized" if config.normalize == "none" else f"normalized by {config.normalize}",
        hidden if settings.frequency_masks + settings.time_masks else "nothing hidden",
    )
    return picture, ", ".join(then)


def _milliseconds(samples: int) -> str:
    return f"{1000 * samples / SAMPLE_RATE:g} ms"


def _controls(settings: Settings) -> tuple[dict[str, Any], Any, Any]:
    """Make the knobs, named as in the code, their panel, and its line for messages.

    Only calls that ipywidgets 7.7.1 has, too: Colab's.
    """
    import ipywidgets

    config = settings.config
    hides = settings.frequency_masks + settings.time_masks > 0
    look = {
        "style": {"description_width": "120px"},
        # Without a margin of our own, sliders of words have none and the rest has 2 pixels.
        "layout": ipywidgets.Layout(width="auto", height="32px", margin="2px"),
    }

    def choice(name: str, choices: tuple[int, ...]) -> Any:
        value = getattr(config, name)
        options = [(str(n), n) for n in sorted({*choices, value})]
        return ipywidgets.SelectionSlider(
            options=options, value=value, description=name, continuous_update=False, **look
        )

    def number(name: str, value: int, low: int, high: int) -> Any:
        limits = {"min": min(low, value), "max": max(high, value)}
        return ipywidgets.IntSlider(
            value=value, description=name, continuous_update=False, **limits, **look
        )

    def tick(name: str, value: bool) -> Any:
        return ipywidgets.Checkbox(value=value, description=name, **look)

    masks = (settings.frequency_masks, settings.time_masks) if hides else (2, 5)
    controls = {name: choice(name, choices) for name, choices in CHOICES.items()}
    controls |= {
        "n_mels": number("n_mels", config.n_mels, 8, 128),
        "log": tick("log", settings.log),
        "normalize": ipywidgets.Dropdown(
            options=["none", "utterance", "band"],
            value=config.normalize,
            description="normalize",
            **look,
        ),
        "SpecAugment": tick("SpecAugment", hides),
        "frequency_masks": number("frequency_masks", masks[0], 0, 5),
        "time_masks": number("time_masks", masks[1], 0, 10),
        "seed": number("seed", settings.seed, 0, 20),
    }
    knobs = list(controls.values())
    columns = ipywidgets.GridBox([ipywidgets.VBox(knobs[:5]), ipywidgets.VBox(knobs[5:])])
    columns.layout.grid_template_columns = "repeat(auto-fit, minmax(280px, 1fr))"
    columns.layout.grid_gap = "0 24px"
    message = ipywidgets.HTML()
    panel = ipywidgets.VBox([ipywidgets.HTML(TRY), columns, message])
    panel.layout.max_width = "720px"
    return controls, panel, message
