"""The reader's own voice: a recorder in the notebook, or a file where there is no microphone.

anywidget and ipywidgets are imported when a recorder is made, not before: nothing else needs them.
"""

import io
import os
import sys
from typing import Any

import numpy as np
import soundfile
import torch
from jaxtyping import Float32
from torch import Tensor

from asrlib import audio
from asrlib.widgets._card import asset, escape

# A message to the kernel holds at most 10 MB (Jupyter's web server); this is 7.7 MB.
LONGEST = 120  # seconds
QUIET, LOUD = 0.05, 0.95  # peaks of clear speech lie between, as recorder.js shows while it records
WIDGET = "application/vnd.jupyter.widget-view+json"


def record(max_seconds: float = 15.0) -> "Recording":
    """Show a recorder; what is recorded arrives in the kernel as a 16 kHz waveform.

    The browser asks for the microphone, shows the level and the time, decodes and plays what was
    recorded, and sends it to the Python kernel and nowhere else; the notebook file keeps nothing.
    Where there is no microphone (VS Code, a refused permission, a page that is neither https nor
    localhost, no anywidget) a button to choose a sound file takes its place.

    Args:
        max_seconds: recording stops by itself; longer files are cut. At most 120.

    Returns:
        The recording, to be the last line of its cell. A later cell reads `.waveform`.

    Raises:
        ValueError: max_seconds is not in 0..120.
        ImportError: there is no ipywidgets.

    Example:
        >>> voice = record(max_seconds=10)
        >>> voice  # in a notebook: the recorder itself
        Recording(nothing yet, at most 10 s)
        >>> voice.waveform
        Traceback (most recent call last):
        RuntimeError: nothing was recorded yet: press Record in the card above, speak, press Stop,
        wait until it says that the kernel has it, and run this cell again
    """
    return Recording(max_seconds)


