"""The recorder in a real browser that asks before it gives its (fake) microphone away."""

import io
import json

import nbformat
import numpy as np
import pytest
import soundfile

from asrlib.widgets import Player
from asrlib.widgets._card import asset
from asrlib.widgets.recorder import LOUD, QUIET, _privacy
from tests.browser import CHROMIUM, CONTRASTS, FLAGS, NOTEBOOK, notebook_page, write_notebook

playwright = pytest.importorskip(
    "playwright.sync_api", reason="browser: playwright is absent (pip install playwright)"
)
MICROPHONE = {"permissions": ["microphone"]}
HOSTILE = "<img src=x onerror='window.__pwned = 1'>.wav"


@pytest.fixture(scope="module")
def chromium(chromium):
    """The same browser, but it refuses the microphone unless a test grants it."""
    flags = [flag for flag in FLAGS if flag != "--use-fake-ui-for-media-stream"]
    browser = chromium.browser_type.launch(executable_path=CHROMIUM, headless=True, args=flags)
    yield browser
    browser.close()


def recorder(max_seconds=15):
    """Return the card with a stand-in for its kernel: `sent` keeps messages, `answer` replies."""
    state = json.dumps({"max_seconds": max_seconds, "privacy": _privacy()})
    script = asset("recorder.js").replace("export default", "const widget =")
    return f"""<style>{asset("card.css")}{asset("recorder.css")}</style><div id="host"></div>
<script type="module">{script}
const state = {state}, handlers = [];
const model = {{
  get: name => state[name], on: (_, handler) => handlers.push(handler), off() {{}},
  send: (message, _, [buffer]) => sent.push({{ ...message, samples: new Float32Array(buffer) }}),
}};
window.sent = [];
window.answer = text => handlers.forEach(handler => handler({{ text }}));
window.leave = widget.render({{ model, el: host }});
</script>"""


def record_for(page, milliseconds):
    """Press Record, wait until the level moves and then some, and press Stop."""
    page.get_by_role("button", name="Record").click()
    page.wait_for_function("document.querySelector('.asrlib-now')")
    page.wait_for_timeout(milliseconds)
    page.get_by_role("button", name="Stop").click()


def wav_file(name, samples, rate=16000, subtype="PCM_16"):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return {"name": name, "mimeType": "audio/wav", "buffer": buffer.getvalue()}


def arrived(page, count=1):
    page.wait_for_function(f"sent.length >= {count}")
    message = page.evaluate("({ ...sent.at(-1), samples: [...sent.at(-1).samples] })")
    return message | {"samples": np.array(message["samples"])}


def tone(hertz, seconds, rate=16000):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def test_it_records_shows_level_and_time_and_plays(open_page, screenshot):
    page = open_page(recorder(), **MICROPHONE)
    clock, meter = page.locator(".asrlib-facts"), page.get_by_role("meter")
    assert clock.inner_text() == "0.0 / 15 s" and page.locator("audio").is_hidden()
    assert page.locator("label").is_hidden()  # a file is the way out, not a choice
    page.evaluate("""() => {
      window.seen = new Set();
      const look = () => {
        const now = document.querySelector(".asrlib-now")?.innerText;
        if (now) seen.add(now + document.querySelector("[role=meter]").ariaValueText);
        requestAnimationFrame(look);
      };
      look();
    }""")
    record_for(page, 1500)
    message = arrived(page)
    seen = page.evaluate("[...seen]")  # the fake microphone beeps twice a second
    assert seen and set(seen) <= {name + name for name in ("too quiet", "good", "too loud")}
    samples = message["samples"]
    assert 1 < len(samples) / 16000 < 15 and message["name"] == "the recording"
    assert 0.2 < np.abs(samples).max() <= 1.5
    assert len(samples) / 16000 == pytest.approx(float(clock.inner_text().split()[0]), abs=0.06)
    audio = page.locator("audio")
    assert audio.is_visible()
    page.wait_for_function("document.querySelector('audio').duration > 0")
    assert audio.evaluate("audio => audio.duration") == pytest.approx(
        len(samples) / 16000, abs=0.01
    )
    # What plays is what the kernel got.
    heard = page.evaluate("""async () => {
      const bytes = await (await fetch(document.querySelector("audio").src)).arrayBuffer();
      const sound = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes);
      return [...sound.getChannelData(0)];
    }""")
    assert np.abs(np.array(heard) - samples.clip(-1, 1)).max() < 1e-4
    page.evaluate("answer('The kernel has it.')")
    assert page.get_by_role("status").inner_text() == "The kernel has it."
    assert meter.get_attribute("aria-valuetext") == "not recording"
    screenshot(page, "recorder_done")


