"""The recorder's kernel side, without a browser: what it takes, refuses and says."""

import io
import subprocess
import sys
from types import SimpleNamespace

import IPython.display
import numpy as np
import pytest
import soundfile
import torch

from asrlib import audio
from asrlib.widgets import record
from asrlib.widgets.recorder import WIDGET, _privacy, _take_files
from tests.browser import ROOT


def tone(seconds, peak=0.5):
    samples = peak * np.sin(2 * np.pi * 440 * np.arange(round(seconds * 16000)) / 16000)
    return samples.astype(np.float32)


@pytest.fixture
def voice():
    """A recorder whose answers to the page are kept in `said`."""
    recording = record(max_seconds=10)
    recording.said = []
    recording._widget.send = lambda message: recording.said.append(message["text"])
    return recording


def send(recording, samples, seconds=None):
    """Do what the page does."""
    message = {"name": "the recording", "seconds": seconds or len(samples) / 16000}
    recording._widget._handle_custom_msg(message, [memoryview(samples.tobytes())])


@pytest.fixture
def without_anywidget(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)  # importing it fails


def upload(recording, name, content):
    """Do what the page of ipywidgets 8 does."""
    file = {"name": name, "type": "", "size": len(content), "last_modified": 0}
    recording._widget.children[1].set_state({"value": [file | {"content": memoryview(content)}]})
    return recording._widget.children[0].value


def wav(samples, rate=16000):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def test_importing_the_widgets_needs_no_widget_package():
    code = (
        "import sys; sys.modules['anywidget'] = sys.modules['ipywidgets'] = None\n"
        "import asrlib.widgets\n"
        "try: asrlib.widgets.record()\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "record() needs ipywidgets: pip install ipywidgets anywidget\n", done


def test_what_the_page_sends_is_the_waveform(voice, tmp_path):
    assert voice.seconds == 0 and repr(voice) == "Recording(nothing yet, at most 10 s)"
    with pytest.raises(RuntimeError, match="nothing was recorded yet: press Record"):
        voice.save(tmp_path / "voice.wav")
    samples = tone(1.5)
    send(voice, samples)
    assert voice.waveform.dtype == torch.float32 and np.array_equal(voice.waveform, samples)
    assert (voice.sample_rate, voice.seconds) == (16000, 1.5)
    assert repr(voice) == "Recording(1.50 s at 16000 Hz)"
    assert voice.said == ["The kernel has it: 1.50 s, peak 0.50, a good level."]
    voice.save(tmp_path / "voice.wav")
    assert (audio.read(tmp_path / "voice.wav") - voice.waveform).abs().max() < 1e-4
    with pytest.raises(ValueError, match="name it voice.wav"):
        voice.save(tmp_path / "voice.mp3")
    send(voice, tone(2))  # again: the last one counts
    assert voice.seconds == 2.0


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros(16000, np.float32), "silent: is the microphone muted?"),
        (tone(1, 0.04), "too quiet: come closer"),
        (tone(1, 0.06), "a good level"),
        (tone(1, 0.96), "too loud: move away"),
        (np.zeros(0, np.float32), "Not taken. the recording: 0 samples"),
        (np.array([0.1, np.nan], np.float32), "Not taken. the recording: 1 samples are NaN"),
    ],
)
def test_it_says_how_good_a_recording_is(voice, samples, words):
    send(voice, samples)
    assert words in voice.said[0]
    assert (voice.seconds == 0) == ("Not taken" in words)


def test_long_files_are_cut_and_recordings_that_stop_by_themselves_say_nothing(voice):
    send(voice, tone(10), seconds=12.0)
    assert "Cut to the first 10 s of 12.0 s." in voice.said[0] and voice.seconds == 10
    send(voice, tone(10), seconds=10.06)
    assert "Cut" not in voice.said[1]


@pytest.mark.parametrize("seconds", [0, -1, 121, float("nan")])
def test_limits_are_named(seconds):
    with pytest.raises(ValueError, match=rf"max_seconds={seconds}; it must lie in 0\.\.120"):
        record(seconds)


def test_without_anywidget_a_file_is_decoded_here(without_anywidget):
    recording = record(max_seconds=10)
    assert "install the package anywidget" in recording._widget.children[0].value
    said = upload(recording, "a.wav", wav(np.stack([tone(12), tone(12)], axis=1)))
    assert "The kernel has it: 10.00 s, peak 0.50" in said and "of 12.0 s" in said
    assert np.abs(recording.waveform.numpy() - tone(10)).max() < 1e-6
    assert recording._widget.children[1].value == ()  # the widget's state keeps no sound
    said = upload(recording, "<b>x</b>", b"RIFF")
    assert "&lt;b&gt;x&lt;/b&gt; is not a sound file" in said and "<b>x" not in said
    said = upload(recording, "empty.wav", wav(tone(0)))
    assert "Not taken. empty.wav: 0 samples" in said
    assert recording.seconds == 10  # what was there stays
    upload(recording, "slow.wav", wav(tone(1)[::2], 8000))
    assert recording.seconds == 1.0


def test_the_value_of_ipywidgets_7_is_a_dict():
    files = {"a.wav": {"metadata": {"name": "a.wav"}, "content": b"123"}}
    old = SimpleNamespace(value=files, data=[b"123"], metadata=[{"name": "a.wav"}])
    assert _take_files(old) == [("a.wav", b"123")]
    assert old.data == old.metadata == []


def test_it_says_where_the_sound_goes(monkeypatch):
    assert _privacy().startswith("The sound goes only to the Python kernel of this notebook: this")
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    assert "notebook: on Colab that is Google's machine. The notebook" in _privacy()


@pytest.mark.parametrize("package", ["anywidget", "ipywidgets alone"])
def test_what_is_stored_is_a_sentence_and_no_sound(package, monkeypatch):
    if package != "anywidget":
        monkeypatch.setitem(sys.modules, "anywidget", None)
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda data, raw: shown.append(data))
    recording = record()
    if package == "anywidget":
        send(recording, tone(1))
    else:
        upload(recording, "a.wav", wav(tone(1)))
    recording._ipython_display_()
    [data] = shown
    assert set(data) == {"text/plain", "text/html", WIDGET} and len(data[WIDGET]["model_id"]) == 32
    assert "a button to record your voice appears here" in data["text/html"]
    assert "<script" not in data["text/html"] and len(data["text/html"]) < 12_000
    # Nor could a saved state hold the sound: 16,000 samples are 64 kB.
    widgets = [recording._widget, *getattr(recording._widget, "children", ())]
    assert sum(len(repr(widget.get_state())) for widget in widgets) < 40_000
