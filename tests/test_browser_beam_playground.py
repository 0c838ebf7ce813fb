"""The beam playground in a real browser: its numbers are asrlib's, its controls do their work."""

import math
import re

import numpy as np
import pytest
import torch

from asrlib.decoding import beam_search, greedy_search, prefix_beam_search
from asrlib.fusion import Fusion
from asrlib.language_model import NGramModel
from asrlib.text import Tokenizer
from asrlib.widgets import BeamPlayground
from tests.browser import CONTRASTS

playwright = pytest.importorskip(
    "playwright.sync_api", reason="browser: playwright is absent (pip install playwright)"
)

BEAMS, ALPHAS = range(1, 7), (0.0, 0.15, 1.0, 2.0)
HOSTILE_TITLE = "</script><img src=x onerror='window.__pwned = 1'> \u202eright to left"

# Moves the sliders as a reader would, and reads rows with their full precision.
TOOLS = """
const set = (card, [beam, alpha]) => card.querySelectorAll("input").forEach((input, i) => {
  input.value = [beam, alpha][i];
  input.dispatchEvent(new Event("input"));
});
const press = (card, word) =>
  [...card.querySelectorAll("button")].find(button => button.innerText === word).click();
const read = (card, selector) => [...card.querySelectorAll(selector)].map(row => {
  const { text, ...numbers } = row.dataset;
  return { text, ...Object.fromEntries(Object.entries(numbers).map(([k, v]) => [k, String(v)])) };
});
"""
RANKINGS = f"""(card, settings) => {{
  {TOOLS}
  return settings.map(setting => {{
    set(card, setting);
    return read(card, ".asrlib-ranking [data-text]");
  }});
}}"""
# The beam before the first frame and after each one, with what fell out.
FRAMES = f"""(card, setting) => {{
  {TOOLS}
  set(card, setting);
  press(card, "Reset");
  return [...card.querySelectorAll(".asrlib-matrix thead th")].map((_, i) => {{
    if (i) press(card, "Step");
    return [read(card, ".asrlib-kept"), read(card, ".asrlib-detail .asrlib-lost")];
  }});
}}"""


def random_log_probs(seed, frames, symbols, sharpness=1.5):
    noise = np.random.default_rng(seed).normal(size=(frames, symbols))
    return torch.tensor(sharpness * noise).log_softmax(-1)


def with_zeros(seed, frames, symbols):
    """Only three symbols of each frame are possible; the blank is not always one of them."""
    rows = np.random.default_rng(seed).dirichlet(np.ones(symbols), size=frames)
    rows *= np.stack([np.roll(np.arange(symbols) < 3, t) for t in range(frames)])
    with np.errstate(divide="ignore"):
        return np.log(rows / rows.sum(axis=1, keepdims=True))


def bigrams():
    with pytest.warns(UserWarning, match="discounts"):
        return NGramModel.train(["abba", "a baba", "bab"], order=2, unit="character")


PLAYGROUNDS = {
    "example": BeamPlayground,
    "bonus": lambda: BeamPlayground(beta=0.75),
    "short": lambda: BeamPlayground(random_log_probs(1, 9, 4), "b a", language_model=bigrams()),
    "flat": lambda: BeamPlayground(random_log_probs(2, 12, 10, 0.4), " abcdefgh", beta=-0.4),
    "float32": lambda: BeamPlayground(random_log_probs(3, 7, 6).float(), "xyz ü", beta=1.5),
    "zeros": lambda: BeamPlayground(with_zeros(4, 8, 5), "ab c"),
    "one frame": lambda: BeamPlayground(random_log_probs(5, 1, 3), "a "),
    # Equal scores: beam_search leaves open which of them survive, prefix_beam_search does not.
    "ties": lambda: BeamPlayground(np.full((5, 4), math.log(0.25)), " ab"),
}


def numbers(rows, *names):
    return [[float(row[name]) for name in names] for row in rows]


