"""The player's rows in a real browser: what the network hears, words to loop, zoom, half speed."""

import re

import numpy as np
import pytest
import torch

from asrlib.ctc import TokenSpan
from asrlib.decoding import greedy_search
from asrlib.subtitles import Word, word_times
from asrlib.text import Tokenizer
from asrlib.widgets import Player
from tests.browser import CONTRASTS, in_step
from tests.test_browser_player import HOSTILE_TEXT, WATCH

playwright = pytest.importorskip(
    "playwright.sync_api", reason="browser: playwright is absent (pip install playwright)"
)

TEXT = "the mummy willow and a warm moon"  # wide letters, and a word of one
HERTZ, HERTZ_A_SECOND = 400, 750  # of the chirp: its pitch tells the time

# Where everything stands, in seconds of the time axis.
PLACES = """player => {
  const axis = player.querySelector(".asrlib-ticks").getBoundingClientRect();
  const second = x => (x - axis.left) / axis.width * Number(player.dataset.duration);
  const box = element => {
    const {left, right, top, height} = element.getBoundingClientRect();
    return {text: element.textContent, left, right, top, height,
            start: second(left), end: second(right)};
  };
  const all = name => [...player.querySelectorAll(`.asrlib-${name}`)].map(box);
  const shown = element => element.scrollWidth <= element.clientWidth;
  const picture = player.querySelector(".asrlib-heat img");
  return {
    width: axis.width, letters: all("letter").filter(letter => letter.height), bars: all("bar"),
    words: all("word"), picture: picture && box(picture),
    whole: [...player.querySelectorAll(".asrlib-name")].map(shown),
  };
}"""

# At every frame for some milliseconds: cursor, sound, what is highlighted, and whether it is seen.
LOOK = """(player, milliseconds) => new Promise(resolve => {
  const audio = player.querySelector("audio"), cursor = player.querySelector(".asrlib-cursor");
  const figure = player.querySelector(".asrlib-figure"), states = [], start = performance.now();
  const look = () => {
    const [box, view] = [cursor.getBoundingClientRect(), figure.getBoundingClientRect()];
    const gutter = player.querySelector(".asrlib-ticks").offsetLeft;
    states.push({
      time: audio.currentTime, paused: audio.paused, at: performance.now(),
      cursor: parseFloat(cursor.style.left) / 100 * Number(player.dataset.duration),
      now: [...player.querySelectorAll("[data-now]")].map(word => word.textContent),
      inside: box.left >= view.left + gutter - 2 && box.right <= view.right + 2,
    });
    performance.now() - start < milliseconds ? requestAnimationFrame(look) : resolve(states);
  };
  requestAnimationFrame(look);  // after the player's own: between frames the cursor stands still
})"""

# The pitch in 43 ms on their way to the speaker, by zero crossings, and where the cursor will be
# when they are heard.
HEAR = """(player, milliseconds) => new Promise(resolve => {
  const context = new AudioContext(), analyser = context.createAnalyser();
  const cursor = player.querySelector(".asrlib-cursor"), rows = [], start = performance.now();
  const audio = player.querySelector("audio");
  context.createMediaElementSource(audio).connect(analyser);
  analyser.connect(context.destination);
  const x = new Float32Array(analyser.fftSize);
  const late = context.baseLatency + context.outputLatency - x.length / context.sampleRate / 2;
  const look = () => {
    analyser.getFloatTimeDomainData(x);
    const zeros = [];
    for (let i = 1; i < x.length; i += 1) {
      if (x[i] >= 0 !== x[i - 1] >= 0) zeros.push(i - x[i] / (x[i] - x[i - 1]));
    }
    const hertz = (zeros.length - 1) / (zeros.at(-1) - zeros[0]) * context.sampleRate / 2;
    const seconds = parseFloat(cursor.style.left) / 100 * Number(player.dataset.duration);
    if (zeros.length > 9) rows.push([seconds + late * audio.playbackRate, hertz]);
    performance.now() - start < milliseconds ? requestAnimationFrame(look) : resolve(rows);
  };
  look();
})"""


