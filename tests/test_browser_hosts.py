"""All widgets in one notebook, where readers meet it: JupyterLab, exported HTML, VS Code's output.

Each of these brings a style sheet of its own, which must change nothing in a card; and each runs
scripts in its own way. VS Code is not started: a page imitates what its renderer does to outputs.
"""

import subprocess
import sys

import nbformat
import pytest

from tests.browser import CONTRASTS, LOOKS, READY, jupyterlab, notebook_page, write_notebook

playwright = pytest.importorskip(
    "playwright.sync_api", reason="browser: playwright is absent (pip install playwright)"
)
expect = playwright.expect

KINDS = ("player", "compare", "ctc_playground", "beam_playground", "film")
CELLS = [
    """import numpy as np
import torch
from asrlib.corpus import MiniSpeech
from asrlib.features import FeatureExtractor
from asrlib.subtitles import Word
from asrlib.widgets import *
from tests.films import TRUTHS, moments
clip = MiniSpeech("dev")[0]
sound, words = clip.load(), clip.text.split()
times = np.linspace(0.2, clip.duration_seconds - 0.2, len(words) + 1).round(3)
truth = [Word(w, float(a), float(b), 1.0) for w, a, b in zip(words, times, times[1:])]
mel, _ = FeatureExtractor()(sound[None], torch.tensor([len(sound)]))
guesses = torch.tensor(np.random.default_rng(0).normal(size=(mel.shape[-1] // 4 + 1, 29)) * 3)
guesses[:, 0] += 6""",
    "Player(sound, text=clip.text, title='Player', log_mel=mel[0, 0], compress=True,\n"
    "       log_probs=guesses.log_softmax(-1), words=truth[:-1], truth=truth)",
    "systems = {'first': ' '.join(words[1:]), 'second': ' '.join(['so', *words[:-1], 'x'])}\n"
    "ComparePlayer(sound, truth, systems, title='Compare', compress=True)",
    "CTCPlayground()",
    "BeamPlayground()",
    "TrainingFilm(TRUTHS, moments())",
    "SpectrogramWorkbench(sound, text=clip.text)",
    "record()",
]

# What VS Code does to HTML that a cell shows: its style for tables, and each script made anew.
VSCODE = """<style>
  body { font-family: system-ui; line-height: 1.4; }
  table, thead, tbody, tr, th, td { border: none !important; border-collapse: collapse; border-spacing: 0; }
  table, tr, th { text-align: right; vertical-align: middle; }
  thead { background-color: rgba(130, 130, 130, 0.16); font-weight: bold; }
  th, td { padding: 4px 8px; }
  tr:nth-child(even) { background-color: rgba(130, 130, 130, 0.08); }
  tbody th { font-weight: normal; }
</style>
<body class="vscode-light"><div id="container"></div>"""  # noqa: E501
RENDER = """outputs => {
  for (const output of outputs) {
    const element = document.createElement("div");
    element.innerHTML = output;  // which runs no script
    document.querySelector("#container").append(element);
    for (const script of element.querySelectorAll("script")) {
      const again = document.createElement("script");
      again.text = script.innerText;
      if (script.type) again.type = script.type;
      element.append(again);
      again.remove();
    }
  }
}"""


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    """The notebook in JupyterLab, run to the end and saved."""
    folder = tmp_path_factory.mktemp("hosts") / "notebooks"
    write_notebook(folder / "all.ipynb", CELLS)
    with notebook_page(chromium, folder, "all.ipynb", seconds=400) as page:
        page.set_viewport_size({"width": 1200, "height": 7600})  # all of it is on the screen
        page.locator(".asrlib-recorder button").wait_for()
        page.locator(".widget-slider").first.wait_for()
        page.evaluate("jupyterapp.commands.execute('docmanager:save')")
        yield page, folder / "all.ipynb"


@pytest.fixture(scope="module")
def outputs(lab):
    """The HTML of every kind of card, as the notebook keeps it."""
    cells = nbformat.read(lab[1], as_version=4).cells
    return {kind: cell.outputs[0].data["text/html"] for kind, cell in zip(KINDS, cells[1:])}


@pytest.fixture
def alone(open_page, outputs):
    """How each card looks on a page of its own."""
    return {
        kind: open_page(output, width=1200).locator(f".asrlib-{kind}").evaluate(LOOKS)
        for kind, output in outputs.items()
    }


def check_looks(page, alone):
    """Every part of every card stands where it stands on a page of its own, and looks the same."""
    wrong = []
    for kind, expected in alone.items():
        looks = page.locator(f".asrlib-{kind}").first.evaluate(LOOKS)
        assert [look[0] for look in looks] == [look[0] for look in expected]
        for (name, *look), (_, *other) in zip(looks, expected):
            near = all(abs(a - b) <= 1 for a, b in zip(look[:4], other[:4]))
            if not near or look[4:] != other[4:]:
                wrong.append(f"{kind}: {name} {look}, alone {other}")
    assert not wrong, "\n".join([f"{len(wrong)} parts look different", *wrong[:20]])