def searched(playground, frames, beam, alpha):
    """The hypotheses of asrlib after some frames."""
    log_probs = torch.tensor(playground.log_probs)[None]
    model = playground.language_model
    fusion = Fusion(model, alpha, playground.beta, tokenizer=playground.tokenizer)
    return beam_search(
        log_probs,
        torch.tensor([frames]),
        beam,
        fusion if alpha > 0 else None,
        tokenizer=playground.tokenizer,
    )[0]


@pytest.mark.parametrize("name", [name for name in PLAYGROUNDS if name != "ties"])
def test_every_text_and_score_equals_beam_search(open_page, name):
    playground = PLAYGROUNDS[name]()
    card = open_page(playground._repr_html_()).locator(".asrlib-beam_playground")
    settings = [(beam, alpha) for beam in BEAMS for alpha in ALPHAS]
    frames = len(playground.log_probs)
    for setting, rows in zip(settings, card.evaluate(RANKINGS, settings), strict=True):
        expected = searched(playground, frames, *setting)
        assert [row["text"] for row in rows] == [each.text for each in expected], setting
        scores = [[each.score] for each in expected]
        np.testing.assert_allclose(numbers(rows, "score"), scores, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["example", "short", "zeros", "ties"])
def test_masses_after_each_frame_equal_prefix_beam_search(open_page, name):
    playground = PLAYGROUNDS[name]()
    log_probs = torch.tensor(playground.log_probs)
    card = open_page(playground._repr_html_()).locator(".asrlib-beam_playground")
    for beam in (1, 2, 3, 6):
        steps = card.evaluate(FRAMES, (beam, 0))
        assert len(steps) == len(log_probs) + 1
        before = 1.0
        for t, (kept, lost) in enumerate(steps):
            expected = prefix_beam_search(log_probs[:t], beam)
            texts = [playground.tokenizer.decode(tokens) for tokens, _ in expected]
            assert [row["text"] for row in kept] == texts
            totals = [[score] for _, score in expected]
            np.testing.assert_allclose(numbers(kept, "total"), totals, rtol=0, atol=1e-9)
            both = np.exp(numbers(kept + lost, "blank", "letter"))
            sums = np.exp(numbers(kept + lost, "total"))[:, 0]
            np.testing.assert_allclose(both.sum(axis=1), sums, rtol=1e-12)
            # All that the beam before could become is there: kept, or fallen out.
            assert sums.sum() == pytest.approx(before, rel=1e-9)
            before = sums[: len(kept)].sum()
            assert not {row["text"] for row in kept} & {row["text"] for row in lost}


def test_each_frame_with_the_language_model_equals_beam_search(open_page):
    playground = PLAYGROUNDS["short"]()
    card = open_page(playground._repr_html_()).locator(".asrlib-beam_playground")
    model, alpha = playground.language_model, 0.5
    for t, (kept, lost) in enumerate(card.evaluate(FRAMES, (3, alpha))):
        expected = {each.text: each.score for each in searched(playground, t, 3, alpha)}
        assert {row["text"] for row in kept} == set(expected)
        for row in kept:  # Python's score is of the text as a whole: its end counts, too
            end = alpha * model.log_prob("</s>", ["<s>", *row["text"]])
            assert float(row["score"]) + end == pytest.approx(expected[row["text"]], abs=1e-9)
        scores = [score for [score] in numbers(kept + lost, "score")]
        assert scores == sorted(scores, reverse=True)


def test_two_masses_and_a_merge_by_hand(open_page):
    both = np.log([[0.5, 0.1, 0.4], [0.5, 0.1, 0.4]])  # blank, space, a
    card = open_page(BeamPlayground(both, " a")._repr_html_()).locator(".asrlib-beam_playground")
    start, _, ([a, empty, *_], _) = card.evaluate(FRAMES, (6, 0))
    assert [row["text"] for row in start[0]] == [""] and float(start[0][0]["blank"]) == 0
    # a: "a-" ends in a blank; "aa" and "-a" end in the letter. Both of the empty prefix's paths: --
    assert (a["text"], empty["text"]) == ("a", "")
    np.testing.assert_allclose(np.exp(numbers([a], "blank", "letter")), [[0.2, 0.16 + 0.2]])
    np.testing.assert_allclose(np.exp(numbers([empty], "blank", "letter")), [[0.25, 0]])
    rows = card.locator(".asrlib-kept")
    assert (
        re.sub(r"\s+", " ", rows.nth(0).inner_text()) == "a +stays and empty + a 0.200 0.360 0.560"
    )
    assert re.sub(r"\s+", " ", rows.nth(1).inner_text()) == "empty stays 0.250 0 0.250"
    merged = card.locator(".asrlib-node:has(.asrlib-met)")
    assert [text.split()[0] for text in merged.all_inner_texts()] == ["a", "␣"]


