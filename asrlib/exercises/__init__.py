"""Checks of the exercises, one file a notebook. A check says what is wrong, not only that it is."""

from collections.abc import Callable


def say(verdict: bool | None, message: str) -> None:
    """Print the verdict of a check: None means that the exercise was not touched yet.

    Args:
        verdict: right, wrong, or None.
        message: what to tell the reader.

    Example:
        >>> say(None, "")
        not answered yet
        >>> say(False, "you counted the blank")
        not yet: you counted the blank
    """
    print(
        "not answered yet" if verdict is None else ("right: " if verdict else "not yet: ") + message
    )


def attempt(function: Callable, *arguments: object) -> tuple[object, str]:
    """Call a reader's function; an exception becomes a message.

    Args:
        function: the reader's.
        arguments: to call it with.

    Returns:
        (result, "") or (None, what went wrong).

    Example:
        >>> attempt(lambda x: 1 / x, 0)
        (None, 'it raised ZeroDivisionError: division by zero')
    """
    try:
        return function(*arguments), ""
    except Exception as error:
        return None, f"it raised {type(error).__name__}: {error}"
