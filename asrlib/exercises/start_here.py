"""Exercises of notebook 00."""

from collections.abc import Callable

from asrlib.exercises import attempt, say
from asrlib.text import Tokenizer

_LETTERS = "-" + Tokenizer().alphabet  # here the blank is written as a minus


def check_frames(answer: int | None) -> None:
    """Check the number of output frames of 2 seconds of sound.

    Args:
        answer: the reader's number, or None.

    Example:
        >>> check_frames(200)
        not yet: that counts hops of 10 ms; the network keeps one frame of four
    """
    messages = {
        51: (
            True,
            "201 spectrogram frames (0 s and 2 s both count), a quarter of them, rounded up",
        ),
        50: (False, "close: 2 s have 201 spectrogram frames, not 200, since both ends get one"),
        200: (False, "that counts hops of 10 ms; the network keeps one frame of four"),
        201: (False, "those are the spectrogram's frames; the network keeps one of four"),
        32000: (False, "those are samples; a spectrogram frame comes every 160 of them"),
    }
    if answer is None:
        say(None, "")
    else:
        say(*messages.get(answer, (False, "2 s * 100 frames a second, then a stride of 4")))


def check_collapse(function: Callable[[str], str | None]) -> None:
    """Check a reader's collapse of a CTC path.

    Args:
        function: takes a path such as "--cc-aa-t" and returns the text, here "cat".

    Example:
        >>> check_collapse(lambda path: path.replace("-", ""))
        not yet: "hh-e-l-ll-oo" gave 'hhellloo', expected 'hello': merge repeats first
    """
    for path, text in [("hh-e-l-ll-oo", "hello"), ("--", ""), ("a--a", "aa"), ("to  o-", "to o")]:
        result, problem = attempt(function, path)
        if result is None and not problem:
            return say(None, "")
        expected = Tokenizer().collapse([_LETTERS.index(c) for c in path])
        assert expected == text
        if problem or result != text:
            hint = ""
            if result == text.replace("ll", "l").replace("aa", "a"):
                hint = (
                    ": a blank between two equal letters keeps both; merge before you drop blanks"
                )
            elif isinstance(result, str) and "-" in result:
                hint = ": blanks are no letters; drop them at the end"
            elif isinstance(result, str) and len(result) > len(text):
                hint = ": merge repeats first"
            problem = problem or f"gave {result!r}, expected {text!r}{hint}"
            return say(False, f'"{path}" {problem}')
    return say(True, "repeats first, blanks second; that order is what lets 'll' survive")


def check_word_errors(answer: float | None) -> None:
    """Check the word error rate of "quick box slept in" for "the quick fox slept".

    Args:
        answer: the reader's fraction, or None.

    Example:
        >>> check_word_errors(0.5)
        not yet: two of the three kinds are there; was a word missed, taken for another, invented?
    """
    if answer is None:
        say(None, "")
    elif abs(answer - 0.75) < 1e-6:
        say(True, '"the" missed, "fox" became "box", "in" invented: 3 errors in 4 words')
    elif abs(answer - 75) < 1e-6 or abs(answer - 3) < 1e-6:
        say(False, "the right count; give it as a fraction of the words that were said")
    elif abs(answer - 1) < 1e-6:
        say(False, "compared place by place every word is wrong; line up the equal words first")
    elif abs(answer - 0.25) < 1e-6:
        say(False, "that counts words taken for another only; missed and invented ones count too")
    elif abs(answer - 0.5) < 1e-6:
        say(
            False,
            "two of the three kinds are there; was a word missed, taken for another, invented?",
        )
    else:
        say(False, "(missed + taken for another + invented) / words said")
