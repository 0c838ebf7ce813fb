"""The compare player in a real browser: the words line up, the errors are heard."""

import re

import numpy as np
import pytest

from asrlib.metrics import ErrorRate, edit_alignment
from asrlib.subtitles import Word
from asrlib.widgets import ComparePlayer
from tests.browser import CONTRASTS, in_step
from tests.notebooks import NOT_STORED, UNKEPT_SOUND
from tests.test_browser_player_rows import HEAR

playwright = pytest.importorskip(
    "playwright.sync_api", reason="browser: playwright is absent (pip install playwright)"
)
expect = playwright.expect

TRUTH = "the cat sat on the mat while it rained"
SYSTEMS = {
    "greedy": "the cap sat the the mat whale it rain did",  # 4 S, 1 I
    "with a language model": "the cat sat the mat while it rained",  # 1 D
}
LONG = {  # three times as long: several lines at any width
    "greedy": " ".join(["so", *[SYSTEMS["greedy"]] * 3]),
    "with a language model": " ".join([SYSTEMS["with a language model"]] * 3),
    "silent": "",
}
WORD, GAP = 0.3, 0.1  # seconds
HOSTILE_WORDS = [
    "<img/src=x/onerror=window.__pwned=1>",
    "</script><script>window.__pwned=1</script>",
    "\u202eright",
    "\u0627\u0644\u0635\u0648\u062a",
    '"/onmouseover="window.__pwned=1',
    "unbroken" * 1250,
]
HOSTILE_NAME = "<img src=x onerror='window.__pwned = 1'> \u202eleft " + "name" * 2500

# Lines as seen: for each its rows of [kind, text, left, right, top, bottom].
LINES = """player => {
  const read = cell => {
    const box = cell.getBoundingClientRect();
    const kind = cell.className.replace(/asrlib-(chosen|now)/g, "").replace("asrlib-", "").trim();
    return [kind, cell.textContent, box.left, box.right, box.top, box.bottom];
  };
  const lines = [...player.querySelectorAll(".asrlib-line")];
  return lines.map(line => [...line.rows].map(row => [...row.cells].map(read)));
}"""

# What a test reads at one moment; the cursor, the band and the played part in seconds.
STATE = """player => {
  const audio = player.querySelector("audio"), duration = Number(player.dataset.duration);
  const plot = player.querySelector(".asrlib-picture").getBoundingClientRect();
  const seconds = x => (x - plot.left) / plot.width * duration;
  const cursor = player.querySelector(".asrlib-cursor").getBoundingClientRect();
  const band = player.querySelector(".asrlib-band").getBoundingClientRect();
  return {
    time: audio.currentTime, paused: audio.paused,
    cursor: seconds((cursor.left + cursor.right) / 2),
    band: band.width ? [seconds(band.left), seconds(band.right)] : null,
    now: [...player.querySelectorAll(".asrlib-now")].map(cell => cell.textContent),
    chosen: [...player.querySelectorAll(".asrlib-chosen")].map(cell => cell.dataset.say),
  };
}"""

# The same at every frame until the sound has been playing and stands still again.
UNTIL_STILL = f"""player => new Promise(resolve => {{
  const state = {STATE}, states = [];
  const look = () => {{
    states.push(state(player));
    const over = states.at(-1).paused && states.some(s => !s.paused);
    over ? resolve(states) : requestAnimationFrame(look);
  }};
  look();
}})"""


# Note down every place that the script jumps to.
NOTE_JUMPS = """audio => {
  const own = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
  audio.jumps = [];
  Object.defineProperty(audio, "currentTime", {
    get: () => own.get.call(audio),
    set: seconds => { audio.jumps.push(seconds); own.set.call(audio, seconds); },
  });
}"""


def timed(text):
    starts = GAP + (WORD + GAP) * np.arange(len(text.split()))
    return [
        Word(text, float(start.round(3)), float((start + WORD).round(3)), 1.0)
        for text, start in zip(text.split(), starts)
    ]


def tones(words):
    """A tone as long as each word, and silence between them."""
    time = np.arange(round(16000 * (words[-1].end + GAP))) / 16000
    loud = sum(np.sin(np.pi * np.clip((time - word.start) / WORD, 0, 1)) for word in words)
    return (0.4 * loud * np.sin(2 * np.pi * (200 + 100 * time) * time)).astype(np.float32)


