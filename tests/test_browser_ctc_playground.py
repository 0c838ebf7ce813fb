"""The CTC playground in a real browser: its numbers are asrlib.ctc's, whatever the reader does."""

import math
import re

import numpy as np
import pytest
import torch

from asrlib.ctc import ctc_loss, enumerate_alignments, forward, required_frames
from asrlib.widgets import CTCPlayground
from tests.browser import CONTRASTS, NOTEBOOK, notebook_page, write_notebook

playwright = pytest.importorskip(
    "playwright.sync_api", reason="browser: playwright is absent (pip install playwright)"
)
expect = playwright.expect

BEST = 5  # paths listed
HOSTILE = "<img src=x onerror='window.__pwned = 1'>"

# Every number that one playground shows, as it stands in the page; -Infinity as text.
NUMBERS = """card => {
  const all = name => [...card.querySelectorAll(name)].map(element => ({...element.dataset}));
  const numbers = {...card.dataset, nodes: all(".asrlib-node"), cells: all(".asrlib-cell")};
  return {...numbers, best: all("button.asrlib-path"), top: all("div.asrlib-path")[0].path};
}"""


def numbers(card):
    """Read what a playground shows as arrays of float64."""
    raw = card.evaluate(NUMBERS)

    def table(rows, column, value):
        shape = (max(int(x["frame"]) for x in rows) + 1, max(int(x[column]) for x in rows) + 1)
        array = np.full(shape, np.nan)
        for row in rows:
            array[int(row["frame"]), int(row[column])] = float(row[value] or "nan")
        return array

    return {
        "text": raw["text"],
        "probabilities": table(raw["cells"], "symbol", "p"),  # (frames, symbols)
        "alpha": table(raw["nodes"], "state", "alpha"),  # (frames, states), natural log
        "loss": float(raw["loss"]),
        "paths": int(raw["paths"]),
        "needed": int(raw["needed"]),
        "best": [(tuple(map(int, x["path"].split())), float(x["logP"])) for x in raw["best"]],
        "top": [int(symbol) for symbol in raw["top"].split()],
    }


def check(card, alphabet="abc"):
    """Compare every number of a playground with asrlib.ctc; return what it shows."""
    shown = numbers(card)
    probabilities = torch.from_numpy(shown["probabilities"])
    frames = len(probabilities)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(frames).double(), atol=1e-12)
    labels = torch.tensor([alphabet.index(letter) + 1 for letter in shown["text"]]).long()
    log_probs = probabilities.log()
    batch = log_probs[:, None], labels[None], torch.tensor([frames]), torch.tensor([len(labels)])
    alpha = forward(*batch)[:, 0].numpy()
    np.testing.assert_allclose(shown["alpha"], alpha, rtol=1e-9, atol=1e-9)
    assert shown["loss"] == pytest.approx(float(ctc_loss(*batch)), rel=1e-9, abs=1e-9)
    assert shown["needed"] == required_frames(labels)
    assert shown["top"] == probabilities.argmax(dim=1).tolist()

    paths = enumerate_alignments(labels, frames)
    assert shown["paths"] == len(paths)
    scores = {tuple(path): float(log_probs[range(frames), path].sum()) for path in paths.tolist()}
    possible = sorted((score for score in scores.values() if score > -math.inf), reverse=True)
    assert [score for _, score in shown["best"]] == pytest.approx(possible[:BEST], abs=1e-9)
    for path, score in shown["best"]:  # these very paths: all of them spell the text
        assert scores[path] == pytest.approx(score, abs=1e-9)
    assert len(dict(shown["best"])) == len(shown["best"])
    return shown


def probability(shown):
    return math.exp(-shown["loss"])


def playground(page):
    return page.locator(".asrlib-ctc_playground")


def cell(card, symbol, frame):
    """Return the cell of a symbol in a frame, which is counted from 1 as on the page."""
    return card.locator(f".asrlib-cell[data-symbol='{symbol}'][data-frame='{frame - 1}']")


def node(card, state, frame):
    return card.locator(f".asrlib-node[data-state='{state}'][data-frame='{frame - 1}']")