def test_the_example_teaches_what_the_sentence_asks(open_page):
    playground = BeamPlayground()
    card = open_page(playground._repr_html_()).locator(".asrlib-beam_playground")
    assert "beam to 1, then to 3: why does the winner change?" in card.inner_text()
    greedy, winner = card.locator(".asrlib-winner").all()

    def winner_at(beam, alpha):
        card.evaluate(RANKINGS, [(beam, alpha)])
        return winner.get_attribute("data-text")

    path = greedy_search(
        torch.tensor(playground.log_probs)[None], torch.tensor([6]), Tokenizer(" ackt")
    )[0]
    assert greedy.get_attribute("data-text") == path.text == "a kt"
    assert f"{path.score:.2f}".replace("-", "−") in greedy.inner_text()
    assert winner_at(1, 0) == "a kt"  # all paths with an "a" together are likelier than "a kt"
    assert winner_at(3, 0) == "a kat"
    assert winner_at(3, 0.05) == "a kat"
    assert winner_at(3, 0.5) == "a cat"  # the spelling, by the language model
    assert winner_at(1, 0.5) != "a cat"  # which cannot bring back what fell out
    assert winner_at(6, 2) == "a cat"


def test_the_answer_to_the_question_is_true(open_page):
    card = open_page(BeamPlayground()._repr_html_()).locator(".asrlib-beam_playground")
    expect = playwright.expect
    card.get_by_text("Answer").click()
    said = card.locator("details").inner_text()
    assert "a␣k (0.200) is ahead of a␣ka (0.163)" in said
    assert "merge to 0.242, and a␣k keeps 0.100" in said

    def after(frame, beam):
        card.evaluate(RANKINGS, [(beam, 0)])
        card.get_by_role("button", name="Reset").click()
        for _ in range(frame):
            card.get_by_role("button", name="Step").click()
        rows = card.locator(".asrlib-beam tr[data-text]").all()
        kept = [row for row in rows if "asrlib-kept" in row.get_attribute("class")]
        return [
            {
                row.get_attribute(
                    "data-text"
                ): f"{math.exp(float(row.get_attribute('data-total'))):.3f}"
                for row in some
            }
            for some in (kept, [row for row in rows if row not in kept])
        ]

    kept, lost = after(4, beam=1)
    assert kept == {"a k": "0.200"} and lost["a ka"] == "0.163"
    kept, _ = after(5, beam=3)
    assert kept["a ka"] == "0.242" and kept["a k"] == "0.100"
    merged = card.locator(".asrlib-beam tr[data-text='a ka']")
    expect(merged).to_contain_text("stays and a␣k + a")
    card.get_by_role("button", name="Step").click()
    card.get_by_role("button", name="Step").click()  # after the last frame: from the beginning
    expect(card.locator(".asrlib-status")).to_contain_text("Before frame 1")


def test_results_say_what_their_numbers_are_and_are_told_once(open_page):
    card = open_page(BeamPlayground()._repr_html_()).locator(".asrlib-beam_playground")
    greedy, best = card.locator(".asrlib-winner").all()
    assert "that path: log P = −2.50" in greedy.inner_text()
    assert "its paths in the beam: log P = −1.58" in best.inner_text()
    assert "order: with the language model" not in card.inner_text()
    changes = card.locator(".asrlib-winners").evaluate_handle("""winners => {
      const seen = [];
      new MutationObserver(list => seen.push(list.length)).observe(winners, {childList: true});
      return seen;
    }""")
    card.evaluate(RANKINGS, [(3, 0), (3, 0)])  # nothing new
    assert changes.json_value() == []
    card.evaluate(RANKINGS, [(3, 0.5)])
    assert "sound + language model: −4.53" in best.inner_text()
    assert "order: with the language model" in card.inner_text()
    assert "log P(text and its end)" in card.inner_text()
    assert changes.json_value() != []


