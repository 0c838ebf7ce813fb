"""What all tests share: one torch thread, fixed seeds, shapes checked as types.

The import hook has to stand before the first import of asrlib: from then on every annotated call
in the package is checked by jaxtyping and beartype, so a tensor of the wrong shape fails where it
first appears.
"""

import os
import random
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings

from tests.browser import CHROMIUM, FLAGS, HEAD

# is_pep484_tower: a whole number is a legal float, as everywhere in Python.
TYPECHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"

if any(name.startswith("asrlib.") for name in sys.modules):
    raise RuntimeError("asrlib was imported before tests/conftest.py could check its shapes")
jaxtyping.install_import_hook("asrlib", TYPECHECKER)

torch.set_num_threads(1)  # the models here are tiny: more threads only wait for each other

# derandomize: the same examples in every run, so a failure is a change of the code.
settings.register_profile("asrlib", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("asrlib")


@pytest.fixture(autouse=True)
def fixed_seeds():
    """The same dice for each test, in whatever order they run."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def unchecked_types(monkeypatch):
    """Run without the shape checker, as readers do, to see the package's own messages."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium with a fake microphone; where there is none, the test is skipped."""
    if not CHROMIUM.exists():
        pytest.skip(f"browser: {CHROMIUM} is absent (apt-get install chromium)")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="browser: playwright is absent (pip install playwright)"
    )
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, tmp_path):
    """Return a function that shows players as a static page; any script error fails the test."""
    contexts, errors = [], []

    def show(*fragments, width=1000, **options):
        path = tmp_path / "page.html"
        path.write_text("\n".join((HEAD, *fragments)), encoding="utf-8")
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        own = ("data:", "file:", "blob:")
        page.on("request", lambda r: r.url.startswith(own) or errors.append(r.url))
        page.goto(path.as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def screenshot(tmp_path):
    """Return a function that keeps a picture of a page."""
    folder = Path(os.environ.get("ASRLIB_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return lambda page, name, **options: page.screenshot(path=folder / f"{name}.png", **options)
