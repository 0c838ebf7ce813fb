"""The widgets with the packages that Colab has, in JupyterLab: an overlay of old versions.

Only these packages are installed anew, without what they would pull in; torch and the rest are
those of the environment that runs the tests. Colab's own page is not tested by this.
"""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from tests.browser import NOTEBOOK, ROOT, notebook_page, write_notebook

playwright = pytest.importorskip(
    "playwright.sync_api", reason="browser: playwright is absent (pip install playwright)"
)

COLAB = ["ipywidgets==7.7.1", "ipython==7.34.0", "anywidget==0.9.21"]
# What these import and newer ones do not bring along; the page's side of ipywidgets 7.
HELPERS = [
    "ipython-genutils==0.2.0", "backcall==0.2.0", "pickleshare==0.7.5", "decorator<6",
    "jedi<0.20", "parso<0.9", "jupyterlab-widgets==1.1.11",
]  # fmt: skip
# ipywidgets 7 asks JupyterLab 4 for MathJax 2, which has another one; nothing here is math.
MATHJAX_2_IS_GONE = "Cannot read properties of undefined (reading 'Queue')"
CELLS = [
    "import IPython, anywidget, ipywidgets, numpy as np\n"
    "print(ipywidgets.__version__, IPython.__version__, anywidget.__version__)",
    "from asrlib.widgets import Player, SpectrogramWorkbench, record\n"
    "voice = record(max_seconds=8)\nvoice",
    "import sys\nsys.modules['anywidget'] = None\nchosen = record(max_seconds=8)\nchosen",
    "tone = 0.5 * np.sin(np.arange(16000) * (0.1 + np.arange(16000) / 160000))\n"
    "Player(tone, title='a rising tone')",
    "bench = SpectrogramWorkbench(tone)\nbench",
    "for name, recording in ('voice', voice), ('chosen', chosen):\n"
    "    if recording.seconds:\n"
    "        np.save(f'{name}.npy', recording.waveform.numpy())\n"
    "print(voice, chosen, bench)",
]


@pytest.fixture(scope="module")
def overlay(tmp_path_factory):
    """Install the old packages into a folder; make them a kernel; return the folder."""
    folder = tmp_path_factory.mktemp("overlay")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    command += ["--retries", "1", "--timeout", "15", "--disable-pip-version-check"]
    done = subprocess.run([*command, *COLAB, *HELPERS], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"overlay: pip cannot fetch Colab's versions ({done.stderr[-200:].strip()})")
    kernel = folder / "share" / "jupyter" / "kernels" / "colab" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    path = {"PYTHONPATH": f"{folder}:{ROOT}"}
    kernel.write_text(json.dumps({"argv": start, "display_name": "Colab's", "env": path}))
    return folder


def run_last_cell(page):
    page.evaluate(f"{NOTEBOOK}.activeCellIndex = {len(CELLS) - 1}")
    page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")
    return page.evaluate(f"{NOTEBOOK}.model.toJSON().cells.at(-1).outputs[0].text")


def test_recorder_player_and_workbench(chromium, overlay, tmp_path, screenshot, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(overlay / "share" / "jupyter"))
    folder = tmp_path / "notebooks"
    write_notebook(folder / "overlay.ipynb", CELLS, "colab")
    with notebook_page(
        chromium, folder, "overlay.ipynb", seconds=400, harmless=MATHJAX_2_IS_GONE
    ) as page:
        page.set_viewport_size({"width": 1200, "height": 2600})  # all of it is on the screen
        outputs = page.evaluate(f"{NOTEBOOK}.model.toJSON().cells.map(cell => cell.outputs)")
        assert "".join(outputs[0][0]["text"]) == "7.7.1 7.34.0 0.9.21\n"
        page.locator(".widget-slider").first.wait_for()

        page.get_by_role("button", name="Record").click()
        page.wait_for_function("document.querySelector('.asrlib-now')")
        page.wait_for_timeout(1000)
        page.get_by_role("button", name="Stop").click()
        status = page.locator(".asrlib-recorder [role=status]")
        playwright.expect(status).to_contain_text("The kernel has it", timeout=60_000)

        sound, buffer = np.sin(np.arange(16000) * 0.1).astype(np.float32) / 2, io.BytesIO()
        soundfile.write(buffer, sound, 16000, format="WAV", subtype="FLOAT")
        with page.expect_file_chooser() as chooser:
            page.locator("button.widget-upload").click()
        file = {"name": "a.wav", "mimeType": "audio/wav", "buffer": buffer.getvalue()}
        chooser.value.set_files(file)
        card = page.locator(".asrlib-recorder").nth(1)
        playwright.expect(card).to_contain_text("The kernel has it: 1.00 s", timeout=60_000)

        knob = page.locator(".widget-slider", has=page.get_by_text("n_mels", exact=True))
        knob.locator("[role=slider], .ui-slider-handle").press("ArrowLeft")
        outputs = f"JSON.stringify({NOTEBOOK}.model.toJSON().cells[4].outputs)"
        page.wait_for_function(f"{outputs}.includes('79 mel bands')", timeout=60_000)
        page.locator(".asrlib-player").first.get_by_role("button", name="Play").click()
        page.wait_for_function("document.querySelector('.asrlib-player audio').currentTime > 0.1")
        screenshot(page, "jupyterlab_overlay")
        assert "n_mels=79" in "".join(run_last_cell(page))
        voice = np.load(folder / "voice.npy")
        assert 8000 < len(voice) < 8 * 16000 and 0.2 < np.abs(voice).max() <= 1.5
        assert np.abs(np.load(folder / "chosen.npy") - sound).max() < 1e-6
