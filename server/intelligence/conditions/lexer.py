"""Turns the text of a condition into tokens with positions."""

import re
from typing import NamedTuple

from server.domain.condition import ConditionError, Position

MAX_BYTES = 4_096

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)
      | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[rR](?:"[^"\n]*"|'[^'\n]*'))
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<operator>&&|\|\||==|!=|<=|>=|[-+*/!<>()\[\],.])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "'": "'", "\\": "\\"}


class Token(NamedTuple):
    """One word of a condition; `start` and `end` are offsets in the text."""

    kind: str
    text: str
    position: Position
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """The tokens of a condition, closed by one of kind `end`.

    Raises:
        ConditionError: the text is longer than 4,096 bytes, or has a character that no token begins with.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise ConditionError(Position(1, 1), f"a condition has at most {MAX_BYTES:,} bytes")
    found: list[Token] = []
    offset = 0
    while offset < len(text):
        match = _TOKEN.match(text, offset)
        if match is None:
            raise ConditionError(position_of(text, offset), f"cannot read {text[offset]!r} here")
        kind = str(match.lastgroup)
        if kind != "space":
            found.append(Token(kind, match.group(), position_of(text, offset), offset, match.end()))
        offset = match.end()
    found.append(Token("end", "", position_of(text, offset), offset, offset))
    return found


def position_of(text: str, offset: int) -> Position:
    """Line and column of an offset, both from 1."""
    return Position(text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1)


def unquote(token: Token) -> str:
    """The text that a quoted token stands for; that of `r"…"` is taken as it is.

    Raises:
        ConditionError: an escape that CEL does not have.
    """
    if token.text[0] in "rR":
        return token.text[2:-1]

    def replace(match: re.Match[str]) -> str:
        if match.group(1) not in _ESCAPES:
            raise ConditionError(token.position, f"unknown escape {match.group()!r}")
        return _ESCAPES[match.group(1)]

    return _ESCAPE.sub(replace, token.text[1:-1])
