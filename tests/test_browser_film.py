"""The training film in a real browser: its numbers are the record's, its pictures the network's."""

import base64
import io
import re
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from PIL import Image

from asrlib.metrics import character_error_rate
from asrlib.text import ALPHABET
from asrlib.widgets import TrainingFilm
from asrlib.widgets._card import data_uri
from asrlib.widgets._pictures import heat_png
from tests.browser import CONTRASTS
from tests.films import BLANKS, FRAMES, LOSSES, NORMS, STEPS, TEXTS, TRUTHS, moments
from tests.test_widgets import HOSTILE

playwright = pytest.importorskip(
    "playwright.sync_api", reason="browser: playwright is absent (pip install playwright)"
)

# Everything that a card shows now.
SHOWN = """card => {
  const text = selector => card.querySelector(selector).textContent;
  const [said, wrote] = card.querySelectorAll(".asrlib-text");
  const right = element => [...element.querySelectorAll("u")].map(u => u.textContent).join("");
  return {
    step: text(".asrlib-step"), errors: text(".asrlib-errors b"),
    frames: text(".asrlib-axis :last-child"),
    said: said.textContent, wrote: wrote.textContent, right: [right(said), right(wrote)],
    values: [...card.querySelectorAll(".asrlib-curve b")].map(b => Number(b.dataset.value)),
    shown: [...card.querySelectorAll(".asrlib-curve b")].map(b => b.textContent),
    markers: [...card.querySelectorAll(".asrlib-marker")].map(m => parseFloat(m.style.left)),
    slider: card.querySelector("input").value, spoken: card.querySelector("canvas").ariaLabel,
  };
}"""
# On the page a picture is decoded beside the script; a canvas without one is empty.
DRAWN = """() => [...document.querySelectorAll("canvas")].every(canvas => {
  const copy = new OffscreenCanvas(1, 1).getContext("2d");
  copy.drawImage(canvas, 0, 0);
  return copy.getImageData(0, 0, 1, 1).data[3] === 255;
})"""


def show(card, step, clip=0):
    """Go where a reader would with slider and buttons, and read all that is shown there."""
    card.get_by_role("button", name=f"Clip {clip + 1}").click()
    card.get_by_role("slider").fill(str(STEPS.index(step)))
    return card.evaluate(SHOWN)


def open_film(open_page, **options):
    page = open_page(TrainingFilm(TRUTHS, moments())._repr_html_(), **options)
    card = page.locator(".asrlib-film")
    page.wait_for_function(DRAWN)
    return page, card


def test_texts_and_numbers_equal_the_record_at_every_step(open_page):
    _, card = open_film(open_page)
    for moment in moments():
        for clip, (truth, text) in enumerate(zip(TRUTHS, moment.texts, strict=True)):
            shown = show(card, moment.step, clip)
            rate = character_error_rate([truth], [text])
            assert shown["step"] == f"step {moment.step}"
            assert shown["errors"] == f"{rate.errors} of {rate.words} characters wrong"
            assert shown["said"] == truth and shown["frames"] == f"{FRAMES[clip]} frames"
            empty = "spaces, no letter" if text else "blanks, no letter"
            assert shown["wrote"] == (text if text.strip() else empty)
            right = shown["right"][0]
            assert shown["right"] == [right, right]  # the same letters in both texts
            assert len(right) == rate.words - rate.substitutions - rate.deletions
            assert shown["values"] == [moment.blank_fraction, moment.loss, moment.gradient_norm]
            blanks = int((moment.posteriors[clip].argmax(axis=1) == 0).sum())
            assert f"step {moment.step}; " in shown["spoken"]
            assert f"likeliest in {blanks} of {FRAMES[clip]} frames" in shown["spoken"]
    shown = show(card, 60, 0)
    assert shown["wrote"] == "he cat at " and shown["right"] == ["he cat at"] * 2
    assert shown["shown"] == ["65 %", "2.50", "0.80"]
    underlined = card.locator(".asrlib-text u").first
    assert "underline" in underlined.evaluate("u => getComputedStyle(u).textDecorationLine")