def listener(seconds=4.0, text=TEXT, **options):
    """Return a chirp and what a made-up network hears in it: letters two frames apart or one."""
    frames, at = round(seconds * 25) + 1, 10
    probabilities = np.full((frames, 29), 0.2 / 28)
    path = np.zeros(frames, dtype=int)
    for symbol in Tokenizer().encode(text).tolist():
        at += 1 if symbol != path[at] and at % 3 else 2
        path[at] = symbol
    probabilities[np.arange(frames), path] = 0.8
    log_probs = torch.from_numpy(np.log(probabilities))
    best = greedy_search(log_probs[None], torch.tensor([frames]))[0]
    assert best.text == text
    spans = [TokenSpan(i, n, n + 1, -0.2) for i, n in zip(best.tokens, best.timesteps)]
    time = np.arange(round(seconds * 16000)) / 16000
    wave = 0.5 * np.sin(2 * np.pi * (HERTZ + HERTZ_A_SECOND / 2 * time) * time)
    words = word_times(spans, 0.04)
    rows = {"log_probs": log_probs, "words": words, "truth": words, "text": text}
    rows["log_mel"] = np.random.default_rng(0).normal(size=(80, len(time) // 160 + 1))
    return Player(wave.astype(np.float32), **{**rows, **options})


def page_of(open_page, player, **options):
    return open_page(player._repr_html_(), **options).locator(".asrlib-player")


def zoom(player, times):
    for _ in range(times):
        player.get_by_label("Zoom in").click()


def test_everything_stands_at_its_time_at_every_zoom(open_page, screenshot):
    source = listener()
    player = page_of(open_page, source)
    frames = len(source.probabilities)
    widths = []
    for level in (1, 2, 4, 8):
        zoom(player, level > 1)
        playwright.expect(player.get_by_role("status")).to_have_text(f"zoom {level}×")
        places = player.evaluate(PLACES)
        widths.append(places["width"])
        pixel = 4 / places["width"]  # seconds
        for bar, word in zip(places["bars"], source.words + source.truth, strict=True):
            assert bar["start"] == pytest.approx(word.start, abs=1.5 * pixel)
            assert bar["end"] == pytest.approx(word.end, abs=1.5 * pixel)
        for box, bar in zip(places["words"], places["bars"], strict=True):
            assert box["left"] - 1 <= bar["left"] and bar["right"] <= box["right"] + 1
        letters = places["letters"]
        assert "".join(letter["text"] for letter in letters) == TEXT.replace(" ", "␣")
        picture = places["picture"]
        for letter, (_, seconds) in zip(letters, source.letters, strict=True):
            middle = (letter["left"] + letter["right"]) / 2
            cell = (seconds / 0.04 + 0.5) / frames * (picture["right"] - picture["left"])
            assert middle - picture["left"] == pytest.approx(cell, abs=1)
            assert (letter["start"] + letter["end"]) / 2 == pytest.approx(seconds, abs=pixel)
        screenshot(player.page, f"player_rows_{level}", full_page=True)
    assert np.array(widths) / widths[0] == pytest.approx(np.array([1, 2, 4, 8]), rel=0.01)


def overlaps(places):
    """Return the neighbors on one line that cover each other by more than a pixel."""
    found = []
    for boxes in (places["letters"], places["words"]):
        for line in {box["top"] for box in boxes}:
            row = sorted((b["left"], b["right"], b["text"]) for b in boxes if b["top"] == line)
            found += [(a, b) for a, b in zip(row, row[1:]) if a[1] > b[0] + 1]
    return found


def test_rows_follow_the_width_of_the_page(open_page):
    source = listener()
    player = page_of(open_page, source)
    for width in (400, 900):
        player.page.set_viewport_size({"width": width, "height": 900})
        for _ in range(100):  # until the script has seen the new width
            places = player.evaluate(PLACES)
            if places["bars"][6]["end"] == pytest.approx(source.words[6].end, abs=0.03):
                break
            player.page.wait_for_timeout(50)
        else:
            raise AssertionError("the words stayed where they were")
        assert not overlaps(places) and bool(places["letters"]) == (width == 900)


@pytest.mark.parametrize(("seconds", "width"), [(4, 1000), (4, 360), (15, 1000), (15, 360)])
def test_nothing_overlaps_and_words_can_be_read(open_page, screenshot, seconds, width):
    text = " ".join([TEXT] * (1 if seconds < 5 else 5))
    player = page_of(open_page, listener(seconds, text), width=width)
    for level in (1, 2, 4, 8):
        zoom(player, level > 1)
        places = player.evaluate(PLACES)
        assert not overlaps(places)
        assert all(word["right"] - word["left"] >= 4 for word in places["words"])
        pixels = places["width"] / seconds
        assert len(places["letters"]) == (len(text) if 0.04 * pixels > 6 else 0)
        assert np.mean(places["whole"]) > (0.95 if pixels > 150 else 0.7 if pixels > 40 else 0)
        assert player.page.evaluate("document.documentElement.scrollWidth") <= width
        if level == 1:
            screenshot(player.page, f"player_rows_{seconds}s_{width}", full_page=True)


def test_zoom_by_buttons_and_keys_keeps_the_place(open_page):
    player = page_of(open_page, listener())
    out, into = player.get_by_label("Zoom out"), player.get_by_label("Zoom in")
    ticks = "player => player.querySelector('.asrlib-ticks').innerHTML"
    scroll = "player => player.querySelector('.asrlib-figure').scrollLeft"
    first = player.evaluate(ticks)
    assert out.get_attribute("aria-disabled") == "true"
    out.click(force=True)
    assert player.evaluate(scroll) == 0
    player.locator(".asrlib-seek").click(position={"x": 400, "y": 30})
    before = player.locator(".asrlib-cursor").bounding_box()["x"]
    for key, level in [("+", 2), ("=", 4), ("+", 8), ("+", 8), ("-", 4)]:
        player.page.keyboard.press(key)
        playwright.expect(player.get_by_role("status")).to_have_text(f"zoom {level}×")
        assert player.locator(".asrlib-cursor").bounding_box()["x"] == pytest.approx(before, abs=2)
    assert len(re.findall("data-label", player.evaluate(ticks))) > 2 * first.count("data-label")
    gutter = player.locator(".asrlib-scale").first.bounding_box()
    assert gutter["x"] == pytest.approx(player.locator(".asrlib-figure").bounding_box()["x"])
    out.click()
    out.click()
    assert player.evaluate(scroll) == 0
    numbers = [re.findall(r"left: ?([\d.]+)%", html) for html in (first, player.evaluate(ticks))]
    labels = [re.findall(r'data-label="(.*?)"', html) for html in (first, player.evaluate(ticks))]
    assert [float(n) for n in numbers[0]] == [
        float(n) for n in numbers[1]
    ]  # Python's, JavaScript's
    assert labels[0] == labels[1] == ["0", "0.5", "1", "1.5", "2", "2.5", "3", "3.5", "4 s"]
    zoom(player, 3)
    assert into.get_attribute("aria-disabled") == "true"


@pytest.mark.parametrize("level", [0, 3], ids=["zoom_1", "zoom_8"])
def test_a_word_is_looped_until_clicked_again(open_page, screenshot, level):
    source = listener()
    player = page_of(open_page, source)
    zoom(player, level)
    word, entry = player.locator(".asrlib-word").nth(5), source.words[5]
    assert word.inner_text() == entry.text == "warm"
    word.click()
    assert word.get_attribute("aria-pressed") == "true"
    states = player.evaluate(LOOK, 2000)
    screenshot(player.page, f"player_loop_{level}")
    times = np.array([state["time"] for state in states])
    assert (np.diff(times) < 0).sum() >= 2  # it began again
    assert (
        times.min() > entry.start - 0.06 and times.max() < entry.end + 0.25
    )  # a frame may be late
    assert np.median(times) == pytest.approx((entry.start + entry.end) / 2, abs=0.15)
    assert in_step(states) <= 0.05
    assert all(state["inside"] for state in states)
    for state in states:
        inside = entry.start <= state["cursor"] < entry.end
        assert state["now"] == (["warm", "warm"] if inside else []), state
    playwright.expect(player.locator(".asrlib-band")).to_be_visible()
    word.click()
    state = player.evaluate(LOOK, 0)[0]
    assert state["paused"] and word.get_attribute("aria-pressed") == "false"
    playwright.expect(player.locator(".asrlib-band")).to_be_hidden()


def test_a_loop_is_left_by_escape_and_by_moving_elsewhere(open_page):
    player = page_of(open_page, listener())
    words = player.locator(".asrlib-word")
    words.nth(1).focus()
    for key in ("Enter", "Space"):
        player.page.keyboard.press(key)
        assert words.nth(1).get_attribute("aria-pressed") == "true"
        assert not player.evaluate(LOOK, 300)[-1]["paused"]
        player.page.keyboard.press("Escape")
        assert words.nth(1).get_attribute("aria-pressed") == "false"
        assert player.evaluate(LOOK, 0)[0]["paused"]
    words.nth(1).click()
    words.nth(2).click()  # another one
    pressed = words.evaluate_all("words => words.map(word => word.ariaPressed === 'true')")
    assert pressed.index(True) == 2 and sum(pressed) == 1
    player.locator(".asrlib-seek").click(position={"x": 20, "y": 30})
    assert words.nth(2).get_attribute("aria-pressed") == "false"
    times = [state["time"] for state in player.evaluate(LOOK, 1500)]
    assert times == sorted(times) and times[-1] > times[0]  # it plays on from there


def test_a_loop_at_the_very_end_goes_on(open_page):
    words = [Word("end", 0.3, 0.6, 1.0)]
    player = page_of(open_page, listener(0.6, "", words=words, truth=None))
    player.locator(".asrlib-word").click()
    times = np.array([state["time"] for state in player.evaluate(LOOK, 2000)])
    assert (np.diff(times) < -0.1).sum() >= 2
    player.page.wait_for_function("!document.querySelector('audio').paused")


def test_tab_and_arrows_reach_every_word(open_page):
    player = page_of(open_page, listener())
    page, focused = player.page, player.page.locator(":focus")
    page.keyboard.press("Tab")
    assert focused.get_attribute("role") == "slider"
    for name in ("Words heard", "Words said"):
        page.keyboard.press("Tab")
        row = focused.locator("xpath=..")
        assert (row.get_attribute("aria-label"), row.get_attribute("role")) == (name, "toolbar")
        for word in TEXT.split():
            assert focused.inner_text() == word
            page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
        assert focused.inner_text() == TEXT.split()[-2]
    assert player.evaluate(LOOK, 0)[0]["time"] == 0
    page.keyboard.press("Tab")
    assert focused.inner_text() == "Play"


def test_half_speed_keeps_the_pitch_and_zoom_follows(open_page):
    player = page_of(open_page, listener())
    zoom(player, 3)
    half = player.get_by_role("button", name="½ speed")
    half.click()
    assert half.get_attribute("aria-pressed") == "true"
    audio = player.locator("audio")
    assert audio.evaluate("audio => [audio.playbackRate, audio.preservesPitch]") == [0.5, True]
    player.locator(".asrlib-play").click()
    states = player.evaluate(LOOK, 2500)
    assert states[-1]["time"] > 0.7  # past the first of 8 pages of 0.5 s
    assert all(state["inside"] for state in states)
    assert in_step(states) <= 0.05
    moving = [state for state in states if 0.2 < state["time"]]
    passed = moving[-1]["time"] - moving[0]["time"]
    assert passed == pytest.approx((moving[-1]["at"] - moving[0]["at"]) / 2000, abs=0.15)
    half.click()
    assert audio.evaluate("audio => audio.playbackRate") == 1


@pytest.mark.parametrize("half", [False, True], ids=["full_speed", "half_speed"])
@pytest.mark.parametrize("compress", [False, True], ids=["wav", "mp3"])
def test_what_is_heard_is_what_the_cursor_shows(open_page, compress, half):
    """In a loop, where an MP3 as it is would be 0.07 s late after each jump."""
    words = [Word("here", 2.0, 2.6, 1.0)]
    player = page_of(open_page, listener(words=words, truth=None, compress=compress))
    kind = "blob:" if compress else "data:audio/wav"
    source = "kind => document.querySelector('audio').src.startsWith(kind)"
    player.page.wait_for_function(source, arg=kind)
    if half:
        player.get_by_role("button", name="½ speed").click()
    player.locator(".asrlib-word").click()
    rows = np.array(player.evaluate(HEAR, 3000))
    heard = (rows[:, 1] - HERTZ) / HERTZ_A_SECOND
    print(f"cursor - heard: {1000 * np.median(rows[:, 0] - heard):.0f} ms, median of {len(rows)}")
    assert abs(np.median(rows[:, 0] - heard)) <= 0.05


def test_opens_at_once(open_page):
    """Parsing the HTML of 15 s with every row, running its script and laying it out."""
    markup = listener(15, " ".join([TEXT] * 5))._repr_html_()
    before = "<script>window.before = performance.now()</script>"
    after = "<script>document.body.offsetHeight; window.after = performance.now()</script>"
    times, work = [], []
    for _ in range(5):
        page = open_page("")
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})  # not what others compute
        page.set_content(before + markup + after)
        times.append(page.evaluate("after - before"))
        metrics = session.send("Performance.getMetrics")["metrics"]
        parts = ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
        work.append(1000 * sum(m["value"] for m in metrics if m["name"] in parts))
    print(f"a player of 15 s ({len(markup) / 1000:.0f} kB) opens in {min(times):.0f} ms,")
    print(f"of which script, style and layout compute for {min(work):.0f} ms")
    assert min(work) < 100 and min(times) < 500  # both under 100 where nothing else runs


