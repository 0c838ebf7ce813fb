"""asrlib.history: where the blank plateau lies."""

import pytest

from asrlib.history import History, blank_plateau


@pytest.mark.parametrize(
    ("fractions", "plateau"),
    [
        ([0.0, 0.96, 1.0, 0.5, 0.4, 0.3], (20, 60)),  # ends at the first step below
        ([0.0, 0.95, 0.949, 0.949, 0.95, 0.3], (20, 40)),  # the level itself counts
        ([0.0, 0.96, 0.5, 0.96, 0.4, 0.3], (20, 80)),  # one step below is no end
        ([0.97, 0.5, 0.4, 0.98, 0.99, 0.3], (60, 100)),  # the longest, not the first
        ([0.97, 0.5, 0.4, 0.98, 0.3, 0.3], (60, 80)),
        ([0.1, 0.2, 0.96, 0.99, 1.0, 1.0], (40, 100)),  # never left
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.97], (100, 100)),
        ([0.9, 0.9, 0.9, 0.9, 0.9, 0.9], None),
    ],
)
def test_the_plateau_is_the_longest_stretch_of_blanks(fractions, plateau):
    assert blank_plateau([1, 20, 40, 60, 80, 100], fractions) == plateau


def test_its_length_is_counted_in_steps_and_its_level_may_be_another():
    assert blank_plateau([1, 2, 3, 4, 5, 100, 110], [1, 1, 1, 0, 0, 1, 1]) == (100, 110)
    assert blank_plateau([0, 1, 2], [0.9, 0.8, 0.7], level=0.8) == (0, 2)
    assert blank_plateau([-1, 0], [1, 0]) == (-1, 0)
    assert blank_plateau([], []) is None


def test_a_history_has_the_columns_for_it():
    history = History()
    for step, fraction in (1, 0.2), (10, 0.99), (20, 0.5), (30, 0.4):
        history.append({"kind": "step", "step": step, "blank_fraction": fraction})
        history.append({"kind": "epoch", "step": step, "blank_fraction": 1.0})
    steps, fractions = history.column("step", "step"), history.column("step", "blank_fraction")
    assert blank_plateau(steps, fractions) == (10, 20)