def drag(page, element, pixels):
    """Pull an element up by some pixels, with the pointer leaving it on the way."""
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 3, y - pixels / 2)
    page.mouse.move(x - 60, y - pixels)
    page.mouse.up()
    page.mouse.move(x, y)


def test_scenes_and_their_answers_show_the_numbers_of_asrlib(open_page):
    card = playground(open_page(CTCPlayground()._repr_html_()))
    start = check(card)
    assert (start["text"], len(start["alpha"])) == ("aab", 6)
    rights = {}
    for scene in ("Peaky", "Flat", "No blank between repeats", "Too few frames"):
        card.get_by_role("button", name=scene).click()
        before = check(card)
        answers = card.get_by_role("group", name="Answers").get_by_role("button")
        for answer in answers.all():
            answer.click()
            after = check(card)
            verdict = card.locator(".asrlib-verdict").inner_text()
            was, now = re.search(r"was (\S+), P\(\w+\) is (\S+)\.", verdict).groups()
            assert float(was) == pytest.approx(probability(before), rel=0.05)
            assert float(now) == pytest.approx(probability(after), rel=0.05)
            if "Yes." in verdict:
                assert scene not in rights
                rights[scene] = (answer.inner_text(), probability(before), probability(after))
            else:
                assert "No." in verdict
    # That the answers called right are right.
    answer, before, after = rights["Peaky"]
    assert "less than a third" in answer and after < before / 3
    answer, before, after = rights["Flat"]
    assert answer == "more" and after > before
    answer, before, after = rights["No blank between repeats"]
    assert answer == "frame 2" and before < 0.05 and after > 0.5
    answer, before, after = rights["Too few frames"]
    assert answer == "it stays infinite" and before == after == 0
    card.get_by_role("button", name="Start over").click()
    np.testing.assert_array_equal(numbers(card)["alpha"], start["alpha"])
    assert card.locator(".asrlib-quiz").inner_text() == ""


def drag_by_keys(card, symbol, frame, presses=1):
    cell(card, symbol, frame).focus()
    for _ in range(presses):
        card.page.keyboard.press("ArrowUp")


def test_the_advice_for_too_few_frames_helps(open_page):
    card = playground(open_page(CTCPlayground()._repr_html_()))
    card.get_by_role("button", name="Too few frames").click()
    card.get_by_role("button", name="it stays infinite").click()
    advice = "Press + for a fourth frame: the only path is then a – a b. Drag up – in frame 2, then"
    assert f"{advice} a in frame 3." in card.locator(".asrlib-verdict").inner_text()
    card.get_by_role("button", name="One frame more").click()
    shown = check(card)
    assert shown["paths"] == 1 and shown["loss"] == math.inf
    drag_by_keys(card, 0, 2, presses=10)
    drag_by_keys(card, 1, 3, presses=10)
    shown = check(card)
    assert probability(shown) == pytest.approx(0.5 * 0.5 * 0.25)
    assert [path for path, _ in shown["best"]] == [(1, 0, 1, 2)]


def test_on_a_phone_a_pressed_path_is_shown_in_the_trellis(open_page):
    page = open_page(CTCPlayground()._repr_html_(), width=360)
    card = playground(page)
    page.set_viewport_size({"width": 360, "height": 640})
    path = card.locator("button.asrlib-path").first
    trellis = card.locator(".asrlib-trellis")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(trellis).not_to_be_in_viewport()
    path.dispatch_event("click")
    expect(trellis).to_be_in_viewport()


def test_advice_about_another_text_is_gone(open_page):
    card = playground(open_page(CTCPlayground()._repr_html_()))
    advice = card.locator(".asrlib-try")
    assert "P(aab)" in advice.inner_text()
    card.get_by_role("button", name="Flat").click()
    expect(advice).to_be_hidden()
    card.get_by_role("button", name="Start over").click()
    expect(advice).to_be_visible()
    card.get_by_role("textbox").fill("ab")
    expect(advice).to_be_hidden()


