"""Every stored picture is drawn from a stored result, shown somewhere, and described."""

import re

import numpy as np
import pytest
from PIL import Image

from asrlib.plots.readme import FIGURES, redraw
from tests.browser import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "notebooks").glob("*.md"))]


@pytest.mark.parametrize("path", sorted(FIGURES.glob("*.png")), ids=lambda path: path.stem)
def test_a_picture_is_shown_with_words_for_who_cannot_see_it(path):
    shown = [
        text
        for page in PAGES
        for text, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text())
        if (page.parent / target).resolve() == path
    ]
    assert shown, f"{path.name} stands on no page"
    assert all(len(text.split()) >= 12 for text in shown)


def test_the_stored_pictures_are_those_that_the_results_give(tmp_path):
    drawn = redraw(tmp_path)
    assert sorted(p.name for p in drawn) == sorted(p.name for p in FIGURES.glob("*.png"))
    for path in drawn:
        pair = path, FIGURES / path.name
        ours, stored = (np.asarray(Image.open(p).convert("L"), float) for p in pair)
        assert ours.shape == stored.shape
        # Drawn from these very results: pixels alone would hardly notice another mark.
        assert Image.open(path).text["Source"] == Image.open(FIGURES / path.name).text["Source"]
        assert np.abs(ours - stored).mean() < 4  # fonts differ a little between machines
