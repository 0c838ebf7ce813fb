"""What every widget shares: one look, one card of HTML, and text that stays text."""

import base64
import html
import io
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from torch import Tensor

from asrlib.audio import wav_bytes

ASSETS = Path(__file__).parents[1] / "assets"


def card(kind: str, body: str, *, title: str = "", facts: str = "", **attributes: str) -> str:
    """Put a widget together: one HTML fragment with its style and script, which loads nothing.

    Args:
        kind: names the class `asrlib-KIND` and the assets KIND.css and KIND.js.
        body: HTML between the head and the script.
        title: plain text, one line above the body.
        facts: plain text at the other end of that line.
        attributes: of the outer element; `data_x` becomes data-x, `label` its spoken name.

    Returns:
        The fragment. Any number of them may stand on a page.

    Example:
        >>> card("player", "<p>a sound</p>", title="5 < 6").count("5 &lt; 6")
        2
    """
    label = attributes.pop("label", title[:80])
    extra = "".join(
        f' {name.replace("_", "-")}="{escape(value)}"' for name, value in attributes.items()
    )
    head = ""
    if title or facts:
        head = f"""<div class="asrlib-head"><div class="asrlib-title" dir="auto">{escape(title)}\
</div>
<div class="asrlib-facts">{escape(facts)}</div></div>
"""
    return f"""<div class="asrlib-card asrlib-{kind}" role="group" aria-label="{escape(label)}"\
{extra}>
<style>{asset("card.css")}{asset(kind + ".css")}</style>
{head}{body}
<script>{asset(kind + ".js")}</script>
</div>"""


def json_element(data: object) -> str:
    """Return data for a widget's own script to read, which no text in it can end or start.

    Example:
        >>> json_element("</script>").count("</script>")  # only its own end
        1
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" class="asrlib-data">{text}</script>'


def escape(text: str) -> str:
    """Escape for HTML text and attributes; lone surrogates, which UTF-8 cannot hold, become '?'."""
    return html.escape(text.encode("utf-8", "replace").decode())


@cache
def asset(name: str) -> str:
    """Read one file of asrlib/assets; a line `// include NAME` in it stands for another one.

    Indentation is left out: every stored card repeats this text, and notebook 02 has nine.
    """
    text = re.sub(r"^ +", "", (ASSETS / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return re.sub(r"^// include (\S+)\n", lambda line: asset(line[1]), text, flags=re.MULTILINE)


def data_uri(mime: str, data: bytes) -> str:
    """Put bytes into the page itself."""
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def sound_uri(waveform: np.ndarray, sample_rate: int, *, compress: bool) -> str:
    """Put a sound into the page itself, as 16-bit WAV or as MP3."""
    if not compress:
        return data_uri("audio/wav", wav_bytes(waveform, sample_rate))
    buffer = io.BytesIO()
    # Of constant bit rate: browsers seek by guess in a variable one.
    settings = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.8}
    soundfile.write(buffer, np.clip(waveform, -1, 1), sample_rate, **settings)
    return data_uri("audio/mpeg", buffer.getvalue())


def finite(name: str, values: np.ndarray | Tensor, axes: tuple[str, ...]) -> np.ndarray:
    """Return a float32 copy with these axes; anything else is a ValueError that says why."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values  # NumPy lacks bfloat16
    array = np.asarray(values)
    if array.ndim != len(axes) or array.size == 0:
        raise ValueError(f"{name}: shape {array.shape}; use ({', '.join(axes)}), none of them 0")
    if array.dtype.kind != "f":
        raise ValueError(f"{name}: {array.dtype}; use float (16-bit samples: divide by 32768)")
    if bad := int((~np.isfinite(array)).sum()):
        raise ValueError(f"{name}: {bad} of {array.size} values are NaN or infinite")
    return array.astype(np.float32)