def test_it_stops_by_itself_and_by_keyboard_and_lets_the_microphone_go(open_page):
    watch = """<script>
      const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      window.streams = [];
      navigator.mediaDevices.getUserMedia = async (wish) => {
        streams.push(await ask(wish));
        return streams.at(-1);
      };
      const live = track => track.readyState === "live";
      window.on = () => streams.flatMap(stream => stream.getTracks()).filter(live).length;
    </script>"""
    page = open_page(watch, recorder(1), **MICROPHONE)
    page.get_by_role("button", name="Record").click()
    samples = arrived(page)["samples"]  # nobody pressed Stop
    assert 0.5 * 16000 < len(samples) <= 16000
    assert page.evaluate("[streams.length, on()]") == [1, 0]
    page.keyboard.press("Space")  # the button has the focus
    page.get_by_role("button", name="Stop").wait_for()
    assert page.evaluate("on()") == 1
    page.evaluate("leave()")  # the cell's output was cleared
    assert page.evaluate("on()") == 0
    page.wait_for_timeout(300)
    assert page.evaluate("sent.length") == 1


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("", "The microphone is not allowed here"),  # refused, for real
        ("navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', "
         "'NotFoundError'); };", "No microphone was found"),
        ("navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', "
         "'OddError'); };", "did not start (OddError)"),
        ("delete window.MediaRecorder;", "This browser cannot record"),
        ("Object.defineProperty(window, 'isSecureContext', { value: false });",
         "only to https pages and to localhost"),
    ],
    ids=["refused", "absent", "odd", "unable", "insecure"],
)  # fmt: skip
def test_without_a_microphone_it_says_why_and_takes_a_file(open_page, screenshot, before, words):
    page = open_page(f"<script>{before}</script>", recorder(2))
    status = page.get_by_role("status")
    if "isSecureContext" not in before:  # that one is known before anybody presses
        assert page.locator("label").is_hidden()
        page.get_by_role("button", name="Record").click()
    playwright.expect(status).to_contain_text(words)
    playwright.expect(page.get_by_role("button", name="Record")).to_be_enabled()
    assert page.locator("label").bounding_box()["height"] >= 40
    assert page.locator("audio").is_hidden()
    page.locator("input").set_input_files(wav_file("a.wav", tone(440, 1)))
    assert len(arrived(page)["samples"]) == 16000
    screenshot(page, f"recorder_{words.split()[2]}")


def test_any_file_becomes_16_khz_mono(open_page):
    page = open_page(recorder(2))
    left, right = tone(440, 3, 44100), tone(1000, 3, 44100)
    file = wav_file(HOSTILE, np.stack([left, right], axis=1), 44100)
    page.locator("input").set_input_files(file)
    message = arrived(page)
    samples = message["samples"]
    assert len(samples) == 32000  # cut
    assert (message["name"], message["seconds"]) == (HOSTILE, pytest.approx(3, abs=0.001))
    spectrum = np.abs(np.fft.rfft(samples)) / 16000
    assert spectrum[880] == pytest.approx(0.25, rel=0.02)  # half of 0.5, at 440 Hz
    assert spectrum[2000] == pytest.approx(0.25, rel=0.02)
    # A file that is none says so, as text, and the recorder goes on.
    broken = {"name": HOSTILE, "mimeType": "audio/wav", "buffer": b"RIFF"}
    page.locator("input").set_input_files(broken)
    status = page.get_by_role("status")
    playwright.expect(status).to_contain_text(f"cannot read {HOSTILE} as sound")
    assert page.locator("img").count() == 0 and page.evaluate("window.__pwned") is None
    playwright.expect(page.get_by_role("button", name="Record")).to_be_enabled()


def test_levels_are_those_of_the_kernel():
    script = asset("recorder.js")
    assert f"const QUIET = {QUIET};" in script and f"const LOUD = {LOUD};" in script