def test_dragged_probability_moves_and_its_frame_still_sums_to_one(open_page):
    page = open_page(CTCPlayground()._repr_html_())
    card = playground(page)
    before = check(card)["probabilities"]
    drag(page, cell(card, 0, 3), -300)  # the blank between the two a goes away
    shown = check(card)
    now = shown["probabilities"]
    assert now[2, 0] == 0 and probability(shown) > 0
    np.testing.assert_allclose(now[2, 1:] / now[2, 1], before[2, 1:] / before[2, 1])
    np.testing.assert_array_equal(np.delete(now, 2, axis=0), np.delete(before, 2, axis=0))
    assert "▼ was 0.433" in card.locator(".asrlib-figures").inner_text()
    drag(page, cell(card, 1, 2), -28)  # 140 pixels are the whole way from 0 to 1
    assert check(card)["probabilities"][1, 1] == pytest.approx(before[1, 1] - 0.2, abs=0.011)

    for frame in range(1, 7):  # without any blank, no path can keep the two a apart
        drag(page, cell(card, 0, frame), -300)
    shown = check(card)
    assert shown["loss"] == math.inf and shown["paths"] > 0 and shown["best"] == []
    assert "meets a probability of 0" in card.locator(".asrlib-notice").inner_text()
    drag(page, cell(card, 1, 4), 300)
    drag(page, cell(card, 1, 4), -70)  # the others were all 0: they share what is left
    assert check(card)["probabilities"][3].tolist() == pytest.approx([1 / 6, 0.5, 1 / 6, 1 / 6])


def test_keys_change_a_probability_and_walk_the_trellis(open_page):
    page = open_page(CTCPlayground()._repr_html_())
    card = playground(page)
    before = check(card)["probabilities"]
    cell(card, 0, 1).focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    focused = page.locator(":focus")
    assert focused.get_attribute("aria-label") == "blank, frame 2"
    now = check(card)["probabilities"]
    assert now[1, 0] == pytest.approx(before[1, 0] + 0.05, abs=0.011)
    assert float(focused.get_attribute("aria-valuenow")) == pytest.approx(now[1, 0], abs=0.005)
    page.keyboard.press("End")
    assert check(card)["probabilities"][1].tolist() == [1, 0, 0, 0]
    page.keyboard.press("Home")
    now = check(card)["probabilities"][1]  # the way back: the others are as they were
    np.testing.assert_allclose(now[1:] / now[1], before[1, 1:] / before[1, 1])
    for _ in range(3):  # one stop for each of the other symbols, then the trellis
        page.keyboard.press("Tab")
        assert "frame 1" in page.locator(":focus").get_attribute("aria-label")
    page.keyboard.press("Tab")
    assert page.locator(":focus").get_attribute("role") == "gridcell"
    steps = (("Down", "0 1"), ("Right", "1 1"), ("Down", "1 2"), ("Right", "2 2"), ("Left", "1 2"),
             ("Up", "1 1"), ("Up", "1 0"), ("Up", "1 0"))  # fmt: skip
    place = "node => `${node.dataset.frame} ${node.dataset.state}`"
    for key, expected in steps:
        page.keyboard.press(f"Arrow{key}")
        assert page.locator(":focus").evaluate(place) == expected
    assert "Frame 2, the first blank" in card.locator(".asrlib-why").inner_text()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")  # the trellis is one stop, where it was left
    assert page.locator(":focus").get_attribute("data-frame") == "1"


