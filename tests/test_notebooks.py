"""Every notebook runs from a clean kernel without a network, and is stored in normal form."""

import ast
import importlib
import json
import re

import nbformat
import numpy as np
import pytest

from asrlib.widgets import Player
from tests.notebooks import (
    ADDRESS,
    NOTEBOOKS,
    ROOT,
    WIDGET,
    can_cut_the_network,
    execute,
    normalize,
    repository,
    streams,
    unproved_claims,
    with_todays_assets,
)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    names = ["00_start_here", "01_librispeech", "02_spectrograms", "03_text_and_batches"]
    assert [path.stem for path in NOTEBOOKS] == names


def test_the_network_can_be_cut_here_so_the_runs_below_prove_something():
    if not can_cut_the_network():
        pytest.skip("no unshare -rn here: notebooks run with the network on")


def test_it_runs_in_smoke_profile(path, tmp_path):
    done = nbformat.read(execute(path, tmp_path, profile="smoke"), as_version=4)
    assert "profile smoke" in streams(done)
    assert all(cell.execution_count for cell in code_cells(done))
    printed = [o for c in code_cells(done) for o in c.outputs if o.output_type == "error"]
    assert not printed
    warnings = [o.text for c in code_cells(done) for o in c.outputs if o.get("name") == "stderr"]
    assert not warnings


def test_stored_outputs_come_from_one_clean_full_run(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert "profile full" in streams(notebook)


def test_every_result_in_prose_is_proved_by_a_cell(notebook):
    assert unproved_claims(notebook) == []


@pytest.mark.parametrize(
    "prose, problem",
    [
        ("The error is **12.5 %**<!--claim:wer-->.", "prose says"),
        ("The error is **7.3 %**<!--claim:other-->.", "no cell proves"),
        ("The error is 7.3 %.", "unmarked"),
    ],
)
def test_the_claims_lint_finds_planted_errors(prose, problem):
    output = nbformat.v4.new_output(
        "stream", name="stdout", text="claim wer = 7.3 (holds: 0 to 15)\n"
    )
    cells = [nbformat.v4.new_markdown_cell(prose), nbformat.v4.new_code_cell("", outputs=[output])]
    problems = unproved_claims(nbformat.v4.new_notebook(cells=cells))
    assert len(problems) == 1 and problem in problems[0]
    cells[0].source = "The error is **7.3 %**<!--claim:wer-->."
    assert unproved_claims(nbformat.v4.new_notebook(cells=cells)) == []


def test_it_is_small_and_has_no_widget_state(path, notebook):
    assert path.stat().st_size < 1_000_000  # GitHub shows larger ones slowly or not at all
    assert "widgets" not in notebook.metadata


def test_cells_are_short_and_prose_stands_between_them(notebook):
    kinds = "".join(cell.cell_type[0] for cell in notebook.cells)
    assert "ccc" not in kinds, "three code cells in a row"
    assert max(len(cell.source.splitlines()) for cell in code_cells(notebook)) <= 30


def test_every_picture_has_alternative_text(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                assert output.metadata["image/png"]["alt"].strip()
            for image in re.findall(
                r"<img[^>]*>", "".join(output.get("data", {}).get("text/html", ""))
            ):
                assert re.search(r'alt="[^"]+"', image), image[:80]
        assert "plt.show(" not in cell.source


def test_it_names_no_path_of_this_machine(path):
    text = path.read_text()
    for stray in ("/work/", "/root/", "/tmp/", "/home/", "shared/"):
        assert stray not in text, stray


def test_the_address_of_the_project_stands_in_one_place(path, notebook):
    text = "\n".join(cell.source for cell in notebook.cells)
    found = set(ADDRESS.findall(text))
    assert found == {repository()}, f"run python -m tests.notebooks --write {path.name}"
    assert notebook.cells[0].source.count("colab.research.google.com/github/") == 1


def test_setup_cells_are_one_and_the_same():
    setups = {code_cells(nbformat.read(path, as_version=4))[0].source for path in NOTEBOOKS}
    assert len(setups) == 1


def test_names_of_asrlib_that_it_imports_exist(notebook):
    tree = ast.parse("\n".join(cell.source for cell in code_cells(notebook)))
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [(alias.name, None) for alias in node.names]
    ours = [(module, name) for module, name in names if module.split(".")[0] == "asrlib"]
    assert ours
    for module, name in ours:
        if not hasattr(importlib.import_module(module), name or "__name__"):
            importlib.import_module(f"{module}.{name}")  # a module of its own, or an error


def test_no_stray_placeholder_outside_pyproject_and_what_it_feeds():
    owner = repository().split("/")[0]
    allowed = {"pyproject.toml", "README.md", *(f"notebooks/{path.name}" for path in NOTEBOOKS)}
    for file in ROOT.rglob("*"):
        relative = file.relative_to(ROOT).as_posix()
        if file.suffix not in {".py", ".md", ".toml", ".txt", ".yml", ".ipynb", ".js"}:
            continue
        if (
            any(part.startswith(".") for part in file.relative_to(ROOT).parts)
            or relative in allowed
        ):
            continue
        assert f"github.com/{owner}/" not in file.read_text(), relative


def test_a_widget_without_its_state_leaves_the_text_that_stands_for_it():
    data = {"text/html": "<p>run this cell</p>", WIDGET: {"model_id": "1"}}
    cell = nbformat.v4.new_code_cell(
        "record()", outputs=[nbformat.v4.new_output("display_data", data)]
    )
    notebook = normalize(nbformat.v4.new_notebook(cells=[cell]))
    assert notebook.cells[0].outputs[0].data == {"text/html": "<p>run this cell</p>"}


def test_a_sound_that_must_not_be_kept_is_taken_out_of_its_player_only():
    tone = np.sin(np.arange(1600) / 5).astype(np.float32)
    players = [Player(tone, text="kept"), Player(tone, text="real", keep_sound=False)]
    outputs = [
        nbformat.v4.new_output("display_data", data={"text/html": player._repr_html_()})
        for player in [*players, players[0]]
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=outputs)])
    for _ in range(2):  # twice is as good as once
        notebook = normalize(notebook)
        kept = [output.data["text/html"] for output in notebook.cells[0].outputs]
        assert ["data:audio" in markup for markup in kept] == [True, False, True]
    assert "run this cell to listen" in kept[1] and ">real</p>" in kept[1]
    assert kept[0] == players[0]._repr_html_()


