"""A module imports only from modules above it, and the package itself imports nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "asrlib"

# From the ground up. A new module gets its place here, and in the table of the layout.
ORDER = (
    "text",
    "files",
    "audio",
    "metrics",
    "atlas",
    "features",
    "ctc",
    "kneser_ney",
    "arpa",
    "language_model",
    "fusion",
    "model",
    "download",
    "corpus",
    "batching",
    "decoding",
    "evaluation",
    "checkpoint",
    "history",
    "flight",
    "objective",
    "train_config",
    "distributed",
    "training",
    "subtitles",
    "recognizer",
    "ablation",
    "streaming",
    "plots",
    "widgets",
    "lesson",
    "exercises",
    "benchmark",
    "throughput",
    "serve",
    "doctor",
    "__main__",
)


def modules():
    """Every module file with its name: "text", or "plots" for each file in that folder."""
    for path in sorted(PACKAGE.glob("*.py")):
        yield path, path.stem
    for init in sorted(PACKAGE.glob("*/__init__.py")):
        for path in sorted(init.parent.rglob("*.py")):
            yield path, init.parent.name


def imported(source, inside=""):
    """The asrlib modules that a source imports anywhere, functions and `if` blocks included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = ["asrlib", *([inside] if inside else [])]
            home = home[: len(home) + 1 - node.level]
            base = ".".join([*home, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        parts = [name.split(".") for name in names]
        found |= {part[1] for part in parts if part[0] == "asrlib" and len(part) > 1}
    return found - {"__version__"}


FILES = list(modules())


@pytest.mark.parametrize(
    ("path", "name"), FILES, ids=[str(path.relative_to(PACKAGE)) for path, _ in FILES]
)
def test_a_module_imports_only_modules_above_it(path, name):
    inside = name if path.parent != PACKAGE else ""
    found = imported(path.read_text(encoding="utf-8"), inside)
    if name == "__init__":
        assert found == set(), (
            "asrlib/__init__.py must import no module: `import asrlib` stays cheap"
        )
        return
    assert name in ORDER, f"asrlib/{path.name} has no place in ORDER of tests/test_layers.py"
    above = set(ORDER[: ORDER.index(name)])
    if inside:
        above.add(inside)  # the files of one folder may share
    below = sorted(found - above)
    assert not below, f"{path.relative_to(ROOT)} imports {below}, which stand below it in ORDER"


@pytest.mark.parametrize(
    ("source", "inside", "expected"),
    [
        ("from asrlib.model import ModelConfig", "", {"model"}),
        ("import asrlib.text as t, os", "", {"text"}),
        ("from asrlib import text, __version__", "", {"text"}),
        ("def f():\n    from asrlib.training import Trainer", "", {"training"}),
        ("from . import corpus", "", {"corpus"}),
        ("from .corpus import Corpus", "", {"corpus"}),
        ("from ..corpus import Corpus\nfrom .spectra import draw", "plots", {"corpus", "plots"}),
        ("import torch\nfrom asrlibrary import x", "", set()),
    ],
)
def test_every_form_of_import_is_seen(source, inside, expected):
    assert imported(source, inside) == expected


def test_importing_the_package_does_not_import_torch():
    # The setup cell and `python -m asrlib doctor` must work where torch is broken or missing.
    code = "import asrlib, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