@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_rows_fit_and_read(open_page, screenshot, width, scheme):
    hostile = [Word(HOSTILE_TEXT, 0.2, 1.0, 1.0), Word("\u202eafter", 1.1, 1.5, 1.0)]
    other = listener(truth=hostile)._repr_html_()
    player = page_of(open_page, listener(), width=width, color_scheme=scheme)
    player.locator(".asrlib-word").nth(2).click()
    player.evaluate(WATCH, 100)
    contrasts = player.evaluate(CONTRASTS)
    names = " ".join(name for name, _ in contrasts)
    for name in ("name", "likely", "level", *(["letter", "hint"] if width > 400 else [])):
        assert f"asrlib-{name}" in names
    assert min(contrast for _, contrast in contrasts) >= 4.5, contrasts
    sizes = "all => all.map(e => [e.offsetWidth, e.offsetHeight])"
    buttons = player.locator(".asrlib-controls button").evaluate_all(sizes)
    assert np.min(buttons) >= 40  # a finger's size; words are so high on phones only
    words = player.locator(".asrlib-word").evaluate_all(sizes)
    assert min(height for _, height in words) >= (40 if width < 400 else 28)
    screenshot(player.page, f"player_rows_{width}_{scheme}", full_page=True)

    player = open_page(other, width=width, color_scheme=scheme).locator(".asrlib-player")
    names = player.locator(".asrlib-name").all_text_contents()
    assert names[-2:] == [HOSTILE_TEXT, "\u202eafter"]
    assert player.locator("b").count() == 0
    player.page.wait_for_timeout(200)  # an onerror would have run by now
    assert player.page.evaluate("window.__pwned") is None
    assert player.page.evaluate("document.documentElement.scrollWidth") <= width
    screenshot(player.page, f"player_rows_hostile_{width}_{scheme}", full_page=True)