def play(page):
    """Touch every card once: each answers."""
    player = page.locator(".asrlib-player").first
    player.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('.asrlib-player audio').currentTime > 0.3")
    cursor = "parseFloat(document.querySelector('.asrlib-player .asrlib-cursor').style.left)"
    page.wait_for_function(f"{cursor} > 5")
    player.locator(".asrlib-heard .asrlib-word").nth(2).click()
    expect(player.locator(".asrlib-band")).to_be_visible()
    page.keyboard.press("Escape")
    expect(player.get_by_role("button", name="Play")).to_be_visible()

    compare = page.locator(".asrlib-compare")
    compare.locator(".asrlib-substitute button").click()
    expect(compare.locator(".asrlib-readout")).to_contain_text("heard 'x'")
    page.wait_for_function("document.querySelector('.asrlib-compare audio').currentTime > 1.5")

    playground = page.locator(".asrlib-ctc_playground")
    playground.get_by_role("button", name="Peaky").click()
    playground.get_by_role("button", name="it rises").click()
    expect(playground.locator(".asrlib-verdict")).to_contain_text("P(aab) was 0.433")
    cell = playground.locator(".asrlib-cell[data-frame='2'][data-symbol='0']")
    cell.evaluate("cell => cell.scrollIntoView({block: 'center'})")
    box = cell.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 20, box["y"] - 50)
    page.mouse.up()
    expect(cell).to_have_attribute("data-p", "0.51")  # 70 of 140 pixels up from 0.01

    beam = page.locator(".asrlib-beam_playground")
    beam.get_by_role("button", name="Reset").click()
    beam.get_by_role("button", name="Step").click()
    expect(beam.locator(".asrlib-status")).to_contain_text("After frame 1: 3 kept")

    film = page.locator(".asrlib-film")
    film.get_by_role("button", name="Reset").click()
    expect(film.locator(".asrlib-step")).to_have_text("step 1")
    film.get_by_role("button", name="Play").click()
    expect(film.locator(".asrlib-step")).to_have_text("step 75", timeout=20_000)

    for kind in KINDS:
        contrasts = page.locator(f".asrlib-{kind}").first.evaluate(CONTRASTS)
        assert min(contrast for _, contrast in contrasts) >= 4.5, contrasts


def test_jupyterlab(lab, alone, screenshot):
    page, _ = lab
    check_looks(page, alone)
    play(page)
    screenshot(page, "hosts_jupyterlab")
    page.evaluate(
        "jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    screenshot(page, "hosts_jupyterlab_dark")
    for kind in KINDS:
        contrasts = page.locator(f".asrlib-{kind}").first.evaluate(CONTRASTS)
        assert min(contrast for _, contrast in contrasts) >= 4.5, contrasts


def test_exported_html(lab, alone, chromium, tmp_path, screenshot):
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "html", "--output-dir"]
    done = subprocess.run([*command, tmp_path, lab[1]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route("http*://**", lambda route: route.abort())  # what the exporter itself links to
    page.goto((tmp_path / "all.html").as_uri())
    check_looks(page, alone)
    play(page)
    screenshot(page, "hosts_exported", full_page=True)
    context.close()
    assert errors == []


def test_as_in_vscode(outputs, alone, open_page, screenshot):
    page = open_page(VSCODE, width=1200)
    page.evaluate(RENDER, list(outputs.values()))
    check_looks(page, alone)
    play(page)
    screenshot(page, "hosts_vscode", full_page=True)


def test_a_notebook_that_jupyterlab_does_not_trust(lab, chromium, tmp_path, screenshot):
    """What a reader sees who opens it and runs nothing: no script, and yet all that was found."""
    notebook = nbformat.read(lab[1], as_version=4)
    notebook.cells[0].source += "  # another notebook than the one that was run here"
    folder = tmp_path / "notebooks"
    folder.mkdir()
    nbformat.write(notebook, folder / "all.ipynb")
    with jupyterlab(folder, tmp_path / "server.log") as (address, token):
        context = chromium.new_context(viewport={"width": 1200, "height": 4000})
        page = context.new_page()
        page.goto(f"{address}/doc/tree/all.ipynb?token={token}")
        page.wait_for_function(READY)
        film = page.locator(".asrlib-film")
        film.locator("img").wait_for()
        screenshot(page, "hosts_not_trusted")
        assert page.locator("[data-ready]").count() == 0  # no script has run
        text = page.locator(".jp-Notebook").inner_text()
        for words in (
            "we saw winter water in my river",
            "P(aab) = 0.433",
            "Best text of a beam of 3: “a kat”",
            "blank plateau (95 % blanks or more): steps 20 until 60",
            "Run this cell, and a button to record your voice appears here.",
            "Run this cell, and sliders appear here.",
        ):
            assert words in text
        for picture in page.locator(".asrlib-card img").all():
            box = picture.bounding_box()
            assert picture.get_attribute("alt") and box["width"] > 200 and box["height"] < 300
        assert page.locator(".asrlib-player audio").first.is_visible()
        context.close()