def compare(truth=TRUTH, systems=SYSTEMS, **options):
    words = timed(truth)
    return ComparePlayer(tones(words), words, systems, **options)._repr_html_()


def rows_of(lines):
    """Put lines together: each name's rows of an alignment."""
    names = [row[0][1] for row in lines[0]]
    assert all([row[0][1] for row in line] == names for line in lines)
    said, *systems = (sum((line[n][1:] for line in lines), []) for n in range(len(names)))
    rows = {}
    for name, cells in zip(names[1:], systems):
        rows[name] = []
        for (_, word, *_), (kind, text, *_) in zip(said, cells, strict=True):
            if kind:
                text = text if kind == "equal" else text.rsplit(" ", 1)[0]
                rows[name].append((kind, word or None, None if kind == "delete" else text))
    return rows


def check_fit(lines, width):
    """Every cell stands under its true word, inside the page and in the order of the words."""
    for line in lines:
        for row in line:
            assert [cell[2:4] for cell in row] == [cell[2:4] for cell in line[0]]
            assert all(left < right <= width - 8 for _, _, left, right, _, _ in row)
            assert all(a[3] <= b[2] + 1 for a, b in zip(row, row[1:]))
        tops = [row[0][4] for row in line]
        assert tops == sorted(set(tops))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1000, 360])
def test_words_line_up_and_numbers_are_those_of_metrics(open_page, screenshot, width, scheme):
    truth = " ".join([TRUTH] * 3)
    short, long = compare(title="Two systems, one sentence"), compare(truth, LONG, title="Longer")
    page = open_page(short, long, width=width, color_scheme=scheme)
    player = page.locator(".asrlib-compare").last
    lines = player.evaluate(LINES)
    assert len(lines) > 2
    assert rows_of(lines) == {
        name: edit_alignment(truth.split(), text.split()) for name, text in LONG.items()
    }
    check_fit(lines, width)
    widest = max(line[0][-1][3] for line in lines)
    assert widest > 0.7 * min(720, width)  # the lines are filled
    scores = player.locator(".asrlib-scores tr").all()[1:]
    for (name, text), score in zip(LONG.items(), scores, strict=True):
        rate = ErrorRate.of([edit_alignment(truth.split(), text.split())])
        head, percent, counts = score.locator("th, td").all_inner_texts()
        assert (head, percent) == (name, f"{100 * rate.rate:.1f} %")
        numbers = rate.substitutions, rate.deletions, rate.insertions, rate.words
        assert tuple(map(int, re.findall(r"\d+", counts))) == numbers

    page.locator(".asrlib-compare").first.get_by_role("button", name="substitution").first.click()
    screenshot(page, f"compare_{width}_{scheme}", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for box in (button.bounding_box() for button in player.locator("button").all()):
        assert box["height"] >= 40 and box["width"] >= 40  # a finger's size
    contrasts = player.evaluate(CONTRASTS)
    assert min(contrast for _, contrast in contrasts) >= 4.5, contrasts


def test_marks_differ_by_shape_and_color_and_letter(open_page):
    player = open_page(compare()).locator(".asrlib-compare")
    looks = []
    for kind, letter in (("substitute", "S"), ("delete", "D"), ("insert", "I")):
        cell = player.locator(f".asrlib-line .asrlib-{kind}").first
        expect(cell.locator("b")).to_have_text(letter)
        expect(player.locator(f".asrlib-legend .asrlib-{kind} b")).to_have_text(letter)
        color = "b => getComputedStyle(b).color"
        assert cell.locator("b").evaluate(color) == player.locator(
            f".asrlib-legend .asrlib-{kind} b"
        ).evaluate(color)
        shape = """cell => {
          const button = cell.firstChild, word = button.querySelector("span");
          const wave = getComputedStyle(word).textDecorationStyle === "wavy";
          const gap = getComputedStyle(button).borderTopStyle === "dashed";
          const caret = getComputedStyle(button, "::before").content !== "none";
          return [wave, gap, caret];
        }"""
        looks.append((cell.evaluate(shape), cell.locator("b").evaluate(color)))
    shapes, colors = zip(*looks)
    assert shapes == ([True, False, False], [False, True, False], [False, False, True])
    assert len(set(colors)) == 3


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("'sat', 0.90 to 1.20 s", 0.8, 1.3),
        ("substitution: said 'cat', heard 'cap', 0.50 to 0.80 s", 0.4, 0.9),
        ("deletion: said 'on', heard nothing, 1.30 to 1.60 s", 1.2, 1.7),
        # The gap of 0.1 s before the last word, made as long as the shortest sound.
        ("insertion: said nothing, heard 'rain', 3.20 to 3.30 s", 3.05, 3.45),
    ],
)
def test_a_click_plays_that_sound(open_page, name, start, end):
    page = open_page(compare(), compare())
    player, other = page.locator(".asrlib-compare").all()
    other.get_by_role("button", name="Play all").click()
    expect(other.get_by_role("button", name="Pause")).to_be_visible()
    player.locator("audio").evaluate(NOTE_JUMPS)
    button = player.get_by_role("button", name=name)
    for times in (1, 2):  # a second click plays it again
        watched = player.evaluate_handle(f"player => ({{done: ({UNTIL_STILL})(player)}})")
        button.click()
        states = watched.evaluate("watched => watched.done")
        playing = [state for state in states if not state["paused"]]
        jumps = player.locator("audio").evaluate("audio => audio.jumps")
        assert jumps == pytest.approx([start] * times)
        assert min(state["time"] for state in playing) >= start - 0.001
        assert states[-1]["time"] >= end - 0.001
        late = [state for state in playing if state["time"] > end]
        assert len(late) <= 2  # frames, which are long on a busy machine
        assert in_step(states) <= 0.05
        span = [float(number) for number in re.findall(r"\d\.\d+", name)]
        assert states[-1]["band"] == pytest.approx(span, abs=0.02)
        assert states[-1]["chosen"] == [name]
        assert not any(state["now"] for state in states)
    assert other.evaluate(STATE)["paused"]  # two sounds at once are noise
    system = "Truth" if name.startswith("'") else ""
    expect(player.locator(".asrlib-readout")).to_have_text(re.compile(f"{system}: {name}$"))