def test_typed_texts_and_frames(open_page):
    card = playground(open_page(CTCPlayground()._repr_html_()))
    field = card.get_by_role("textbox")
    problem = card.locator(".asrlib-problem")
    for text in ("aa", "abc", "cc", "bbb", "", "abab", "a"):
        field.fill(text)
        assert check(card)["text"] == text and problem.inner_text() == ""
    field.fill("aaab")  # needs all six frames
    assert check(card)["paths"] == 1
    field.fill("aaabb")
    shown = check(card)
    assert (shown["needed"], shown["paths"], shown["loss"]) == (8, 0, math.inf)
    notice = card.locator(".asrlib-notice")
    assert "aaabb needs 8 frames" in notice.inner_text() and "There are 6" in notice.inner_text()
    for frames in (7, 8):
        card.get_by_role("button", name="One frame more").click()
        assert len(check(card)["alpha"]) == frames
    assert numbers(card)["paths"] == 1
    assert notice.inner_text() == "The new frame is undecided: 0.25 for every symbol."
    drag_by_keys(card, 0, 1)
    assert notice.inner_text() == ""

    for typed, message in (("aXb", "“X” is not in this small alphabet: use a, b and c."),
                           (HOSTILE, "“<”"), ("abcabca", "7 letters are too many")):  # fmt: skip
        field.fill(typed)
        assert message in problem.inner_text() and problem.locator("*").count() == 0
        assert field.get_attribute("aria-invalid") == "true"
        assert check(card)["text"] == "aaabb"  # what was legal stays
    field.fill("ab")
    assert problem.inner_text() == "" and field.get_attribute("aria-invalid") == "false"
    fewer, more = (card.get_by_role("button", name=f"One frame {x}") for x in ("less", "more"))
    for _ in range(5):
        fewer.click()
    expect(fewer).to_be_disabled()
    assert len(check(card)["alpha"]) == 3
    for _ in range(9):
        more.click()
    expect(more).to_be_disabled()
    assert len(numbers(card)["alpha"]) == 12


@pytest.mark.parametrize("seed", range(4))
def test_any_probabilities(open_page, seed):
    dice = np.random.default_rng(seed)
    alphabet, frames = "abcde"[: 2 + seed], int(dice.integers(3, 7))
    text = "".join(dice.choice(list(alphabet), size=3))
    values = torch.from_numpy(dice.normal(scale=2 + 100 * seed, size=(frames, 3 + seed)))
    log_probs = values.log_softmax(dim=1)
    log_probs[0] = torch.tensor([0.0] + [-math.inf] * (2 + seed))
    given = CTCPlayground(text, alphabet=alphabet, log_probs=log_probs)
    card = playground(open_page(given._repr_html_()))
    shown = check(card, alphabet)
    np.testing.assert_allclose(shown["probabilities"], log_probs.exp(), rtol=1e-12)
    assert shown["text"] == text


def test_node_says_how_its_value_arose(open_page):
    card = playground(open_page(CTCPlayground("aba", 6)._repr_html_()))
    shown = check(card)
    alpha, columns = np.exp(shown["alpha"]), shown["probabilities"]
    states = [0, 1, 0, 2, 0, 1, 0]
    why = card.locator(".asrlib-why")
    for frame, state, ways in ((4, 3, (3, 2, 1)), (4, 4, (4, 3)), (5, 5, (5, 4, 3)), (3, 0, (0,))):
        node(card, state, frame).hover()
        words = why.inner_text()
        pattern = r"α = \((.*)\) × (\S+) for .* here = ([\de.-]+)\."
        sums, emission, value = re.search(pattern, words).groups()
        said = [float(way.split()[0]) for way in sums.split(" + ")]
        assert said == pytest.approx(alpha[frame - 2, list(ways)].tolist(), rel=0.05)
        assert float(emission) == pytest.approx(columns[frame - 1, states[state]], rel=0.05)
        assert float(value) == pytest.approx(alpha[frame - 1, state], rel=0.05)
        assert card.locator(".asrlib-trellis path.asrlib-active").count() == len(ways)
        assert node(card, state, frame).get_attribute("aria-label") == words
    node(card, 6, 2).hover()
    assert "No path comes this far in 2 frames" in why.inner_text()
    card.locator(".asrlib-title").hover()
    ends = re.search(r"= (\S+) on .* \+ (\S+) on .* = (\S+)\. Point", why.inner_text()).groups()
    total = probability(shown)
    assert [float(x) for x in ends] == pytest.approx([*alpha[-1, 5:], total], rel=0.05)

    card.get_by_role("textbox").fill("aab")
    node(card, 3, 4).hover()
    assert "No arrow skips the blank" in why.inner_text()
    node(card, 0, 6).hover()
    assert "Too few frames are left" in why.inner_text()


