"""Every public name says what it does; what takes arguments names them; an example shows it.

The sources are parsed, not imported, so a module with heavy dependencies costs nothing here. That
the examples run is pytest --doctest-modules' business.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "asrlib"
SCRIPTS = {"minispeech"}  # data folders whose scripts are run, never imported

# Functions and classes without an example, each with the reason.
NO_EXAMPLE = {
    "ablation.run": "trains for minutes; python -m asrlib ablate runs it",
    "ablation.table": "needs finished runs; python -m asrlib ablate prints it",
    "ablation.load_table": "the example of save_table reads what it wrote",
    "__main__.main": "the command line is shown in the README and run in test_main",
    "checkpoint.load_checkpoint": "the example of save_checkpoint loads what it saved",
    "checkpoint.build_model": "needs a checkpoint; Recognizer.load shows it",
    "corpus.data_root": "the answer depends on the reader's machine",
    "corpus.has_librispeech": "the answer depends on the reader's machine",
    "corpus.librispeech_training_data": "needs LibriSpeech; python -m asrlib train --data runs it",
    "doctor.report": "prints about the reader's machine; the example of examine shows what",
    "evaluation.recognize": "the example of evaluate runs it",
    "flight.load_flight": "needs a run; the example of FlightRecorder shows a moment",
}

# Functions and methods whose arguments one sentence or the example explains.
NO_ARGS = {
    "batching.LengthBucketSampler.start_at": "the sentence names both",
    "corpus.Corpus.select": "the sentence says it",
    "corpus.has_librispeech": "the sentence says it",
    "evaluation.count_blanks": "the example shows it",
    "features.FeatureExtractor.forward": "refers to LogMelSpectrogram",
    "history.History.append": "the example of the class shows it",
    "history.History.column": "the example of the class shows it",
    "lesson.Lesson.size": "the example of the function that makes a lesson shows it",
    "model.BidirectionalGRU.__init__": "the example of the class shows it",
    "model.ResidualCNN.__init__": "the example of the class shows it",
    "model.parameter_count": "the example shows it",
    "recognizer.Recognizer.log_probs": "the sentence says it",
}


@dataclass
class Definition:
    """A public class, function or method, with what the rules below ask about."""

    name: str  # module.function, module.Class or module.Class.method
    node: ast.ClassDef | ast.FunctionDef
    owner: ast.ClassDef | None

    @property
    def docstring(self):
        own = ast.get_docstring(self.node) or ""
        if not own and self.node.name == "__init__":
            return ast.get_docstring(self.owner) or ""  # a class may document its own making
        return own

    @property
    def parameters(self):
        if isinstance(self.node, ast.ClassDef):
            return []
        arguments = self.node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        named += [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
        return [argument.arg for argument in named if argument.arg not in ("self", "cls")]

    @property
    def fields(self):
        """Fields of a class that only holds values: a dataclass or a NamedTuple."""
        if not isinstance(self.node, ast.ClassDef):
            return []
        signs = [ast.unparse(sign) for sign in (*self.node.decorator_list, *self.node.bases)]
        if not any(sign.startswith(("dataclass", "NamedTuple")) for sign in signs):
            return []
        names = [row.target.id for row in self.node.body if isinstance(row, ast.AnnAssign)]
        return [name for name in names if not name.startswith("_")]

    def names_in(self, section):
        """The names that stand before a colon in a section: "a:" and "a, b:" both count."""
        lines = self.docstring.partition(f"{section}:\n")[2].split("\n\n")[0].splitlines()
        entries = [line.strip().partition(":")[0] for line in lines if ":" in line]
        return {name.strip(" *") for entry in entries for name in entry.split(",")}


def definitions(source, module):
    """The public definitions of a source, methods and __init__ included."""

    def visit(parent, prefix, owner):
        for node in parent.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("_") and not (node.name == "__init__" and owner):
                continue
            yield Definition(f"{prefix}.{node.name}", node, owner)
            if isinstance(node, ast.ClassDef):
                yield from visit(node, f"{prefix}.{node.name}", node)

    return list(visit(ast.parse(source), module, None))


def complaints(definition, no_example=(), no_args=()):
    """What the docstring of a definition lacks."""
    text, name = definition.docstring, definition.name
    if not text:
        return [f"{name}: no docstring"]
    found = []
    if definition.fields:
        missing = [
            field for field in definition.fields if field not in definition.names_in("Attributes")
        ]
        if missing:
            found.append(f"{name}: Attributes lacks {', '.join(missing)}")
    elif definition.owner is None and ">>>" not in text and name not in no_example:
        found.append(f"{name}: no Example")
    if definition.parameters and name not in no_args:
        missing = [p for p in definition.parameters if p not in definition.names_in("Args")]
        if missing:
            found.append(f"{name}: Args lacks {', '.join(missing)}")
    return found


FILES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not SCRIPTS & set(path.relative_to(PACKAGE).parts)
    and (path.stem.startswith("__") or not path.stem.startswith("_"))  # _name.py is not public
]


def module_name(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_every_public_name_is_documented(path):
    source = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source)), f"{path.name} begins without a docstring"
    found = []
    for definition in definitions(source, module_name(path)):
        found += complaints(definition, NO_EXAMPLE, NO_ARGS)
    assert not found, "document it, or list it with a reason in tests/test_docs.py:\n" + "\n".join(
        found
    )


def test_every_exception_is_still_needed():
    strict = [
        complaint
        for path in FILES
        for definition in definitions(path.read_text(encoding="utf-8"), module_name(path))
        for complaint in complaints(definition)
    ]
    without_example = {row.split(":")[0] for row in strict if row.endswith(": no Example")}
    without_args = {row.split(":")[0] for row in strict if ": Args lacks " in row}
    assert set(NO_EXAMPLE) <= without_example
    assert set(NO_ARGS) <= without_args


GOOD = '''
def scale(values, factor, *others):
    """Multiply.

    Args:
        values: numbers.
        factor: of all of them.
        *others: more numbers.

    Example:
        >>> scale([1], 2)
        [2]
    """

@dataclass(frozen=True)
class Point:
    """A place.

    Attributes:
        x, y: where.
    """
    x: float
    y: float
    _cache: float
'''


def test_a_documented_source_passes():
    found = definitions(GOOD, "m")
    assert [definition.name for definition in found] == ["m.scale", "m.Point"]
    assert [complaint for definition in found for complaint in complaints(definition)] == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("        factor: of all of them.\n", "", "m.scale: Args lacks factor"),
        ("(values,", "(values, shift,", "m.scale: Args lacks shift"),
        (">>> scale([1], 2)", "scale([1], 2)", "m.scale: no Example"),
        ("x, y: where", "x: where", "m.Point: Attributes lacks y"),
        ('"""A place.', 'u = """A place.', "m.Point: no docstring"),
        ("@dataclass(frozen=True)\n", "", "m.Point: no Example"),
    ],
)
def test_a_gap_in_a_source_is_named(old, new, complaint):
    assert GOOD.count(old) == 1
    found = definitions(GOOD.replace(old, new), "m")
    assert [row for definition in found for row in complaints(definition)] == [complaint]