def test_all_of_it_plays_from_the_beginning_and_its_words_light_up(open_page):
    page = open_page(compare("one two three", {"x": "one too three"}))
    player = page.locator(".asrlib-compare")
    player.get_by_role("button", name="'three'").click()
    expect(player.get_by_role("button", name="Play all")).to_be_visible()
    player.locator("audio").evaluate(NOTE_JUMPS)
    watched = player.evaluate_handle(f"player => ({{done: ({UNTIL_STILL})(player)}})")
    player.get_by_role("button", name="Play all").click()
    states = watched.evaluate("watched => watched.done")
    playing = [state for state in states if not state["paused"]]
    assert player.locator("audio").evaluate("audio => audio.jumps") == [0]
    assert states[-1]["time"] == pytest.approx(1.3, abs=0.03)
    words = timed("one two three")

    def sounding(seconds):
        return [word.text for word in words if word.start <= seconds < word.end]

    assert any(state["now"] for state in playing)
    for before, state in zip(playing, playing[1:]):
        assert state["now"] in (sounding(before["time"]), sounding(state["time"]))
        assert state["band"] is None and state["chosen"] == []
    assert in_step(states) <= 0.05
    assert states[-1]["now"] == []
    assert page.evaluate("Object.keys(window).filter(name => /asrlib/i.test(name))") == []


def test_a_pause_in_the_middle_goes_on_from_there(open_page):
    player = open_page(compare()).locator(".asrlib-compare")
    player.get_by_role("button", name="Play all").click()
    page_time = "player => player.querySelector('audio').currentTime > 0.3"
    player.page.wait_for_function(f"({page_time})(document.querySelector('.asrlib-compare'))")
    player.get_by_role("button", name="Pause").click()
    at = player.evaluate(STATE)["time"]
    player.get_by_role("button", name="Play all").click()
    expect(player.get_by_role("button", name="Pause")).to_be_visible()
    assert player.evaluate(STATE)["time"] >= at


