"""What all tests share: one torch thread, fixed seeds, shapes checked as types.

The import hook has to stand before the first import of asrlib: from then on every annotated call
in the package is checked by jaxtyping and beartype, so a tensor of the wrong shape fails where it
first appears.
"""

import random
import sys

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings

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