def colors(posteriors):
    """The picture of (frames, 29) probabilities as RGB (29, frames, 3), from its definition."""
    symbols = ["-", *ALPHABET]
    rows = [*"abcdefghijklmnopqrstuvwxyz", "'", " ", "-"]
    magma = 255 * matplotlib.colormaps["magma"](np.linspace(0, 1, 16))[:, :3]
    picture = magma[
        np.rint(15 * (posteriors[:, [symbols.index(row) for row in rows]].T / 255)).astype(int)
    ]
    gray = posteriors.argmax(axis=1) == 0
    picture[:, gray] = np.maximum(picture[:, gray], (72, 70, 84))
    return np.rint(picture)


def test_the_canvas_holds_the_probabilities_of_clip_and_step(open_page):
    _, card = open_film(open_page)
    for n, moment in enumerate(moments()):
        for clip in (n % 3, (n + 1) % 3):
            show(card, moment.step, clip)
            png = card.locator("canvas").evaluate("canvas => canvas.toDataURL()").split(",")[1]
            pixels = np.array(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA"))
            assert pixels.shape == (29, FRAMES[clip], 4) and (pixels[..., 3] == 255).all()
            np.testing.assert_array_equal(pixels[..., :3], colors(moment.posteriors[clip]))
    labels = card.locator(".asrlib-scale span").evaluate_all("all => all.map(e => e.dataset.label)")
    assert "".join(labels) == "abcdefghijklmnopqrstuvwxyz'␣-"
    box = card.locator("canvas").bounding_box()
    for label, row in (
        (card.locator(".asrlib-scale span").first, 0),
        (
            card.locator(".asrlib-scale span").last,
            28,
        ),
    ):
        middle = label.bounding_box()["y"] + label.bounding_box()["height"] / 2
        assert middle == pytest.approx(box["y"] + (row + 0.5) * box["height"] / 29, abs=1)


def test_play_pause_reset_and_keys_on_one_of_two_films(open_page):
    below = "<p style='height: 3000px'>below</p>"
    films = [TrainingFilm(TRUTHS, moments(), clip=k, title=str(k))._repr_html_() for k in (0, 2)]
    page = open_page(*films, below)
    card, other = page.locator(".asrlib-film").all()
    assert page.evaluate("Object.keys(window).filter(name => /asrlib/i.test(name))") == []
    step, play = card.locator(".asrlib-step"), card.locator(".asrlib-play")
    playwright.expect(step).to_have_text("step 75")  # as its static picture
    slider = card.get_by_role("slider")
    slider.focus()
    for key, wanted in [("ArrowLeft", 60), ("ArrowLeft", 40), ("ArrowRight", 60), ("Home", 1)]:
        page.keyboard.press(key)
        playwright.expect(step).to_have_text(f"step {wanted}")
    page.keyboard.press("ArrowLeft")  # there is nothing before
    playwright.expect(step).to_have_text("step 1")
    rate = character_error_rate([TRUTHS[0]], [TEXTS[0][0]])
    spoken = f"step 1: {rate.errors} of {rate.words} characters wrong"
    assert slider.get_attribute("aria-valuetext") == spoken
    page.keyboard.press("End")
    playwright.expect(step).to_have_text("step 75")

    # Each step on the way, from the first to the last, and then it stops by itself.
    card.evaluate("""card => {
      window.seen = [];
      const step = card.querySelector(".asrlib-step");
      new MutationObserver(() => seen.push(step.textContent)).observe(step, { childList: true });
    }""")
    scrolled = page.evaluate("scrollY")
    page.keyboard.press("Space")
    playwright.expect(play).to_have_text("Pause")
    playwright.expect(play).to_have_text("Play", timeout=20_000)
    assert page.evaluate("seen") == [f"step {wanted}" for wanted in STEPS]
    assert page.evaluate("scrollY") == scrolled

    play.focus()
    page.keyboard.press("Space")  # once, not once by the key and once by the button
    playwright.expect(play).to_have_text("Pause")
    page.keyboard.press("ArrowRight")  # the reader takes over
    playwright.expect(play).to_have_text("Play")
    card.get_by_role("button", name="Reset").click()
    playwright.expect(step).to_have_text("step 1")
    play.click()
    playwright.expect(step).to_have_text("step 20", timeout=20_000)
    play.click()
    playwright.expect(play).to_have_text("Play")
    paused = step.inner_text()
    page.wait_for_timeout(600)  # two moments long
    assert step.inner_text() == paused != "step 1"

    card.get_by_role("button", name="Clip 2").focus()
    page.keyboard.press("Space")  # the button's own key
    playwright.expect(card.locator("[aria-pressed=true]")).to_have_text("2")
    assert play.inner_text() == "Play"

    assert other.evaluate(SHOWN)["step"] == "step 75"
    assert other.evaluate(SHOWN)["said"] == TRUTHS[2]
    pressed = "[aria-pressed=true]"
    assert [each.locator(pressed).inner_text() for each in (card, other)] == ["2", "3"]


def test_curves_follow_the_record_and_a_click_jumps(open_page):
    page, card = open_film(open_page)
    for values, top, plot in zip(
        (BLANKS, LOSSES, NORMS), (1, max(LOSSES), max(NORMS)), card.locator(".asrlib-plot").all(),
        strict=True,
    ):  # fmt: skip
        numbers = re.findall(r"[\d.]+", plot.locator("path").get_attribute("d"))
        points = np.array(numbers, dtype=float).reshape(-1, 2)
        expected = [[100 * (s - 1) / 74, 100 - 100 * v / top] for s, v in zip(STEPS, values)]
        np.testing.assert_allclose(points, expected, atol=0.006)
        box = plot.bounding_box()
        assert box["height"] >= 40  # a finger's size
        for x, step in (0.02, 1), (0.3, 20), (0.6, 40), (0.72, 60), (0.98, 75):
            plot.click(position={"x": x * box["width"], "y": 20})
            shown = card.evaluate(SHOWN)
            assert shown["step"] == f"step {step}"
            place = 100 * (step - 1) / 74
            assert shown["markers"] == pytest.approx([place] * 3, abs=1e-3)
            assert shown["slider"] == str(STEPS.index(step))
    page.mouse.move(box["x"] + 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 20)
    page.mouse.up()
    page.mouse.move(box["x"] + 2, box["y"] + 20)  # let go: it stays
    assert card.evaluate(SHOWN)["step"] == "step 40"

    assert card.locator(".asrlib-legend .asrlib-plateau").inner_text() == (
        "blank plateau (95 % blanks or more): steps 20 until 60"
    )
    for plot in card.locator(".asrlib-plot").all():
        box, band = plot.bounding_box(), plot.locator(".asrlib-plateau").bounding_box()
        assert band["x"] - box["x"] == pytest.approx(19 / 74 * box["width"], abs=1)
        assert band["width"] == pytest.approx(40 / 74 * box["width"], abs=1)


def test_a_missing_number_is_a_gap_and_no_plateau_is_none(open_page):
    record = [
        replace(m, gradient_norm=np.inf if m.step == 40 else m.gradient_norm, blank_fraction=0.5)
        for m in moments()
    ]
    one = TrainingFilm(TRUTHS, record[:1], title="one")._repr_html_()
    page = open_page(TrainingFilm(TRUTHS, record)._repr_html_(), one)
    card, one = page.locator(".asrlib-film").all()
    assert show(card, 40)["shown"][2] == "not finite"
    assert not card.locator(".asrlib-dot").last.is_visible()
    assert show(card, 60)["shown"][2] == "0.80" and card.locator(".asrlib-dot").last.is_visible()
    path = card.locator("path").last.get_attribute("d")
    assert (path.count("M"), path.count("L")) == (2, 2)
    assert page.locator(".asrlib-plateau").count() == 0
    play = one.locator(".asrlib-play")
    play.click()
    playwright.expect(play).to_have_text("Play", timeout=20_000)
    assert one.evaluate(SHOWN)["step"] == "step 1"


def test_nothing_below_the_texts_jumps(open_page):
    texts = [[3 * n * "long " + "text", "", ""] for n in range(5)]  # one line to three
    page = open_page(TrainingFilm(TRUTHS, moments(texts))._repr_html_(), width=360)
    card = page.locator(".asrlib-film")
    assert len({card.evaluate("c => c.offsetHeight") for step in STEPS if show(card, step)}) == 1


@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_fits_and_reads_and_text_stays_text(open_page, screenshot, width, scheme):
    texts = [HOSTILE[:3], HOSTILE[3:], ["", "e", ""], HOSTILE[2::-1], HOSTILE[:2:-1]]
    texts[0][0] += "\U0001f600 e\u0301 end"  # counted as Python counts
    hostile = TrainingFilm(
        [HOSTILE[0] + " \U0001f600 end", HOSTILE[4], HOSTILE[5]], moments(texts), title=HOSTILE[1]
    )
    usual = TrainingFilm(TRUTHS, moments())
    page = open_page(usual._repr_html_(), hostile._repr_html_(), width=width, color_scheme=scheme)
    usual, hostile = page.locator(".asrlib-film").all()
    assert hostile.locator(".asrlib-title").inner_text() == HOSTILE[1]
    for step, said in zip(STEPS, texts, strict=True):
        for clip in range(3):
            shown = show(hostile, step, clip)
            assert shown["wrote"] == (said[clip] or "blanks, no letter")
            assert shown["right"][0] == shown["right"][1]
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("img").count() == 0 and page.evaluate("window.__pwned") is None
    show(usual, 60)
    show(hostile, 75, 2)
    screenshot(page, f"film_{width}_{scheme}", full_page=True)

    for card in (usual, hostile):
        outside = card.evaluate("""card => {
          const right = card.getBoundingClientRect().right - 10;
          const all = [...card.querySelectorAll(":not(.asrlib-text > *)")];
          return all.filter(e => e.getBoundingClientRect().right > right).map(e => e.className);
        }""")
        assert outside == []
        assert card.bounding_box()["height"] < 1400  # ten thousand letters scroll in their row
        for element in card.locator("button, input").all():
            box = element.bounding_box()
            assert box["height"] >= 40 and box["width"] >= 40  # a finger's size
        contrasts = card.evaluate(CONTRASTS)
        assert len(contrasts) > 50
        assert min(contrast for _, contrast in contrasts) >= 4.5, contrasts


def test_without_scripts_a_picture_and_a_table_remain(open_page, screenshot):
    markup = TrainingFilm(TRUTHS, moments(), clip=2)._repr_html_()
    stripped = re.sub(r"<(script|style)\b.*?</\1>", "", markup, flags=re.DOTALL)  # as on GitHub
    for name, html in ("no_script", markup), ("stripped", stripped):
        page = open_page(html, java_script_enabled=False, width=760)
        screenshot(page, f"film_{name}", full_page=True)
        picture = page.get_by_role("img")
        alt = picture.get_attribute("alt")
        assert "29 symbols" in alt and "30 frames of clip 3 after step 75" in alt
        assert picture.bounding_box()["height"] == 232
        rows = page.locator("tbody tr").all()
        cells = [row.locator("td").all_inner_texts() for row in rows]
        for (step, text, errors), moment in zip(cells, moments(), strict=True):
            expected = character_error_rate([TRUTHS[2]], [moment.texts[2]]).errors
            assert (int(step), int(errors)) == (moment.step, expected)
            assert text == (moment.texts[2].strip() or "no letter")
        text = page.locator("body").inner_text()
        assert (
            f"Said in clip 3: {TRUTHS[2]}" in text
            and "blank plateau (95 % blanks or more): steps 20 until 60" in text
        )
        png = data_uri("image/png", heat_png(moments()[-1].posteriors[2] / 255))
        assert picture.get_attribute("src") == png