def test_arrows_are_the_allowed_moves(open_page):
    card = playground(open_page(CTCPlayground("aab", 6)._repr_html_()))
    arrows = "arrows => arrows.map(({dataset}) => [dataset.frame, dataset.from, dataset.state])"
    drawn = {tuple(map(int, x)) for x in card.locator(".asrlib-trellis path").evaluate_all(arrows)}
    alpha = numbers(card)["alpha"]
    labels = [0, 1, 0, 1, 0, 2, 0]
    expected = {
        (t, s - jump, s)
        for t in range(1, 6)
        for s in range(7)
        for jump in (0, 1, 2)
        if s - jump >= 0 and alpha[t - 1, s - jump] > -math.inf
        if jump < 2 or labels[s] != labels[s - 2]
    }
    assert drawn == expected
    # Each begins and ends at its nodes.
    box = card.locator(".asrlib-trellis path[data-frame='3'][data-from='3'][data-state='5']")
    box, left, right = (x.bounding_box() for x in (box, node(card, 3, 3), node(card, 5, 4)))
    middle = [x["y"] + x["height"] / 2 for x in (left, right)]
    assert middle[0] < box["y"] < box["y"] + box["height"] < middle[1]
    assert left["x"] < box["x"] < box["x"] + box["width"] < right["x"] + right["width"]


def test_alpha_flows_frame_by_frame(open_page):
    card = playground(open_page(CTCPlayground()._repr_html_()))
    full = check(card)["alpha"]
    slider, play = card.get_by_label("Frames filled in"), card.get_by_role("button", name="Play")
    slider.fill("2")
    half = numbers(card)["alpha"]
    np.testing.assert_array_equal(half[:2], full[:2])
    assert np.isnan(half[2:]).all() and node(card, 4, 4).inner_text() == ""
    assert "not filled in yet" in node(card, 4, 4).get_attribute("aria-label")
    assert card.locator(".asrlib-clock").inner_text() == "frame 2 of 6"
    play.click()
    expect(card.get_by_role("button", name="Pause")).to_be_visible()
    expect(card.locator(".asrlib-clock")).to_have_text("frame 6 of 6", timeout=20_000)
    expect(play).to_be_visible()
    check(card)
    play.click()  # from the beginning again
    assert numbers(card)["alpha"].shape == full.shape
    card.get_by_role("button", name="Pause").click()
    assert np.isnan(numbers(card)["alpha"]).any()
    card.get_by_role("button", name="Flat").click()
    check(card)


def test_paths_collapse_before_the_eye(open_page):
    page = open_page(CTCPlayground()._repr_html_(), reduced_motion="reduce")
    card = playground(page)
    seen = """row => [...row.querySelectorAll(".asrlib-chip")].filter(chip => chip.offsetWidth)
        .map(chip => chip.textContent).join("")"""
    rows = card.locator("button.asrlib-path")
    paths = ["".join("–abc"[symbol] for symbol in path) for path, _ in numbers(card)["best"]]
    merged = [re.sub(r"(.)\1+", r"\1", path) for path in paths]
    assert paths != merged
    stages = ("1 paths", paths), ("2 merge repeats", merged), ("3 drop blanks", ["aab"] * BEST)
    for name, expected in stages:
        card.get_by_role("button", name=name).click()
        assert [row.evaluate(seen) for row in rows.all()] == expected
    rows.nth(2).click()  # a a – a b –, in the trellis
    on_path = "nodes => nodes.map(node => Number(node.dataset.state))"
    states = sorted(card.locator(".asrlib-node.asrlib-on-path").evaluate_all(on_path))
    assert paths[2] == "aa–ab–" and states == [1, 1, 2, 3, 5, 6]
    assert card.locator("path.asrlib-on-path").count() == 5
    assert rows.nth(2).get_attribute("aria-pressed") == "true"
    assert "a a blank a b blank collapses to aab" in rows.nth(2).get_attribute("aria-label")
    rows.nth(2).click()
    assert card.locator(".asrlib-on-path").count() == 0


