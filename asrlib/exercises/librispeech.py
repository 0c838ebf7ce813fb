"""Exercises of notebook 01, and the broken connection that it practices on."""

import http.server
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from asrlib.corpus import Corpus, Utterance
from asrlib.exercises import attempt, say


def check_level(function: Callable[[torch.Tensor], float | None]) -> None:
    """Check a reader's level in decibels.

    Args:
        function: takes a waveform, returns its level in dB below full scale.

    Example:
        >>> check_level(lambda waveform: 20 * waveform.square().mean().log10())
        not yet: a tone gave -18.1 dB, expected -9.0: 20 goes with the root, 10 with the power
    """
    tone = 0.5 * torch.sin(2 * math.pi * 100 * torch.arange(16000) / 16000)  # (samples,)
    sounds = {"a tone": tone, "the tone at a tenth": 0.1 * tone, "noise": _noise()}
    for name, waveform in sounds.items():
        power = float(waveform.square().mean())
        expected = 10 * math.log10(power)
        result, problem = attempt(function, waveform.clone())
        if result is None and not problem:
            return say(None, "")
        if not problem:
            number, trouble = attempt(float, result)
            if trouble:
                problem = f"gave {result!r}, not one number"
            elif not math.isclose(number, expected, abs_tol=0.02):
                hints = {
                    2 * expected: "20 goes with the root, 10 with the power",
                    expected / 2: "10 goes with the power, 20 with its root",
                    -expected: "the sign: a level below full scale is negative",
                    20 * math.log10(float(waveform.abs().max())): "that is the peak, not the mean",
                    math.log(power) * 10: "that is the natural logarithm; use log10",
                    math.sqrt(power): "that is an amplitude; decibels are its logarithm times 20",
                    power: "that is a power; decibels are its logarithm times 10",
                    20 * math.log10(float(waveform.abs().mean())): "square first, then the mean",
                }
                hint = next(
                    (
                        why
                        for value, why in hints.items()
                        if math.isclose(number, value, abs_tol=0.02)
                    ),
                    "",
                )
                problem = f"gave {number:.1f} dB, expected {expected:.1f}"
                problem += f": {hint}" if hint else ""
        if problem:
            return say(False, f"{name} {problem}")
    return say(True, "a mean of squares, then a logarithm: a tenth of the amplitude is 20 dB less")


def _noise() -> torch.Tensor:
    return 0.2 * torch.randn(16000, generator=torch.Generator().manual_seed(0))


def check_honest_split(function: Callable[[Sequence[Utterance], set[str]], object]) -> None:
    """Check a reader's split that shares neither a voice nor a sentence.

    Args:
        function: takes clips and the speakers of the exam, returns (training clips, exam clips).

    Example:
        >>> check_honest_split(lambda clips, held_out: (clips, clips))
        not yet: 6 clips came in, 12 went out: each clip belongs on one side or on none
    """
    clips = Corpus("six clips", [_clip(*pair) for pair in _PAIRS])
    result, problem = attempt(function, list(clips), {"cy", "di"})
    if result is None and not problem:
        return say(None, "")
    if not problem:
        pair, trouble = attempt(lambda: [[clip.id for clip in side] for side in result])
        if trouble or len(pair) != 2:
            problem = "return two lists of clips: (training, exam)"
        else:
            problem = _split_problem(*pair)
    if problem:
        return say(False, problem)
    return say(True, "no voice and no sentence on both sides; the sentence costs one training clip")


_PAIRS = (
    ("ann", "the river rose"),
    ("ann", "no doubt"),
    ("bob", "he opened the door"),
    ("bob", "yes"),
    ("cy", "no doubt"),  # ann reads it, too
    ("di", "a fox came by"),
)


def _clip(speaker: str, text: str) -> Utterance:
    return Utterance(f"{speaker}: {text}", Path("nowhere.flac"), text, speaker, 1.0)


def _split_problem(train: list[str], exam: list[str]) -> str:
    """Say what is wrong with a split of the six clips, or nothing."""
    everything = {f"{speaker}: {text}" for speaker, text in _PAIRS}
    if len(train) + len(exam) > len(everything):
        count = len(train) + len(exam)
        return (
            f"{len(everything)} clips came in, {count} went out: each clip belongs on one side"
            " or on none"
        )
    if {name.split(":")[0] for name in train} & {"cy", "di"}:
        wrong = next(name for name in train if name.split(":")[0] in ("cy", "di"))
        return f"{wrong!r} is in training, but that voice belongs to the exam"
    if {name.split(":")[0] for name in exam} - {"cy", "di"}:
        wrong = next(name for name in exam if name.split(":")[0] not in ("cy", "di"))
        return f"{wrong!r} is in the exam, but that voice belongs to training"
    if len(exam) < 2:
        return "the exam lost a clip: what both sides read leaves training, not the exam"
    if "ann: no doubt" in train:
        return "'no doubt' is read in training and in the exam: a text leak"
    missing = everything - set(train) - set(exam) - {"ann: no doubt"}
    return f"{min(missing)!r} is lost, and nobody in the exam reads it" if missing else ""


def check_range(function: Callable[[int], str | None]) -> None:
    """Check a reader's Range header.

    Args:
        function: takes the number of bytes that are there, returns the header that asks for the
            rest.

    Example:
        >>> check_range(lambda have: f"bytes={have + 1}-")
        not yet: with 5 bytes 'bytes=6-' leaves out a byte: bytes are counted from 0
    """
    for have in (5, 70_000):
        result, problem = attempt(function, have)
        if result is None and not problem:
            return say(None, "")
        expected = f"bytes={have}-"
        if not problem and result != expected:
            shown = repr(result)
            hints = {
                f"bytes={have + 1}-": "leaves out a byte: bytes are counted from 0",
                f"bytes={have - 1}-": "asks for a byte that is there already",
                "bytes=0-": "asks for everything again",
                f"bytes=-{have}": "asks for the last bytes of the file, not for those after it",
                f"bytes={have}": "lacks the minus at the end, which means 'to the end'",
                f"{have}-": "lacks the unit: bytes=",
                f"bytes=0-{have}": "asks for what is there already",
                f"Range: bytes={have}-": "repeats the header's name; only its value is asked for",
            }
            problem = f"{shown} {hints.get(result, f'is not {expected!r}')}"
        if problem:
            return say(False, f"with {have} bytes {problem}")
    return say(True, "the first missing byte has the number of bytes that are there")


class BrokenServer:
    """Serve one file on this machine, and break off the first answer after half of it.

    Args:
        data: the file.

    Attributes:
        url: its address, on 127.0.0.1.
        data: what is served; may be changed.
        asked: the Range header of each request so far, None where there was none; emptying it makes
            the next answer break off again.

    Example:
        >>> server = BrokenServer(b"abcd")
        >>> server.url.startswith("http://127.0.0.1:"), server.asked
        (True, [])
        >>> server.close()
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/file"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        wanted, size = handler.headers.get("Range"), len(self.data)
        start = int(wanted[6:-1]) if wanted else 0  # "bytes=1000-"
        handler.send_response(206 if wanted else 200)
        handler.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        handler.send_header("Content-Length", str(size - start))
        handler.end_headers()
        stop = size if self.asked else size // 2
        self.asked.append(wanted)
        handler.wfile.write(self.data[start:stop])

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