def test_a_click_on_the_waveform_plays_the_word_there(open_page):
    player = open_page(compare()).locator(".asrlib-compare")
    box = player.locator(".asrlib-picture").bounding_box()
    seconds = timed(TRUTH)[-1].end + GAP
    player.locator(".asrlib-picture").click(position={"x": 1.0 / seconds * box["width"], "y": 9})
    assert player.evaluate(STATE)["chosen"] == ["'sat', 0.90 to 1.20 s"]


def test_a_word_of_an_mp3_is_heard_where_the_cursor_is(open_page):
    """As it is, an MP3 is up to 0.07 s off after a jump; the tone says which second is heard."""
    page = open_page(compare(compress=True))
    player = page.locator(".asrlib-compare")
    page.wait_for_function("document.querySelector('audio').src.startsWith('blob:')")
    click = "player.querySelectorAll('.asrlib-truth button')[7].click()"  # "it", 2.9 to 3.2 s
    rows = np.array(player.evaluate(f"player => {{ {click}; return ({HEAR})(player, 1500); }}"))
    heard = (rows[:, 1] - 200) / 200
    inside = (heard > 2.95) & (heard < 3.15)  # between the words it is silent
    assert inside.sum() > 3 and abs(np.median((rows[:, 0] - heard)[inside])) <= 0.03


def test_keyboard(open_page):
    page = open_page(compare(), "<p style='height: 3000px'>")
    player = page.locator(".asrlib-compare")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Play all")
    page.keyboard.press("Tab")
    scrolled = page.evaluate("scrollY")
    for key, text in [
        ("", "the"),
        ("ArrowLeft", "the"),
        ("ArrowUp", "the"),
        ("ArrowRight", "cat"),
        ("ArrowDown", "cap S"),  # from here on from error to error
        ("ArrowRight", "the S"),
        ("ArrowDown", "— D"),
        ("ArrowUp", "the S"),
        ("ArrowRight", "whale S"),
        ("ArrowRight", "rain I"),
        ("ArrowUp", "it"),  # above an insertion stands nothing: a word beside it
        ("ArrowDown", "whale S"),
        ("ArrowRight", "rain I"),
        ("ArrowRight", "did S"),
        ("ArrowRight", "did S"),
        ("ArrowDown", "— D"),
    ]:
        if key:
            page.keyboard.press(key)
        expect(page.locator(":focus")).to_have_text(text)
    assert page.evaluate("scrollY") == scrolled
    for key in ("Space", "Enter"):
        watched = player.evaluate_handle(f"player => ({{done: ({UNTIL_STILL})(player)}})")
        page.keyboard.press(key)
        assert watched.evaluate("watched => watched.done")[-1]["chosen"] == [
            "deletion: said 'on', heard nothing, 1.30 to 1.60 s"
        ]
    page.keyboard.press("Tab")  # one stop for all words
    assert player.locator(":focus").count() == 0
    page.keyboard.press("Shift+Tab")
    expect(page.locator(":focus")).to_have_text("— D")  # where one was


def test_lines_follow_the_width_and_keep_the_focus(open_page):
    page = open_page(compare(" ".join([TRUTH] * 3), LONG))
    player = page.locator(".asrlib-compare")
    button = player.locator(".asrlib-line .asrlib-delete button").nth(5)
    button.focus()
    label = button.get_attribute("aria-label")
    wide = player.evaluate(LINES)
    page.set_viewport_size({"width": 360, "height": 900})
    page.wait_for_function(
        f"document.querySelectorAll('.asrlib-line').length > {2 * len(wide) - 1}"
    )
    narrow = player.evaluate(LINES)
    check_fit(narrow, 360)
    assert rows_of(narrow) == rows_of(wide)
    assert page.locator(":focus").get_attribute("aria-label") == label
    page.set_viewport_size({"width": 1000, "height": 900})
    page.wait_for_function(f"document.querySelectorAll('.asrlib-line').length === {len(wide)}")


