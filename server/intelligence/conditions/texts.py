"""The functions that test texts. They run when a condition is compiled, on every value that an attribute declares."""

from collections.abc import Callable

import re2

FUNCTIONS = ("startsWith", "endsWith", "contains", "matches")
MAX_PATTERN = 512
"""The longest regular expression, in bytes."""

_MAX_PROGRAM = 1 << 20
"""The memory that RE2 may use for one expression, in bytes; a larger one is refused."""


def text_test(function: str, argument: str) -> Callable[[str], bool]:
    """The test `text.function(argument)` as a function of the text.

    Raises:
        ValueError: the argument of `matches` is not a regular expression of RE2, or is too large.
    """
    match function:
        case "startsWith":
            return lambda text: text.startswith(argument)
        case "endsWith":
            return lambda text: text.endswith(argument)
        case "contains":
            return lambda text: argument in text
    search = _compile(argument).search
    return lambda text: search(text) is not None


def _compile(pattern: str) -> "re2._Regexp[str]":
    """A compiled expression; RE2 runs in linear time whatever the expression."""
    if len(pattern.encode()) > MAX_PATTERN:
        raise ValueError(f"a regular expression has at most {MAX_PATTERN} bytes")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_PROGRAM
    try:
        return re2.compile(pattern, options)
    except re2.error as problem:
        reason = problem.args[0] if problem.args else "not RE2"
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"is not a regular expression: {text}") from None