def columns(card):
    """How many prefixes stand in each column of the tree, and how many of them are struck out."""
    return card.evaluate("""card => {
      const nodes = [...card.querySelectorAll(".asrlib-node")], counts = {};
      for (const node of nodes) {
        const frame = node.style.getPropertyValue("--frame");
        counts[frame] ??= [0, 0];
        counts[frame][Number(node.classList.contains("asrlib-lost"))]++;
      }
      return counts;
    }""")


def test_tree_grows_step_by_step_and_strikes_out_what_fell(open_page):
    card = open_page(BeamPlayground()._repr_html_()).locator(".asrlib-beam_playground")
    status, marker = card.locator(".asrlib-status"), card.locator(".asrlib-marker")
    assert columns(card) == {"0": [1, 0], **{str(t): [3, 0] for t in range(1, 6)}, "6": [3, 3]}
    card.get_by_role("button", name="Back").click()
    card.get_by_role("button", name="Back").click()
    assert status.inner_text() == "After frame 4: 3 kept, 12 fell out."
    assert columns(card) == {"0": [1, 0], **{str(t): [3, 0] for t in range(1, 4)}, "4": [3, 3]}
    struck = card.locator(".asrlib-node.asrlib-lost")
    assert struck.first.evaluate("e => getComputedStyle(e).textDecorationLine") == "line-through"
    assert struck.first.locator(".asrlib-out").inner_text() == "×"
    assert card.locator(".asrlib-detail .asrlib-lost s").count() == 12  # three rows, and the others
    # The mark stands around frame 4, its heads and its prefixes.
    box, head = marker.bounding_box(), card.locator("thead th").nth(4).bounding_box()
    assert (box["x"], box["width"]) == (
        pytest.approx(head["x"], abs=1),
        pytest.approx(head["width"], abs=1),
    )
    for node in card.locator(".asrlib-node[style*='--frame: 4']").all():
        inside = node.bounding_box()
        assert box["x"] < inside["x"] and inside["x"] + inside["width"] < box["x"] + box["width"]
        assert inside["y"] + inside["height"] < box["y"] + box["height"]
    # A line comes in for each parent of each prefix that is drawn.
    paths = [path.get_attribute("d") for path in card.locator("path").all()]
    stay, grow, lost = (path.count("M") for path in paths)
    assert stay + grow == 12 + card.locator(".asrlib-node .asrlib-met").count()
    assert lost == 3 + card.locator(".asrlib-detail tbody .asrlib-lost", has_text=" and ").count()
    card.get_by_role("button", name="Reset").click()
    assert columns(card) == {"0": [1, 0]} and not marker.is_visible()
    assert "Before frame 1" in status.inner_text()
    card.get_by_role("button", name="Back").click()  # there is nothing before
    assert columns(card) == {"0": [1, 0]}