@pytest.mark.parametrize("width", [1000, 360])
def test_hostile_text_is_shown_and_fits(open_page, screenshot, width):
    words = timed(" ".join(HOSTILE_WORDS))
    systems = {HOSTILE_NAME: " ".join(reversed(HOSTILE_WORDS)), "other": " ".join(HOSTILE_WORDS)}
    player = ComparePlayer(tones(words), words, systems, title=HOSTILE_NAME)
    page = open_page(player._repr_html_(), width=width)
    player = page.locator(".asrlib-compare")
    lines = player.evaluate(LINES)
    said = [cell[1] for line in lines for cell in line[0][1:] if cell[1]]
    assert said == HOSTILE_WORDS and lines[0][1][0][1] == HOSTILE_NAME
    check_fit(lines, width)
    for word in HOSTILE_WORDS:
        button = player.locator(".asrlib-truth button").nth(HOSTILE_WORDS.index(word))
        button.click()
        isolated = word if word.isascii() else f"\u2068{word}\u2069"
        expect(player.locator(".asrlib-readout")).to_contain_text(f"Truth: '{isolated}', ")
    player.locator(".asrlib-line").nth(1).locator("tr").nth(1).locator("button").first.click()
    page.wait_for_timeout(200)  # an onerror would have run by now
    screenshot(page, f"compare_hostile_{width}", full_page=True)
    assert page.evaluate("window.__pwned") is None
    assert player.locator("img").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert player.bounding_box()["height"] < 2000


@pytest.mark.parametrize("stored", [True, False])
def test_without_the_sound_everything_but_playing_works(open_page, screenshot, stored):
    markup = compare(keep_sound=stored)
    markup = UNKEPT_SOUND.sub(rf"\1{NOT_STORED}", markup)
    page = open_page(markup)
    player = page.locator(".asrlib-compare")
    assert player.locator("audio").count() == stored
    assert player.get_by_role("button", name="Play all").count() == stored
    assert player.get_by_text("The sound is not stored here").count() == (not stored)
    player.get_by_role("button", name="deletion: said 'on'").click()
    expect(player.locator(".asrlib-readout")).to_have_text(
        "with a language model: deletion: said 'on', heard nothing, 1.30 to 1.60 s"
    )
    assert player.locator(".asrlib-band").bounding_box()["width"] > 20
    page.keyboard.press("ArrowUp")
    expect(page.locator(":focus")).to_have_text("the S")
    screenshot(page, f"compare_stored_{stored}")
    contrasts = player.evaluate(CONTRASTS)
    assert min(contrast for _, contrast in contrasts) >= 4.5, contrasts
    filled = "cell => getComputedStyle(cell.firstChild).backgroundSize"
    if not stored:  # and nothing looks as if it had been played
        assert player.locator(".asrlib-chosen").evaluate(filled).startswith("0%")


def test_without_scripts_a_table_with_letters_remains(open_page, screenshot):
    player = open_page(compare(), java_script_enabled=False).locator(".asrlib-compare")
    assert player.locator("audio").is_visible() and player.locator("img").is_visible()
    screenshot(player.page, "compare_no_script")
    assert player.locator("button").count() == 0


def test_stripped_as_on_github_the_table_reads(open_page, screenshot):
    markup = compare(title="Two systems")
    markup = re.sub(r"<(script|style|audio)\b.*?</\1>| style=\".*?\"", "", markup, flags=re.DOTALL)
    markup = re.sub(r" (class|data-[a-z]+|role|aria-[a-z]+)=\".*?\"", "", markup)
    page = open_page("<style>img { max-width: 100% }</style>", markup, width=760)
    screenshot(page, "compare_stripped", full_page=True)
    text = page.locator("body").inner_text()
    assert re.search(r"greedy\s+55\.6 %\s+\(4 S \+ 0 D \+ 1 I\) / 9", text)
    assert re.search(r"with a language model\s+11\.1 %\s+\(0 S \+ 1 D \+ 0 I\) / 9", text)
    for table in page.locator("table").all()[1:]:
        assert table.bounding_box()["width"] < 745
    rows = [" ".join(row.split()) for row in page.locator("tr").all_inner_texts()[3:]]
    assert " ".join(row for row in rows if row.startswith("Truth")).replace("Truth ", "") == TRUTH
    greedy = " ".join(row.removeprefix("greedy ") for row in rows if row.startswith("greedy"))
    assert greedy == "the cap S sat the S the mat whale S it rain I did S"
    assert "D deletion: a word is missing" in text
