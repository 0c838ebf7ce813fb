"""The workbench in JupyterLab: its knobs turn picture and sound; what is stored needs no kernel."""

import nbformat
import pytest

from tests.browser import notebook_page, write_notebook

playwright = pytest.importorskip(
    "playwright.sync_api", reason="browser: playwright is absent (pip install playwright)"
)

BENCH = (
    "from asrlib.corpus import MiniSpeech\n"
    "from asrlib.widgets import SpectrogramWorkbench\n"
    "clip = MiniSpeech('dev')[0]\n"
    "SpectrogramWorkbench(clip.load(), text=clip.text)"
)
STATE = """() => [".jp-OutputArea img:not(.asrlib-card img)", ".asrlib-player audio"]
  .map(name => document.querySelector(name)?.src.slice(-2000))"""


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    folder = tmp_path_factory.mktemp("workbench") / "notebooks"
    write_notebook(folder / "workbench.ipynb", [BENCH])
    with notebook_page(chromium, folder, "workbench.ipynb", seconds=400) as page:
        page.locator(".asrlib-player button").first.wait_for()
        page.locator(".widget-slider").first.wait_for()
        yield page, folder / "workbench.ipynb"


def stored(page, path):
    """Save the notebook; return its outputs: knobs, picture, player."""
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    notebook = nbformat.read(path, as_version=4)
    assert "widgets" not in notebook.metadata
    return notebook.cells[0].outputs


def turn(page, name, key):
    """Press a key on a slider; wait until picture and sound are other ones."""
    before = page.evaluate(STATE)
    slider = page.locator(".widget-slider", has=page.get_by_text(name, exact=True))
    slider.locator("[role=slider]").press(key)
    wait_for_change(page, before)


def wait_for_change(page, before):
    changed = f"""before => {{
      const now = ({STATE})();
      return now.every((value, i) => value && value !== before[i]);
    }}"""
    page.wait_for_function(changed, arg=before, timeout=60_000)


def test_what_is_stored_needs_no_kernel(lab, open_page, screenshot):
    knobs, picture, player = stored(*lab)
    alt = picture.metadata["image/png"]["alt"]
    assert alt == (
        "Spectrogram of 2.36 s, 237 frames: window 25 ms, hop 10 ms, n_fft 512, 80 mel bands,"
        " with log; not normalized, nothing hidden."
    )
    assert len(picture.data["image/png"]) < 100_000 and len(player.data["text/html"]) < 100_000
    image = f'<p><img alt="{alt}" src="data:image/png;base64,{picture.data["image/png"]}"></p>'
    page = open_page(knobs.data["text/html"], image, player.data["text/html"])
    assert page.get_by_text("Run this cell, and sliders appear here. They stand at: window 25 ms")
    assert page.get_by_alt_text("Spectrogram of").bounding_box()["width"] == pytest.approx(
        720, abs=20
    )
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('audio').currentTime > 0.2")
    screenshot(page, "workbench_stored", full_page=True)


def test_knobs_turn_picture_and_sound(lab, screenshot):
    page, path = lab
    turn(page, "n_mels", "ArrowLeft")
    knob = page.get_by_role("checkbox", name="SpecAugment")
    before = page.evaluate(STATE)
    knob.click()
    wait_for_change(page, before)
    before = page.evaluate(STATE)
    page.get_by_role("combobox").last.select_option("utterance")
    wait_for_change(page, before)
    button = page.locator(".asrlib-player").get_by_role("button", name="Play")
    button.click()
    page.wait_for_function("document.querySelector('.asrlib-player audio').currentTime > 0.2")
    screenshot(page, "jupyterlab_workbench")
    _, picture, player = stored(page, path)
    words = "79 mel bands, with log; normalized by utterance, 2 bands and 5 stretches hidden."
    assert words in picture.metadata["image/png"]["alt"]
    assert player.data["text/html"].count("asrlib-player") >= 1


def test_knobs_stand_in_rows(lab):
    """Sliders of words and of numbers have other margins in ipywidgets, and the same here."""
    page, _ = lab
    knobs = page.locator(".widget-vbox .widget-vbox > *")
    boxes = [knob.bounding_box() for knob in knobs.all()]
    assert len(boxes) == 10
    for left, right in zip(boxes[:5], boxes[5:]):
        assert left["y"] == right["y"] and left["width"] == right["width"]
    assert len({box["x"] for box in boxes}) == 2


def test_what_does_not_fit_is_said(lab, screenshot):
    page, _ = lab
    turn(page, "win_length", "ArrowRight")  # 512
    before = page.evaluate(STATE)
    slider = page.locator(".widget-slider", has=page.get_by_text("win_length", exact=True))
    slider.locator("[role=slider]").press("ArrowRight")  # 800
    status = page.locator(".widget-html [role=status]")
    said = "These do not fit together: win_length=800 is longer than n_fft=512."
    playwright.expect(status).to_contain_text(said, timeout=60_000)
    screenshot(page, "jupyterlab_workbench_problem")
    assert page.evaluate(STATE) == before
    turn(page, "n_fft", "ArrowRight")
    playwright.expect(status).to_have_text("")
