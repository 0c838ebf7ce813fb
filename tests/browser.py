"""What all browser tests share: a page of HTML fragments, JupyterLab with a kernel, contrasts.

ASRLIB_SCREENSHOTS names a folder that keeps the pictures taken on the way.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required "
    "--use-fake-ui-for-media-stream --use-fake-device-for-media-stream"
).split()

HEAD = "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"

# Contrast of every piece of text with the background behind it (WCAG 2.2, relative luminance).
CONTRASTS = """player => {
  const parse = color => color.match(/[\\d.]+/g).map(Number)  // color-mix() counts to 1, not to 255
    .map((v, i) => color.startsWith("color(") && i < 3 ? 255 * v : v);
  const luminance = color => parse(color).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const hasText = e => [...e.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  const texts = [...player.querySelectorAll("*")].filter(e => e.dataset.label || hasText(e));
  return texts.filter(e => e.checkVisibility()).map(e => {
    let ground = e.dataset.label ? e.parentElement : e;  // a tick's own background is its mark
    while (parse(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
    const a = luminance(getComputedStyle(e).color);
    const b = luminance(getComputedStyle(ground).backgroundColor);
    return [e.className, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
}"""

# How every part of a card looks: its name, its place from the card's own corner, its style.
LOOKS = """card => {
  const own = card.getBoundingClientRect();
  const parts = [card, ...card.querySelectorAll("*")].filter(e => !e.closest("svg"));
  return parts.map(e => [e, e.getBoundingClientRect(), getComputedStyle(e)])
    .filter(([, box]) => box.width)
    .map(([e, box, style]) => [`${e.tagName} ${e.className}`,
      ...[box.x - own.x, box.y - own.y, box.width, box.height].map(Math.round),
      style.color, style.backgroundColor, style.fontSize, style.fontWeight, style.textAlign,
      style.borderRadius, style.borderWidth, style.textDecorationLine]);
}"""

NOTEBOOK = "jupyterapp.shell.currentWidget.content"
READY = """() => {
  const session = window.jupyterapp?.shell?.currentWidget?.sessionContext;
  return session?.isReady && session.session?.kernel?.connectionStatus === "connected";
}"""
RUN_ALL = """() => {
  const done = jupyterapp.commands.execute("notebook:run-all-cells");
  done.then(() => { window.ran = "to the end"; }, error => { window.ran = `not: ${error}`; });
}"""


def write_notebook(path, sources, kernel="python3"):
    """Write a notebook of code cells that nobody has run, into a folder that may be new."""
    spec = {"name": kernel, "display_name": kernel, "language": "python"}
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), path)


@contextmanager
def jupyterlab(folder, log):
    """Run JupyterLab on `folder` with settings of its own; yield its address and token."""
    settings = log.parent / "jupyter"
    for plugin, value in {
        "notebook-extension/tracker": {"autoStartDefaultKernel": True},  # else a dialog waits
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }.items():
        path = settings / f"config/lab/user-settings/@jupyterlab/{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(value))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = os.urandom(8).hex()
    environment = dict(os.environ, ASRLIB_PROFILE="smoke", PYTHONPATH=str(ROOT))
    environment["IPYTHONDIR"] = str(settings / "ipython")
    for name in ("config", "data", "runtime"):
        environment[f"JUPYTER_{name.upper()}_DIR"] = str(settings / name)
    command = [
        sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", "--ip=127.0.0.1",
        f"--port={port}", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}",
        "--LabApp.news_url=None", "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None, log.read_text()[-3000:]
                time.sleep(0.25)
        yield address, token
    finally:
        server.terminate()  # lets it end its kernels, which run in process groups of their own
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(server.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        server.wait(10)


@contextmanager
def notebook_page(chromium, folder, name, *, seconds, harmless="", **context_options):
    """Open a notebook of `folder` in JupyterLab and run it to the end; yield the page.

    Fails on a script error (other than `harmless`), on a cell that fails, and when all of it takes
    longer than `seconds`.
    """
    end = time.monotonic() + seconds
    with jupyterlab(folder, folder.parent / "server.log") as (address, token):
        context = chromium.new_context(viewport={"width": 1200, "height": 900}, **context_options)
        page = context.new_page()
        page.set_default_timeout(1000 * seconds)
        errors = []
        page.on("pageerror", lambda e: str(e) == harmless or errors.append(str(e)))
        try:
            page.goto(f"{address}/doc/tree/{name}?token={token}")
            page.wait_for_function(READY)
            page.evaluate(RUN_ALL)
            page.wait_for_function("window.ran", timeout=1000 * max(1, end - time.monotonic()))
            assert page.evaluate("window.ran") == "to the end"
            check_cells(page.evaluate(f"{NOTEBOOK}.model.toJSON().cells"))
            yield page
            assert errors == [], errors
            assert time.monotonic() < end, f"took longer than {seconds} s"
        except BaseException:
            folder = Path(os.environ.get("ASRLIB_SCREENSHOTS", folder.parent))
            page.screenshot(path=folder / f"jupyterlab_{Path(name).stem}_failed.png")
            raise
        finally:
            context.close()


def in_step(states):
    """How many seconds the cursor is away from the sound, at worst.

    A look may come before the script draws that frame; then the cursor stands where the sound was
    at the look before.
    """
    apart = [0.0]
    for before, state in zip(states, states[1:]):
        low, high = sorted((before["time"], state["time"]))
        apart.append(max(low - state["cursor"], state["cursor"] - high))
    return max(apart)


def check_cells(cells):
    """Fail unless every code cell ran, and none failed but those tagged to fail."""
    for number, cell in enumerate(cells, 1):
        if cell["cell_type"] != "code" or not "".join(cell["source"]).strip():
            continue
        assert cell["execution_count"], f"cell {number} did not run"
        for output in cell["outputs"]:
            expected = "raises-exception" in cell["metadata"].get("tags", [])
            text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(output.get("traceback", [])))
            assert output["output_type"] != "error" or expected, f"cell {number} failed:\n{text}"