def test_letters_stay_text_and_two_playgrounds_do_not_meet(open_page):
    hostile = CTCPlayground("<&<", 5, alphabet="<&'")._repr_html_()
    page = open_page(hostile, CTCPlayground("ab", 4)._repr_html_())
    first, second = playground(page).all()
    assert check(first, "<&'")["text"] == "<&<"
    assert "P(<&<)" in first.locator(".asrlib-figures").inner_text()
    before = check(second)
    first.get_by_role("button", name="Too few frames").click()
    assert check(first, "<&'")["loss"] == math.inf
    assert check(second)["loss"] == before["loss"]
    assert page.evaluate("Object.keys(window).filter(name => /asrlib|ctc/i.test(name))") == []


@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_fits_and_reads(open_page, screenshot, width, scheme):
    large = CTCPlayground("abcdea", 12, alphabet="abcde")._repr_html_()
    page = open_page(CTCPlayground()._repr_html_(), large, width=width, color_scheme=scheme)
    card = playground(page).first
    card.get_by_role("button", name="Peaky").click()
    card.get_by_role("group", name="Answers").get_by_role("button").first.click()
    card.get_by_role("textbox").fill("aabx")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    screenshot(page, f"ctc_playground_{width}_{scheme}", full_page=True)
    scroll = "element => element.scrollWidth - element.clientWidth"
    assert card.locator(".asrlib-scroll").evaluate(scroll) <= 0  # six frames need no scrolling
    sizes = "elements => elements.map(e => [e.offsetWidth, e.offsetHeight, e.className])"
    for name in ("button", "input", ".asrlib-cell", ".asrlib-node"):
        found = playground(page).locator(name).evaluate_all(sizes)
        assert found and all(width >= 40 and height >= 40 for width, height, _ in found), found
    for each in playground(page).all():
        contrasts = each.evaluate(CONTRASTS)
        assert min(contrast for _, contrast in contrasts) >= 4.5, contrasts


def test_without_scripts_a_table_and_the_loss_remain(open_page, screenshot):
    page = open_page(CTCPlayground()._repr_html_(), java_script_enabled=False)
    assert page.locator("table tr").count() == 5
    assert page.get_by_text("P(aab) = 0.433").is_visible()
    assert page.get_by_role("button").count() == 0
    screenshot(page, "ctc_playground_no_script")


def test_stripped_as_on_github_nothing_dangles(open_page, screenshot):
    markup = CTCPlayground("aab", 3)._repr_html_()
    markup = re.sub(r"<(script|style)\b.*?</\1>", "", markup, flags=re.DOTALL)
    page = open_page(markup, width=700)
    screenshot(page, "ctc_playground_stripped")
    words = page.locator("body").inner_text()
    assert words.startswith("CTC playground") and words.endswith("in Jupyter or Colab.")
    assert "P(aab) = 0, and the loss, its negative natural logarithm, is inf." in words


def test_in_jupyterlab_keys_go_to_the_playground(chromium, tmp_path, screenshot):
    """JupyterLab would take "a" and "b" for "insert a cell above" and "below"."""
    code = "from asrlib.widgets import CTCPlayground\nCTCPlayground()"
    folder = tmp_path / "notebooks"
    write_notebook(folder / "playground.ipynb", [code])
    with notebook_page(chromium, folder, "playground.ipynb", seconds=240) as page:
        card = playground(page)
        card.get_by_role("textbox").click()
        page.keyboard.press("Backspace")
        page.keyboard.type("abba")
        assert check(card)["text"] == "aaabba"
        before = check(card)["probabilities"]
        cell(card, 0, 3).focus()
        for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
            page.keyboard.press(key)
        after = check(card)["probabilities"]
        assert after[3, 0] == 0 and before[3, 0] > 0
        node(card, 5, 5).click()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("b")
        assert page.locator(":focus").get_attribute("data-state") == "4"
        screenshot(page, "ctc_playground_jupyterlab")
        assert page.evaluate(f"{NOTEBOOK}.widgets.length") == 1
        assert min(contrast for _, contrast in card.evaluate(CONTRASTS)) >= 4.5