class Recording:
    """What `record` shows and fills.

    Args:
        max_seconds: as in `record`.

    Attributes:
        sample_rate: 16000 Hz.
        max_seconds: the limit.

    Example:
        >>> Recording(5).seconds
        0.0
    """

    def __init__(self, max_seconds: float = 15.0) -> None:
        if not 0 < max_seconds <= LONGEST:
            raise ValueError(f"max_seconds={max_seconds}; it must lie in 0..{LONGEST}")
        self.sample_rate, self.max_seconds = audio.SAMPLE_RATE, max_seconds
        self._waveform: Tensor | None = None
        try:
            import anywidget  # noqa: F401
        except ImportError:
            self._widget = self._file_card()
        else:
            self._widget = self._microphone_card()

    @property
    def waveform(self) -> Float32[Tensor, " samples"]:
        """The sound, (samples,) at 16 kHz; a RuntimeError before there is one."""
        if self._waveform is None:
            raise RuntimeError(
                "nothing was recorded yet: press Record in the card above, speak, press Stop, wait"
                " until it says that the kernel has it, and run this cell again"
            )
        return self._waveform

    @property
    def seconds(self) -> float:
        """How long the recording is; 0.0 before there is one."""
        return 0.0 if self._waveform is None else len(self._waveform) / self.sample_rate

    def save(self, path: str | os.PathLike) -> None:
        """Write the recording as a 16-bit WAV file.

        Args:
            path: where to, ending in .wav.

        Raises:
            RuntimeError: nothing was recorded yet.
            ValueError: the name does not end in .wav.
        """
        audio.write(path, self.waveform)

    def __repr__(self) -> str:
        if self._waveform is None:
            return f"Recording(nothing yet, at most {self.max_seconds:g} s)"
        return f"Recording({self.seconds:.2f} s at {self.sample_rate} Hz)"

    def _ipython_display_(self) -> None:
        """Show the widget, and where there is no kernel behind the page, what would stand here."""
        from IPython.display import display

        view = {"version_major": 2, "version_minor": 0, "model_id": self._widget.model_id}
        still = _card("<p>Run this cell, and a button to record your voice appears here.</p>")
        # As display_data: Colab announces anywidget's own widget manager only in those.
        display({"text/plain": repr(self), "text/html": still, WIDGET: view}, raw=True)

    def _microphone_card(self) -> Any:
        import anywidget
        import traitlets

        class Recorder(anywidget.AnyWidget):
            _esm = asset("recorder.js")
            _css = asset("card.css") + asset("recorder.css")
            max_seconds = traitlets.Float().tag(sync=True)
            privacy = traitlets.Unicode().tag(sync=True)

        def receive(widget: Any, message: dict, buffers: list) -> None:
            samples = torch.from_numpy(np.frombuffer(buffers[0], dtype="<f4").copy())
            text = self._take(samples, audio.SAMPLE_RATE, message["name"], message["seconds"])
            widget.send({"text": text})

        widget = Recorder(max_seconds=self.max_seconds, privacy=_privacy())
        widget.on_msg(receive)
        return widget

    def _file_card(self) -> Any:
        """Without anywidget: a button of ipywidgets 7 or 8, and soundfile decodes in the kernel."""
        try:
            import ipywidgets
        except ImportError:
            raise ImportError(
                "record() needs ipywidgets: pip install ipywidgets anywidget"
            ) from None

        upload = ipywidgets.FileUpload(accept="audio/*", description="Choose a sound file")
        upload.layout.width, upload.layout.height = "220px", "40px"
        status = ipywidgets.HTML()

        def show(text: str) -> None:
            hint = (
                "To record here, install the package anywidget and restart the kernel. Or record"
                " with any other program and choose the file: WAV, FLAC, OGG or MP3."
            )
            lines = [f"<p>{hint}</p>", f'<p class="asrlib-note">{escape(_privacy())}</p>']
            status.value = _card(f"<p><strong>{escape(text)}</strong></p>" if text else "", *lines)

        def chosen(_change: object) -> None:
            for name, content in _take_files(upload):
                try:
                    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
                    show(self._take(torch.from_numpy(samples), rate, name, len(samples) / rate))
                except soundfile.SoundFileError as error:
                    show(f"{name} is not a sound file that soundfile can read ({error}).")

        upload.observe(chosen, names="value")
        show("")
        return ipywidgets.VBox([status, upload])

    def _take(self, samples: Tensor, sample_rate: int, name: str, full_seconds: float) -> str:
        """Keep the samples if they are sound, and say what they are."""
        try:
            waveform = audio.as_waveform(samples, sample_rate, name=name)
        except ValueError as error:
            return f"Not taken. {error}"
        self._waveform = waveform[: round(self.max_seconds * self.sample_rate)]
        peak = float(self._waveform.abs().max())
        verdict = "a good level"
        if peak < QUIET:
            verdict = (
                "silent: is the microphone muted?" if peak < 0.001 else "too quiet: come closer"
            )
        elif peak > LOUD:
            verdict = "too loud: move away a little"
        text = f"The kernel has it: {self.seconds:.2f} s, peak {peak:.2f}, {verdict}."
        if full_seconds > self.max_seconds + 0.5:  # a recorder that stops by itself is no cut
            text += f" Cut to the first {self.max_seconds:g} s of {full_seconds:.1f} s."
        return text


def _take_files(upload: Any) -> list[tuple[str, bytes]]:
    """Names and contents of the files in a FileUpload, whose state must not keep them."""
    if isinstance(upload.value, dict):  # ipywidgets 7
        files = [(name, bytes(file["content"])) for name, file in upload.value.items()]
        upload.data, upload.metadata = [], []
    else:
        files = [(file["name"], bytes(file["content"])) for file in upload.value]
        upload.value = ()
    return files


def _privacy() -> str:
    colab = "google.colab" in sys.modules
    machine = "on Colab that is Google's machine" if colab else "this computer"
    elsewhere = "" if colab else ", or the server if you opened Jupyter on one"
    return (
        f"The sound goes only to the Python kernel of this notebook: {machine}{elsewhere}."
        " The notebook file does not keep it."
    )


def _card(*lines: str) -> str:
    """A card without a script."""
    style = asset("card.css") + asset("recorder.css")
    return (
        f'<div class="asrlib-card asrlib-recorder"><style>{style}</style>'
        f'<div class="asrlib-head"><div class="asrlib-title">Record your voice</div></div>'
        f"{''.join(lines)}</div>"
    )