def test_keyboard_play_and_two_playgrounds(open_page):
    below = "<p style='height: 3000px'>below</p>"
    other = BeamPlayground(beam_size=2, title="other")
    page = open_page(BeamPlayground()._repr_html_(), other._repr_html_(), below)
    card, other = page.locator(".asrlib-beam_playground").all()
    assert page.evaluate("Object.keys(window).filter(name => /asrlib/i.test(name))") == []
    status = card.locator(".asrlib-status")
    slider = card.get_by_role("slider", name="Beam width")
    slider.focus()
    page.keyboard.press("ArrowRight")  # the slider's own key
    assert "Beam of 4" in card.inner_text() and "After frame 6" in status.inner_text()
    assert "Beam of 2" in other.inner_text()
    card.get_by_label("Frames and search tree").focus()
    for key, frame in [("ArrowLeft", 5), ("ArrowLeft", 4), ("ArrowRight", 5), ("End", 6)]:
        page.keyboard.press(key)
        assert f"After frame {frame}:" in status.inner_text()
    page.keyboard.press("Home")
    assert "Before frame 1" in status.inner_text()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    scrolled = page.evaluate("scrollY")
    page.keyboard.press("Space")
    play = card.locator("button").last
    playwright.expect(play).to_have_text("Pause")
    playwright.expect(play).to_have_text("Play", timeout=20_000)  # by itself, after one frame
    assert "After frame 6" in status.inner_text()
    play.focus()
    page.keyboard.press("Space")  # once, not once by the key and once by the button
    playwright.expect(play).to_have_text("Pause")
    assert "Before frame 1" in status.inner_text()  # from the start again
    page.keyboard.press("Enter")
    playwright.expect(play).to_have_text("Play")
    assert page.evaluate("scrollY") == scrolled
    assert "After frame 6" in other.locator(".asrlib-status").inner_text()


@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_fits_and_reads_and_text_stays_text(open_page, screenshot, width, scheme):
    rows = random_log_probs(7, 12, 8, 2.5)
    hostile = BeamPlayground(rows, "<b>& \"'", title=HOSTILE_TITLE, alpha=0.5, beam_size=6)
    page = open_page(
        BeamPlayground(alpha=0.5)._repr_html_(), hostile._repr_html_(), width=width,
        color_scheme=scheme,
    )  # fmt: skip
    usual, hostile = page.locator(".asrlib-beam_playground").all()
    assert hostile.locator(".asrlib-title").inner_text() == HOSTILE_TITLE
    assert hostile.locator("img").count() == 0
    names = hostile.locator(".asrlib-matrix tbody th").all_inner_texts()
    assert names == ["blank", "<", "b", ">", "&", "space", '"', "'"]
    assert page.evaluate("window.__pwned") is None
    screenshot(page, f"beam_playground_{width}_{scheme}", full_page=True)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for card in (usual, hostile):
        card.get_by_role("button", name="Back").click()
        outside = card.evaluate("""card => {
          const right = card.getBoundingClientRect().right - 10;
          const all = [...card.querySelectorAll(":scope > *, :scope > :not(.asrlib-view) *")];
          return all.filter(e => e.getBoundingClientRect().right > right).map(e => e.className);
        }""")
        assert outside == []
        for element in card.locator("button, input").all():
            assert element.bounding_box()["height"] >= 40  # a finger's size
        marker, view = (
            card.locator(f".asrlib-{name}").bounding_box() for name in ("marker", "view")
        )
        assert view["x"] <= marker["x"]  # the current frame is in sight
        assert marker["x"] + marker["width"] <= view["x"] + view["width"] + 1
        contrasts = card.evaluate(CONTRASTS)
        assert len(contrasts) > 80
        assert min(contrast for _, contrast in contrasts) >= 4.5, contrasts


def test_without_scripts_a_table_and_both_results_remain(open_page, screenshot):
    playground = BeamPlayground(alpha=0.5)
    markup = playground._repr_html_()
    page = open_page(markup, java_script_enabled=False)
    screenshot(page, "beam_playground_no_script")
    text = page.locator("body").inner_text()
    assert "Greedy search: “a kt” (log score -2.50)" in text
    score = f"{searched(playground, 6, 3, 0.5)[0].score:.2f}"
    best = f"Best text of a beam of 3 with language model, weight 0.5: “a cat” (log score {score})"
    assert best in text
    cells = page.locator("tbody td").all_inner_texts()
    assert cells == [f"{p:.2f}" for p in np.exp(playground.log_probs).T.ravel()]

    markup = re.sub(r"<(script|style)\b.*?</\1>", "", markup, flags=re.DOTALL)  # as on GitHub
    page = open_page(markup, width=700)
    screenshot(page, "beam_playground_stripped")
    assert best in page.locator("body").inner_text()
    assert page.locator("td b").count() == 6  # greedy's choice in each frame
