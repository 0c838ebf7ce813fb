"""Run notebooks, bring them to normal form, and read what they claim.

    python -m tests.notebooks --write notebooks/00_start_here.ipynb     # run in place, normalize

`--write` puts the numbers that cells measured into the prose that quotes them, and the project's
public address, which stands in pyproject.toml, into badges and setup cells. With `--only-normalize`
nothing is run: enough after a change of a widget's style or script, which stand in stored outputs.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from asrlib.widgets._card import asset

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
ADDRESS = re.compile(
    r"https://(?:github\.com|colab\.research\.google\.com/github)/([^/\s\"')]+/[^/\s\"')]+)"
)
CLAIM_IN_PROSE = re.compile(r"\*\*([\d.,]+)[^*]*\*\*<!--claim:([\w-]+)-->")
CLAIM_PROVED = re.compile(r"^claim ([\w-]+) = ([-\d.]+)", re.MULTILINE)

# A sound that must not be stored, in a player that says so.
UNKEPT_SOUND = re.compile(
    r'(<div class="asrlib-[^>]*data-keep-sound="no".*?)<audio[^>]*></audio>', re.DOTALL
)
WIDGET = "application/vnd.jupyter.widget-view+json"
# A card with its style and, if it has one, its script; what it shows stands between them.
CARD = re.compile(
    r'(<div class="asrlib-card asrlib-(\w+)"[^>]*>\s*<style>).*?(</style>.*?)'
    r"(<script>.*?</script>\s*)?(</div>\s*)\Z",
    re.DOTALL,
)
NOT_STORED = '<p class="asrlib-note">The sound is not stored here: run this cell to listen.</p>'

# Keep the loopback interface, which kernel and notebook talk over, and cut everything else.
NO_NETWORK = ["unshare", "-rn", "sh", "-c", 'ip link set lo up; exec "$@"', "_"]


def repository() -> str:
    """Read OWNER/REPOSITORY from pyproject.toml, the only place where it stands."""
    text = (ROOT / "pyproject.toml").read_text()
    return re.search(r'Repository = "https://github\.com/([^"]+)"', text).group(1)


def can_cut_the_network() -> bool:
    """Tell whether this machine lets us run a command without a network."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    return subprocess.run([*NO_NETWORK, "true"], capture_output=True).returncode == 0


def execute(path: Path, folder: Path, *, profile: str, seconds: int = 600) -> Path:
    """Run a copy of a notebook from a clean kernel, without a network where possible.

    The copy sits in `folder`/notebooks beside a link to asrlib, as it does in a clone.
    """
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    if not (folder / "asrlib").exists():
        (folder / "asrlib").symlink_to(ROOT / "asrlib")
    copy = folder / "notebooks" / path.name
    shutil.copy(path, copy)
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "execute",
        "--inplace",
        f"--timeout={seconds}",
        str(copy),
    ]
    environment = {**os.environ, "ASRLIB_PROFILE": profile, "PYTHONPATH": ""}
    environment |= {
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    prefix = NO_NETWORK if can_cut_the_network() else []
    done = subprocess.run(prefix + command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{path.name} failed:\n{done.stderr[-4000:]}")
    return copy


def normalize(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Bring a notebook to the form in which it is committed."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    proved = dict(CLAIM_PROVED.findall(streams(notebook)))
    count = 0
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "tags"})
        cell.source = ADDRESS.sub(
            lambda m: m.group(0).replace(m.group(1), repository()), cell.source
        )
        if cell.cell_type == "markdown":
            cell.source = CLAIM_IN_PROSE.sub(
                lambda m: m.group(0).replace(m.group(1), proved.get(m.group(2), m.group(1)), 1),
                cell.source,
            )
        else:
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                markup = output.get("data", {}).get("text/html")
                if markup:
                    output.data.pop(WIDGET, None)  # without its state it is an error message
                    markup = UNKEPT_SOUND.sub(rf"\1{NOT_STORED}", "".join(markup))
                    output.data["text/html"] = with_todays_assets(markup)
                if "execution_count" in output:
                    output.execution_count = count
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def with_todays_assets(markup: str) -> str:
    """Give a stored card the style and the script of today; what it shows stays as it was."""

    def renew(card: re.Match) -> str:
        head, kind, shown, script, end = card.groups()
        style = asset("card.css") + asset(f"{kind}.css")
        if script:
            script = f"<script>{asset(f'{kind}.js')}</script>\n"
        return head + style + shown + (script or "") + end

    return CARD.sub(renew, markup)


def streams(notebook: nbformat.NotebookNode) -> str:
    """Everything that the cells printed."""
    return "\n".join(
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream"
    )


def unproved_claims(notebook: nbformat.NotebookNode) -> list[str]:
    """Find numbers in prose that no cell proves, or that differ from what the cell measured."""
    proved = {name: float(value) for name, value in CLAIM_PROVED.findall(streams(notebook))}
    problems = []
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        marked = CLAIM_IN_PROSE.findall(cell.source)
        for number, name in marked:
            if name not in proved:
                problems.append(f"no cell proves claim {name}")
            elif float(number.replace(",", "")) != proved[name]:
                problems.append(f"claim {name}: prose says {number}, the cell {proved[name]}")
        rest = CLAIM_IN_PROSE.sub("", cell.source)
        for number in re.findall(r"\d[\d.,]*\s?%", rest):  # a percentage is always a result here
            problems.append(f"unmarked result {number!r} in {cell.source[:40]!r}")
    return problems


def main() -> None:
    """Run notebooks in place and write them in normal form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", nargs="+", type=Path, required=True)
    parser.add_argument("--only-normalize", action="store_true", help="do not run them")
    options = parser.parse_args()
    for path in options.write:
        if not options.only_normalize:
            import tempfile

            with tempfile.TemporaryDirectory() as folder:
                shutil.copy(execute(path, Path(folder), profile="full", seconds=1800), path)
        nbformat.write(normalize(nbformat.read(path, as_version=4)), path)
        print(path, f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
