"""The rows of a player on their common time axis: pictures as small PNGs, and text."""

import io

import matplotlib
import numpy as np
from PIL import Image

from asrlib.text import ALPHABET, BLANK
from asrlib.widgets._card import data_uri, escape

DARK, LIGHT = (0, 0, 4), (196, 176, 230)  # of the waveform; DARK is also the darkest of magma
MEL_LEVELS = 64  # colors; with 256 the PNG of 4 s is a third larger and looks the same
HEAT_LEVELS = 32  # of a probability
BLANK_GROUND = (72, 70, 84)  # of frames where the blank is likeliest: gray, which magma lacks
# Symbols of the heat map, top to bottom: a to z, apostrophe, space, blank; and their signs.
HEAT_ORDER = [*range(3, len(ALPHABET) + 1), 2, 1, BLANK]
HEAT_LABELS = tuple(("-" + ALPHABET.replace(" ", "␣"))[i] for i in HEAT_ORDER)


def picture(
    name: str, labels: tuple[str, ...], alt: str, png: bytes, *, height: int, style: str = ""
) -> str:
    """Return scale and picture; CSS writes the labels: where it is stripped, no number is left."""
    scale = "".join(f'<span data-label="{escape(label)}"></span>' for label in labels)
    return f"""
<div class="asrlib-scale asrlib-{name}" aria-hidden="true">{scale}</div>\
<div class="asrlib-picture asrlib-{name}"><img src="{data_uri("image/png", png)}" alt="{alt}" \
width="720" height="{height}" style="{style}" draggable="false"></div>"""


def text_row(name: str, label: str, text: str, *, role: str = "group") -> str:
    """Return a row of text, which the script spreads over the time axis; `label` is spoken."""
    return f"""
<div class="asrlib-scale asrlib-{name}">{name}</div>\
<div class="asrlib-row asrlib-{name}" role="{role}" aria-label="{escape(label)}" dir="auto">\
{escape(text)}</div>"""


def axis(seconds: float) -> str:
    """Return the time axis: at most 9 ticks at round times, the last one with the unit."""
    exponent = np.floor(np.log10(seconds / 8))
    steps = np.outer([10**exponent, 10 ** (exponent + 1)], (1, 2, 5)).ravel()
    step = steps[steps >= seconds / 8][0]
    ticks = np.arange(0, seconds + step * 1e-6, step)
    labels = [f"{tick:.6g}" for tick in ticks[:-1]] + [f"{ticks[-1]:.6g} s"]
    spans = "".join(
        f'<span style="left:{100 * tick / seconds:.3f}%" data-label="{label}"></span>'
        for tick, label in zip(ticks, labels, strict=True)
    )
    return f"""
<div class="asrlib-scale asrlib-axis" aria-hidden="true"></div>\
<div class="asrlib-ticks asrlib-axis" aria-hidden="true">{spans}</div>"""


def png(levels: np.ndarray, colors: np.ndarray) -> bytes:
    """Encode levels (rows, columns), each the index of one of colors (n, 3) in [0, 255]."""
    image = Image.fromarray(np.rint(levels).astype(np.uint8))
    image.putpalette(np.rint(colors).astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def waveform_png(waveform: np.ndarray, limit: float) -> bytes:
    """Draw the lowest to the highest sample of each column, between -limit and limit."""
    rows, columns = 152, 1440  # twice the CSS pixels: sharp on dense screens
    if len(waveform) < 4 * columns:  # few samples become a curve
        at = np.linspace(0, len(waveform) - 1, 4 * columns)
        waveform = np.interp(at, np.arange(len(waveform)), waveform)
    starts = np.linspace(0, len(waveform), columns, endpoint=False).astype(int)
    around = np.clip(np.arange(columns) + [[-1], [0], [1]], 0, columns - 1)  # (3, columns)
    # Each column takes in its neighbors: a steep curve stays a line, as thick as a flat one.
    low = np.minimum.reduceat(waveform, starts)[around].min(axis=0).clip(-limit, limit)
    high = np.maximum.reduceat(waveform, starts)[around].max(axis=0).clip(-limit, limit)
    pixels = (rows / 2 - 3) / limit  # of an amplitude of 1
    center = rows / 2 - pixels * (high + low) / 2
    reach = np.maximum(pixels * (high - low) / 2, 1.2)  # silence is a thin line
    distance = np.abs(np.arange(rows)[:, None] + 0.5 - center)  # (rows, columns)
    return png(15 * np.clip(reach + 0.5 - distance, 0, 1), np.linspace(DARK, LIGHT, 16))


def log_mel_png(log_mel: np.ndarray) -> bytes:
    """Color (n_mels, frames) by loudness, low bands at the bottom."""
    dark, bright = np.percentile(log_mel, (5, 99.9))
    levels = np.clip((log_mel[::-1] - dark) / max(bright - dark, 1e-6), 0, 1) * (MEL_LEVELS - 1)
    return png(levels, 255 * matplotlib.colormaps["magma"](np.linspace(0, 1, MEL_LEVELS))[:, :3])


def heat_png(
    probabilities: np.ndarray,
    *,
    shades: int = HEAT_LEVELS,
    cell: tuple[int, int] | None = None,
) -> bytes:
    """Color (frames, 29) by probability, dark to bright; gray where the blank is likeliest.

    The cells are as large as on a page, 203 pixels high and about 720 wide in all, unless `cell`
    gives their height and width: where style is stripped, a browser keeps the picture's own shape.
    """
    cell = cell or (7, max(1, round(720 / len(probabilities))))
    levels = np.rint(probabilities[:, HEAT_ORDER].clip(0, 1).T * (shades - 1))
    levels = levels + shades * (probabilities.argmax(axis=1) == BLANK)  # a second palette
    plain = 255 * matplotlib.colormaps["magma"](np.linspace(0, 1, shades))[:, :3]
    on_gray = np.maximum(plain, np.array(BLANK_GROUND))
    levels = levels.repeat(cell[0], axis=0).repeat(cell[1], axis=1)
    return png(levels, np.concatenate([plain, on_gray]))
