"""The player in a real browser: as a page of its own, and in JupyterLab with a running kernel."""

import json
import re
import shutil

import nbformat
import numpy as np
import pytest

from asrlib.widgets import Player
from tests.browser import CONTRASTS, NOTEBOOK, ROOT, in_step, notebook_page

playwright = pytest.importorskip(
    "playwright.sync_api", reason="browser: playwright is absent (pip install playwright)"
)

START_HERE = ROOT / "notebooks" / "00_start_here.ipynb"
JUPYTERLAB_SECONDS = 240  # for one notebook, from the server's start to the last check
HOSTILE_TITLE = "<img src=x onerror='window.__pwned = 1'> \u202eright to left"
HOSTILE_TEXT = "</script><script>window.__pwned = 1</script><b>bold?</b> " + "unbroken" * 1250

# What a test reads from one player, all at one moment.
STATE = """player => {
  const [audio, cursor] = [player.querySelector("audio"), player.querySelector(".asrlib-cursor")];
  const plot = player.querySelector(".asrlib-picture").getBoundingClientRect();
  const box = cursor.getBoundingClientRect();
  const duration = Number(player.dataset.duration);
  const pictures = [...player.querySelectorAll(".asrlib-picture")];
  return {
    time: audio.currentTime, paused: audio.paused,
    label: player.querySelector(".asrlib-play").innerText,
    cursor: parseFloat(cursor.style.left) / 100 * duration,
    seen: ((box.left + box.right) / 2 - plot.left) / plot.width * duration,
    above: box.top - plot.top, below: box.bottom - pictures.at(-1).getBoundingClientRect().bottom,
  };
}"""

# The same, at every frame for some milliseconds.
WATCH = f"""(player, milliseconds) => new Promise(resolve => {{
  const state = {STATE}, states = [], start = performance.now();
  const look = () => {{
    states.push(state(player));
    performance.now() - start < milliseconds ? requestAnimationFrame(look) : resolve(states);
  }};
  requestAnimationFrame(look);  // after the player's own: between frames the cursor stands still
}})"""