def test_no_stored_player_holds_a_sound_that_must_not_be_kept(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            markup = "".join(output.get("data", {}).get("text/html", ""))
            assert not ('data-keep-sound="no"' in markup and "data:audio" in markup)


def test_stored_cards_have_todays_style_and_script(path, notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            markup = "".join(output.get("data", {}).get("text/html", ""))
            assert ("asrlib-player" in markup) <= ("asrlib-card" in markup), "an old player"
            hint = f"run python -m tests.notebooks --only-normalize --write {path}"
            assert with_todays_assets(markup) == markup, hint


def test_a_card_gets_todays_style_and_script_and_keeps_what_it_shows():
    card = Player(np.zeros(1600, np.float32), text="<style>a</style> & <script>b</script>")
    html = card._repr_html_()
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    old = html.replace(style, "p {}").replace(scripts[-1], "old()")
    assert old != html and with_todays_assets(old) == html == with_todays_assets(html)


def test_stored_sound_is_small(path):
    cells = json.loads(path.read_text())["cells"]
    for cell in cells:
        for output in cell.get("outputs", []):
            html = "".join(output.get("data", {}).get("text/html", ""))
            for sound in re.findall(r"data:audio/[^\"]+", html):
                assert len(sound) <= 100_000


def test_terms_are_in_the_glossary_and_the_glossary_has_no_others():
    text = (ROOT / "notebooks" / "GLOSSARY.md").read_text(encoding="utf-8")
    heads = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert heads == sorted(set(heads))
    anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
    used = set()
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            used |= set(re.findall(r"\]\(GLOSSARY\.md#([\w-]+)\)", cell.source))
    assert used == anchors


def test_links_to_files_lead_somewhere(path, notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", cell.source):
                assert (path.parent / target).exists(), target
