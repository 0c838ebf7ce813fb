"""Cards of different kinds on one page: each looks as it does alone."""

import numpy as np
import pytest

from asrlib.subtitles import Word
from asrlib.widgets import BeamPlayground, ComparePlayer, CTCPlayground, Player, TrainingFilm
from tests.browser import LOOKS
from tests.films import TRUTHS, moments

SOUND = 0.1 * np.sin(np.arange(16000) * 0.1).astype(np.float32)
CARDS = {
    "beam_playground": BeamPlayground(),
    "compare": ComparePlayer(SOUND, [Word("tone", 0.2, 0.5, 1.0)], {"a": "tune"}, title="Two"),
    "ctc_playground": CTCPlayground(),
    "film": TrainingFilm(TRUTHS, moments()),
    "player": Player(SOUND, title="A tone", text="a tone"),
}
HEARD = Player(SOUND, log_probs=np.log(np.full((26, 29), 1 / 29)))  # it has a legend


def test_with_the_colors_of_the_reader_marks_and_buttons_can_be_told_apart(open_page, screenshot):
    """High contrast replaces every color: what a color says must still be there."""
    shown = [*(card._repr_html_() for card in CARDS.values()), HEARD._repr_html_()]
    page = open_page(*shown, forced_colors="active")
    screenshot(page, "cards_forced_colors", full_page=True)
    style = "(e, [pseudo, name]) => getComputedStyle(e, pseudo)[name]"
    bright, gray = (
        page.locator(f".asrlib-player .asrlib-{name}").evaluate(
            style, ["::before", "backgroundColor"]
        )
        for name in ("likely", "ground")
    )
    assert bright != gray
    for name in ("player .asrlib-play", "beam_playground .asrlib-step", "compare .asrlib-play"):
        button = page.locator(f".asrlib-{name}").first
        assert button.evaluate(style, [None, "borderTopWidth"]) == "1px"
    cursor = page.locator(".asrlib-player .asrlib-cursor").first
    assert cursor.evaluate(style, [None, "backgroundColor"]) == "rgb(255, 255, 255)"
    assert cursor.evaluate(style, [None, "boxShadow"]) != "none"  # its dark rim


@pytest.mark.parametrize("kind", CARDS)
def test_a_card_among_others_looks_as_it_does_alone(open_page, screenshot, kind):
    html = {name: card._repr_html_() for name, card in CARDS.items()}
    others = [markup for name, markup in html.items() if name != kind]
    alone = open_page(html[kind]).locator(f".asrlib-{kind}").evaluate(LOOKS)
    page = open_page(*others, html[kind], *others)
    assert page.locator(f".asrlib-{kind}").evaluate(LOOKS) == alone
    screenshot(page, f"cards_around_{kind}", full_page=True)
