"""What somebody may have meant by a word that does not exist."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(word: str, known: Iterable[str], prefix: str = "") -> str:
    """`; did you mean …?` with the nearest known word, or nothing if none is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def quoted_suggestion(word: object, known: Iterable[str]) -> str:
    """The same for values, which stand in quotes."""
    near = get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