@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_fits_and_reads(open_page, screenshot, width, scheme):
    other = Player(np.zeros(16000))._repr_html_()  # brings card.css a second time
    page = open_page(recorder(), other, width=width, color_scheme=scheme, **MICROPHONE)
    card = page.locator(".asrlib-recorder")
    record_for(page, 0)
    arrived(page)
    page.context.clear_permissions()
    page.get_by_role("button", name="Record").click()
    page.locator("label").wait_for()
    page.evaluate("document.querySelectorAll('.asrlib-zones span')[2].className = 'asrlib-now'")
    screenshot(page, f"recorder_{width}_{scheme}", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert card.bounding_box()["width"] == pytest.approx(min(720, width - 16), abs=1)
    for element in card.locator("label, audio").all():
        assert element.bounding_box()["height"] >= 40
    edges = [element.bounding_box()["x"] for element in card.locator("button, p, label").all()]
    assert max(edges) - min(edges) < 1 and card.locator("button").bounding_box()["height"] == 56
    contrasts = card.evaluate(CONTRASTS)
    assert len(contrasts) >= 8 and min(contrast for _, contrast in contrasts) >= 4.5, contrasts


# --- JupyterLab -----------------------------------------------------------------------------------

CELLS = [
    "from asrlib.widgets import record\nvoice = record(max_seconds=8)\nvoice",
    "import sys\nsys.modules['anywidget'] = None  # as where it is not installed\n"
    "chosen = record(max_seconds=8)\nchosen",
    "import numpy as np\n"
    "for name, recording in ('voice', voice), ('chosen', chosen):\n"
    "    if recording.seconds:\n"
    "        np.save(f'{name}.npy', recording.waveform.numpy())\n"
    "        recording.save(f'{name}.wav')\n"
    "print(voice, chosen)",
]


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    """JupyterLab with a recorder, one without anywidget, and a cell that keeps what arrived."""
    folder = tmp_path_factory.mktemp("recorder") / "notebooks"
    write_notebook(folder / "recorder.ipynb", CELLS)
    with notebook_page(chromium, folder, "recorder.ipynb", seconds=400, **MICROPHONE) as page:
        page.locator(".asrlib-recorder button").wait_for()
        yield page, folder


def run_last_cell(page):
    """Run it again; return what it prints."""
    last = page.locator(".jp-CodeCell").last.locator(".jp-OutputArea-output")
    page.evaluate(f"{NOTEBOOK}.activeCellIndex = 2")
    page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")
    return last.inner_text()


def test_a_recording_arrives_in_the_kernel(lab, screenshot):
    page, folder = lab
    assert "Recording(nothing yet, at most 8 s)" in run_last_cell(page)
    status = page.locator(".asrlib-recorder [role=status]")
    record_for(page, 1200)
    playwright.expect(status).to_contain_text("The kernel has it", timeout=30_000)
    screenshot(page, "jupyterlab_recorder")
    printed = run_last_cell(page)
    samples = np.load(folder / "voice.npy")
    assert f"Recording({len(samples) / 16000:.2f} s at 16000 Hz)" in printed
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert 16000 < len(samples) < 8 * 16000
    assert 0.2 < np.abs(samples).max() <= 1.5 and samples.std() > 0.01  # beeps, not silence
    saved, rate = soundfile.read(folder / "voice.wav")
    assert rate == 16000 and np.abs(saved - samples.clip(-1, 1)).max() < 1e-4
    assert f"peak {np.abs(samples).max():.2f}" in status.inner_text()


def test_where_the_microphone_is_refused_a_file_arrives(lab, screenshot):
    page, folder = lab
    card = page.locator(".asrlib-recorder").first
    assert card.locator("label").is_hidden()
    page.context.clear_permissions()
    card.get_by_role("button", name="Record").click()
    playwright.expect(card).to_contain_text("The microphone is not allowed here")
    samples = tone(440, 1.5).astype(np.float32)
    card.locator("input").set_input_files(wav_file("a.wav", samples, subtype="FLOAT"))
    playwright.expect(card).to_contain_text("The kernel has it: 1.50 s", timeout=30_000)
    screenshot(page, "jupyterlab_recorder_refused")
    run_last_cell(page)
    assert np.abs(np.load(folder / "voice.npy") - samples).max() < 1e-6


def test_without_anywidget_a_file_arrives(lab, screenshot):
    page, folder = lab
    samples = tone(440, 9.0).astype(np.float32)  # longer than the limit
    choose = page.locator("button.widget-upload")
    with page.expect_file_chooser() as chooser:
        choose.click()
    chooser.value.set_files(wav_file(HOSTILE, samples))
    card = page.locator(".asrlib-recorder").last
    cut = "The kernel has it: 8.00 s, peak 0.50, a good level. Cut to the first 8 s of 9.0 s."
    playwright.expect(card).to_contain_text(cut, timeout=30_000)
    screenshot(page, "jupyterlab_recorder_without_anywidget")
    run_last_cell(page)
    assert np.abs(np.load(folder / "chosen.npy") - samples[: 8 * 16000]).max() < 1e-4
    with page.expect_file_chooser() as chooser:
        choose.click()
    chooser.value.set_files(wav_file(HOSTILE, samples) | {"buffer": b"no sound"})
    playwright.expect(card).to_contain_text(f"{HOSTILE} is not a sound file", timeout=30_000)
    assert card.locator("img").count() == 0


def test_the_notebook_file_keeps_no_sound(lab):
    page, folder = lab
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    saved = nbformat.read(folder / "recorder.ipynb", as_version=4)
    assert "widgets" not in saved.metadata and len(saved.cells[0].outputs) == 1
    assert (
        "a button to record your voice appears here" in saved.cells[0].outputs[0].data["text/html"]
    )
    assert (folder / "recorder.ipynb").stat().st_size < 30_000
