"""Words in time, and the files that other programs read them from.

TextGrid opens in Praat, where one sees the words under the waveform; JSON is for programs.
"""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from asrlib.ctc import TokenSpan
from asrlib.text import Tokenizer


@dataclass(frozen=True)
class Word:
    """A word in time.

    Attributes:
        text: the word.
        start: of its first letter, in seconds.
        end: of its last letter, in seconds.
        confidence: geometric mean of its letters' probabilities, in [0, 1]; not calibrated.
    """

    text: str
    start: float
    end: float
    confidence: float


def word_times(
    spans: list[TokenSpan], seconds_per_frame: float, tokenizer: Tokenizer | None = None
) -> list[Word]:
    """Put labels together to words, at the spaces between them.

    Args:
        spans: of one utterance, in order; from `forced_align` or from a search.
        seconds_per_frame: how far two output frames are apart.
        tokenizer: turns ids into text; characters if not given.

    Returns:
        The words with their times.

    Example:
        >>> spans = [TokenSpan(9, 4, 5, -0.1), TokenSpan(10, 6, 8, -0.3), TokenSpan(1, 9, 10, 0.0)]
        >>> word_times(spans, 0.04)
        [Word(text='gh', start=0.14, end=0.3, confidence=0.8187)]
    """
    tokenizer = tokenizer or Tokenizer()
    words = []
    letters: list[tuple[str, TokenSpan]] = []
    spelled = ((c, span) for span in spans for c in tokenizer.decode([span.token]))
    for character, span in itertools.chain(spelled, [(" ", None)]):
        if character != " ":
            letters.append((character, span))
        elif letters:
            own = [s for _, s in letters]
            start, end = own[0].start_frame, own[-1].end_frame
            confidence = math.exp(sum(s.score for s in own) / len(own))
            # A frame is centered on its time: it reaches from half a frame before to half after.
            times = (round(max(n - 0.5, 0) * seconds_per_frame, 3) for n in (start, end))
            words.append(Word("".join(c for c, _ in letters), *times, round(confidence, 4)))
            letters = []
    return words


def to_json(words: Sequence[Word]) -> str:
    """Write words as JSON.

    Args:
        words: in order of time.

    Returns:
        A list of objects with text, start, end (seconds) and confidence.

    Example:
        >>> print(to_json([Word("hi", 0.16, 0.32, 0.8187)]))
        [{"text": "hi", "start": 0.16, "end": 0.32, "confidence": 0.8187}]
    """
    return json.dumps([asdict(word) for word in words])


def to_textgrid(words: Sequence[Word], seconds: float, tier: str = "words") -> str:
    """Write words as a Praat TextGrid of one tier; silence becomes empty intervals.

    Args:
        words: in order of time; they must not overlap.
        seconds: how long the recording is.
        tier: name of the tier.

    Returns:
        The text of the file ("ooTextFile", the long form).

    Raises:
        ValueError: words overlap, or reach past the end.

    Example:
        >>> print(to_textgrid([Word("hi", 0.0, 0.32, 0.8)], 0.32).splitlines()[-1].strip())
        text = "hi"
    """
    edges: list[tuple[float, float, str]] = []
    now = 0.0
    for word in words:
        if not now <= word.start < word.end <= seconds:
            raise ValueError(
                f"word {word.text!r} from {word.start} to {word.end} s: words follow each other"
                f" within the {seconds} s of the recording"
            )
        if word.start > now:
            edges.append((now, word.start, ""))
        edges.append((word.start, word.end, word.text))
        now = word.end
    if now < seconds or not edges:
        edges.append((now, seconds, ""))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {seconds}",
        "tiers? <exists>",
        "size = 1",
        "item []:",
        "    item [1]:",
        '        class = "IntervalTier"',
        f"        name = {_quoted(tier)}",
        "        xmin = 0",
        f"        xmax = {seconds}",
        f"        intervals: size = {len(edges)}",
    ]
    for number, (start, end, text) in enumerate(edges, start=1):
        lines += [
            f"        intervals [{number}]:",
            f"            xmin = {start}",
            f"            xmax = {end}",
            f"            text = {_quoted(text)}",
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
