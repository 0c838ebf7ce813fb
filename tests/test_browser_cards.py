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


@pytest.mark.parametrize("kind", CARDS)
def test_a_card_among_others_looks_as_it_does_alone(open_page, screenshot, kind):
    html = {name: card._repr_html_() for name, card in CARDS.items()}
    others = [markup for name, markup in html.items() if name != kind]
    alone = open_page(html[kind]).locator(f".asrlib-{kind}").evaluate(LOOKS)
    page = open_page(*others, html[kind], *others)
    assert page.locator(f".asrlib-{kind}").evaluate(LOOKS) == alone
    screenshot(page, f"cards_around_{kind}", full_page=True)