def chirp(seconds=4.0, **options):
    """Return a player of a rising tone with a picture that rises with it."""
    time = np.arange(round(seconds * 16000)) / 16000
    wave = 0.5 * np.sin(2 * np.pi * (200 + 400 * time) * time) * np.minimum(1, 5 * (seconds - time))
    bands, frames = np.mgrid[:80, : len(time) // 160 + 1]
    log_mel = -np.abs(bands - 60 * np.sqrt(frames / frames.max()))
    return Player(wave.astype(np.float32), log_mel=log_mel, **options)._repr_html_()


def test_cursor_moves_in_step_with_its_own_sound(open_page, screenshot):
    page = open_page(chirp(text="a rising tone", title="First"), chirp(3, compress=True))
    first, second = page.locator(".asrlib-player").all()
    assert first.is_visible() and second.is_visible()
    assert first.locator("audio").evaluate("audio => audio.controls") is False
    assert page.evaluate("Object.keys(window).filter(name => /asrlib/i.test(name))") == []
    button = first.get_by_role("button", name="Play")
    button.click()
    states = first.evaluate(WATCH, 1500)
    screenshot(page, "player_playing")
    assert len(states) > 10
    assert states[-1]["time"] > 0.5  # 1.5 s of playing on a busy machine
    assert in_step(states) <= 0.05
    times = [state["cursor"] for state in states]
    assert times == sorted(times) and len(set(times)) > 5
    for state in states:  # the line seen on the pictures is at that time, and crosses both
        assert state["seen"] == pytest.approx(state["cursor"], abs=0.02)
        assert abs(state["above"]) <= 1 and abs(state["below"]) <= 1
    assert states[-1]["label"] == "Pause"
    still = second.evaluate(STATE)
    assert (still["time"], still["cursor"], still["paused"]) == (0, 0, True)

    second.get_by_role("button", name="Play").click()  # two sounds at once are noise
    states = second.evaluate(WATCH, 700)
    assert states[-1]["time"] > 0.2 and in_step(states) <= 0.05
    assert first.evaluate(STATE)["paused"] and first.evaluate(STATE)["label"] == "Play"


def test_sound_that_ends_can_be_played_again(open_page):
    player = open_page(chirp(0.4)).locator(".asrlib-player")
    button = player.locator(".asrlib-play")
    button.click()
    playwright.expect(button).to_have_text("Play", timeout=20_000)
    state = player.evaluate(STATE)
    assert state["cursor"] == pytest.approx(0.4, abs=0.05)
    button.click()
    assert min(state["cursor"] for state in player.evaluate(WATCH, 200)) < 0.3


def test_a_sound_that_cannot_be_played_is_said_and_stays_said(open_page):
    markup = re.sub(
        r'src="data:audio/wav;base64,[^"]*"', 'src="data:audio/wav;base64,AA"', chirp(1)
    )
    player = open_page(markup).locator(".asrlib-player")
    player.locator(".asrlib-play").click()
    clock = player.locator(".asrlib-clock")
    playwright.expect(clock).to_have_text("this browser cannot play the sound")
    player.locator("audio").dispatch_event("pause")  # draws once more
    playwright.expect(clock).to_have_text("this browser cannot play the sound")
    playwright.expect(player.locator("audio")).to_have_attribute("controls", "")


def test_click_and_drag_seek(open_page):
    page = open_page(chirp(4), chirp(4))
    player = page.locator(".asrlib-player").first
    plot = player.locator(".asrlib-seek").bounding_box()

    def at(fraction):
        return plot["x"] + fraction * plot["width"], plot["y"] + plot["height"] - 20

    page.mouse.click(*at(0.25))
    state = player.evaluate(STATE)
    assert state["time"] == pytest.approx(1.0, abs=0.02) and state["paused"]
    assert state["cursor"] == pytest.approx(state["time"], abs=0.001)
    # The tick named 1 stands under the cursor.
    tick = player.locator(".asrlib-axis [data-label='1']").bounding_box()
    cursor = player.locator(".asrlib-cursor").bounding_box()
    assert tick["x"] + tick["width"] / 2 == pytest.approx(cursor["x"] + 1, abs=2)

    page.mouse.move(*at(0.5))
    page.mouse.down()
    page.mouse.move(*at(0.6))
    page.mouse.move(*at(0.75))
    assert player.evaluate(STATE)["time"] == pytest.approx(3.0, abs=0.02)
    page.mouse.move(plot["x"] + 2 * plot["width"], 5)  # past the end, outside the player
    page.mouse.up()
    assert player.evaluate(STATE)["time"] == pytest.approx(4.0, abs=0.001)
    page.mouse.move(*at(0.1))
    assert player.evaluate(STATE)["time"] == pytest.approx(4.0, abs=0.001)
    assert page.locator(".asrlib-player").last.evaluate(STATE)["time"] == 0


def test_keyboard(open_page):
    page = open_page("<p style='height: 700px'>above</p>", chirp(4), "<p style='height: 2000px'>")
    player = page.locator(".asrlib-player")
    page.keyboard.press("Tab")
    slider = page.locator(":focus")
    assert slider.get_attribute("role") == "slider" and slider.get_attribute("aria-label")
    for key, expected in [("ArrowRight", 0.25), ("ArrowRight", 0.5), ("ArrowLeft", 0.25)]:
        page.keyboard.press(key)
        assert player.evaluate(STATE)["time"] == pytest.approx(expected, abs=0.002)
    assert float(slider.get_attribute("aria-valuenow")) == pytest.approx(0.25, abs=0.01)
    assert slider.get_attribute("aria-valuetext") == "0.25 seconds of 4.00"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert player.evaluate(STATE)["time"] == 0
    scrolled = page.evaluate("scrollY")
    page.keyboard.press("Space")
    assert player.evaluate(WATCH, 500)[-1]["label"] == "Pause"
    assert slider.get_attribute("aria-valuenow") == "0.00"  # no number is read over the speech
    page.keyboard.press("Space")
    assert player.evaluate(STATE)["paused"]
    assert page.evaluate("scrollY") == scrolled
    page.keyboard.press("Tab")
    # The label follows the browser's "pause" event, which comes after audio.paused is true.
    playwright.expect(page.locator(":focus")).to_have_text("Play")
    scrolled = page.evaluate("scrollY")
    page.keyboard.press("Space")  # once, not once by the key and once by the button
    assert not player.evaluate(WATCH, 300)[-1]["paused"]
    page.keyboard.press("Enter")
    assert player.evaluate(STATE)["paused"]
    assert page.evaluate("scrollY") == scrolled


@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_text_is_shown_and_everything_fits_and_reads(open_page, screenshot, width, scheme):
    hostile = chirp(2, title=HOSTILE_TITLE, text=HOSTILE_TEXT)
    usual = chirp(20, text="a rising tone, cut", title="A sound longer than the player allows")
    page = open_page(usual, hostile, width=width, color_scheme=scheme)
    player = page.locator(".asrlib-player").last
    assert player.locator(".asrlib-title").inner_text() == HOSTILE_TITLE
    assert player.locator(".asrlib-transcript").inner_text() == HOSTILE_TEXT
    assert player.locator("b").count() == 0 and player.locator("img").count() == 2
    page.wait_for_timeout(200)  # an onerror would have run by now
    assert page.evaluate("window.__pwned") is None
    screenshot(page, f"player_{width}_{scheme}", full_page=True)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert player.bounding_box()["width"] == pytest.approx(min(720, width - 16), abs=1)
    assert player.bounding_box()["height"] < 900  # long text scrolls, but not sideways
    sideways = "element => element.scrollWidth - element.clientWidth"
    for name in ("title", "transcript"):
        assert player.locator(f".asrlib-{name}").evaluate(sideways) <= 0
    for element in player.locator("button, .asrlib-seek").all():
        assert element.bounding_box()["height"] >= 40  # a finger's size
    contrasts = page.locator(".asrlib-player").first.evaluate(CONTRASTS)
    names = {name.removeprefix("asrlib-") for name, _ in contrasts}
    assert {"title", "facts", "play", "clock", "note", "transcript"} <= names
    assert min(contrast for _, contrast in contrasts) >= 4.5, contrasts


def test_without_scripts_pictures_controls_and_transcript_remain(open_page, screenshot):
    page = open_page(chirp(text="some words", title="A title"), java_script_enabled=False)
    assert all(image.is_visible() for image in page.locator("img").all())
    assert page.locator("audio").is_visible() and page.get_by_text("some words").is_visible()
    screenshot(page, "player_no_script")


def test_stripped_as_on_github_nothing_dangles(open_page, screenshot):
    markup = chirp(text="some words", title="A title")
    markup = re.sub(r"<(script|style|audio)\b.*?</\1>| style=\".*?\"", "", markup, flags=re.DOTALL)
    page = open_page("<style>img { max-width: 100% }</style>", markup, width=700)
    screenshot(page, "player_stripped")
    text = page.locator("body").inner_text()
    assert text.split() == "A title 4.00 s · 16 kHz some words".split()
    waves, mel = (image.bounding_box() for image in page.locator("img").all())
    assert (waves["x"], waves["width"]) == (mel["x"], mel["width"])  # still one time axis
    assert waves["height"] > 70 and mel["height"] > 100


# --- JupyterLab -----------------------------------------------------------------------------------


def stand_in():
    """Return a small notebook: two players, the first below enough cells to be off screen."""
    make = (
        "import os\nimport numpy as np\nfrom asrlib.subtitles import Word\n"
        "from asrlib.widgets import Player\nwords = [Word('tone', 0.5, 1.5, 1.0)]\n"
        "assert os.environ['ASRLIB_PROFILE'] == 'smoke'\n"
        "time = np.arange(48000) / 16000\n"
        "tone = 0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time)\n"
        "mel = -np.abs(np.arange(80)[:, None] - np.linspace(5, 60, 301))"
    )
    code, markdown = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    options = "log_mel=mel, words=words, text='a rising tone'"
    players = [code(f"Player(tone, title='{name}', {options})") for name in "ab"]
    failing = code("1 / 0", metadata={"tags": ["raises-exception"]})
    cells = [code(make), *[markdown("word " * 400) for _ in range(6)], *players, failing]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


@pytest.mark.parametrize("path", [None, START_HERE], ids=["stand_in", START_HERE.stem])
def test_notebook_runs_in_jupyterlab_and_its_player_plays(chromium, tmp_path, screenshot, path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    copy = folder / (path.name if path else "stand_in.ipynb")
    if path is None:
        nbformat.write(stand_in(), copy)
    else:
        assert path.is_file(), f"{path} does not exist"
        shutil.copy(path, copy)
    with notebook_page(chromium, folder, copy.name, seconds=JUPYTERLAB_SECONDS) as page:
        cells = page.evaluate(f"{NOTEBOOK}.model.toJSON().cells")
        outputs = [json.dumps(cell.get("outputs", "")) for cell in cells]
        shown = [i for i, output in enumerate(outputs) if "asrlib-player" in output]
        assert shown, "no cell shows a player"
        page.evaluate(f"{NOTEBOOK}.scrollToItem({shown[0]}, 'start')")
        player = page.locator(".asrlib-player").first
        playwright.expect(player).to_be_visible(timeout=20_000)
        play_in_notebook(page, player, screenshot, copy.stem)


def play_in_notebook(page, player, screenshot, name):
    """Play by button and by keys; JupyterLab must keep its own shortcuts out of it."""
    button = player.locator(".asrlib-play")
    button.click()
    states = player.evaluate(WATCH, 1000)
    screenshot(page, f"jupyterlab_{name}")
    assert states[-1]["time"] > 0.2 and in_step(states) <= 0.05
    assert states[-1]["seen"] == pytest.approx(states[-1]["cursor"], abs=0.05)
    before = page.evaluate(f"{NOTEBOOK}.activeCellIndex")
    page.keyboard.press("Enter")  # a key of JupyterLab, too: edit the cell
    playwright.expect(button).to_have_text("Play")
    assert page.evaluate(f"[{NOTEBOOK}.activeCellIndex, {NOTEBOOK}.mode]") == [before, "command"]
    plot = player.locator(".asrlib-seek")
    plot.click(position={"x": 2, "y": 60})
    at = player.evaluate(STATE)["time"]
    page.keyboard.press("ArrowRight")
    assert player.evaluate(STATE)["time"] == pytest.approx(at + 0.25, abs=0.02)
    page.keyboard.press("Space")
    playwright.expect(button).to_have_text("Pause")
    page.keyboard.press("Space")
    playwright.expect(button).to_have_text("Play")
    if (word := player.locator(".asrlib-word").first).count():
        word.click()
        playwright.expect(word).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("Escape")
        playwright.expect(word).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("+")
    playwright.expect(player.get_by_role("status")).to_have_text("zoom 2×")
    assert page.evaluate(f"[{NOTEBOOK}.activeCellIndex, {NOTEBOOK}.mode]") == [before, "command"]
    assert min(contrast for _, contrast in player.evaluate(CONTRASTS)) >= 4.5