def test_without_sound_words_stand_on_the_axis_and_zoom_works(open_page, screenshot):
    source = listener(keep_sound=False)
    markup = re.sub(r"<audio.*?</audio>", "<p>not stored</p>", source._repr_html_())
    player = open_page(markup).locator(".asrlib-player")
    assert player.locator(".asrlib-controls button").count() == 2  # out and in
    assert player.locator(".asrlib-row button").count() == 0
    places = player.evaluate(PLACES)
    assert places["bars"][1]["start"] == pytest.approx(source.words[1].start, abs=0.01)
    screenshot(player.page, "player_rows_no_sound")
    player.get_by_label("Zoom in").click()
    player.page.keyboard.press("+")
    assert player.evaluate(PLACES)["width"] == pytest.approx(4 * places["width"], rel=0.01)


def test_rows_without_scripts_remain_as_text(open_page, screenshot):
    page = open_page(listener()._repr_html_(), java_script_enabled=False)
    assert all(image.is_visible() for image in page.locator("img").all())
    for name in ("greedy", "heard", "said"):
        assert page.locator(f".asrlib-row.asrlib-{name}").inner_text() == TEXT
    screenshot(page, "player_rows_no_script")


def test_rows_stripped_as_on_github_read_as_text(open_page, screenshot):
    markup = listener()._repr_html_()
    markup = re.sub(r"<(script|style|audio)\b.*?</\1>| style=\".*?\"", "", markup, flags=re.DOTALL)
    page = open_page("<style>img { max-width: 100% }</style>", markup, width=700)
    screenshot(page, "player_rows_stripped", full_page=True)
    lines = [line for line in page.locator("body").inner_text().splitlines() if line.strip()]
    legend = "bright: a likely symbol gray: the blank is likeliest ␣ space, - blank"
    rows = ["greedy", TEXT, "heard", TEXT, "said", TEXT]
    assert lines == ["4.00 s · 16 kHz", *rows, legend, TEXT]
    waves, mel, heat = (image.bounding_box() for image in page.locator("img").all())
    assert (waves["x"], waves["width"]) == (heat["x"], heat["width"])
