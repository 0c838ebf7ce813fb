"""Exercises of all notebooks: each folded solution passes, an untouched cell says so.

What a check says of wrong answers is tested notebook by notebook, in test_exercises_NAME.py.
"""

import importlib
import math
import re

import nbformat
import pytest
import torch

from tests.notebooks import NOTEBOOKS

CALL = re.compile(r"(?:\w+\.)?(check_\w+)\((my_\w+)\)")
FOLDED = re.compile(r"<summary>solution</summary>[^`<]*```python\n(.*?)```", re.DOTALL)


def sources(path, kind):
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == kind)


def checks(path):
    """The checks that a notebook calls, by the name of the answer: my_frames -> check_frames."""
    module = importlib.import_module(f"asrlib.exercises.{path.stem[3:]}")
    return {name: getattr(module, check) for check, name in CALL.findall(sources(path, "code"))}


EXERCISES = [(path, name) for path in NOTEBOOKS for name in checks(path)]


@pytest.fixture(params=EXERCISES, ids=lambda pair: f"{pair[0].stem}-{pair[1]}")
def exercise(request):
    return request.param


def test_each_notebook_has_three_to_five_exercises_with_a_check():
    for path in NOTEBOOKS:
        assert 3 <= len(checks(path)) <= 5, path.name


def test_the_notebook_s_own_solution_passes(exercise, capsys):
    path, name = exercise
    answers = {"math": math, "torch": torch}  # what the notebooks import
    for source in FOLDED.findall(sources(path, "markdown")):
        exec(source, answers)
    checks(path)[name](answers[name])
    assert capsys.readouterr().out.startswith("right: ")


def test_an_untouched_cell_says_so(exercise, capsys):
    """The notebook's own cell, as it stands: it runs and is neither right nor wrong."""
    path, name = exercise
    cells = nbformat.read(path, as_version=4).cells
    [cell] = [
        c for c in cells if c.cell_type == "code" and re.search(rf"check_\w+\({name}\)", c.source)
    ]
    printed = "".join(o.text for o in cell.outputs if o.output_type == "stream")
    assert "not answered yet" in printed and "right: " not in printed


def test_there_are_three_hints_and_a_folded_solution_to_each():
    for path in NOTEBOOKS:
        text = sources(path, "markdown")
        for summary in ("hint 1", "hint 2", "hint 3", "solution"):
            assert text.count(f"<summary>{summary}</summary>") >= len(checks(path)), (path, summary)
