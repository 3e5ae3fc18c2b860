"""Reads the texts of a creative: what stands as it is, and tokens such as `{{customer.tier|basic}}`.

The grammar, with spaces allowed around its parts: `{{root.attribute[key]:format|default}}`, where key, format and
default may be left out. `\\{{` is `{{` itself, and `}}` outside a token is just that.
"""

import re
from typing import NamedTuple

from server.domain.condition import Position
from server.intelligence.conditions.lexer import position_of

_OPENING = re.compile(r"\\?\{\{")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)(?:\s*\[([^\]]*)\])?\s*")
_FORMAT = re.compile(r"(,?)(?:((?:\.[0-9])?[f%])|d)")
_REPEATED = 64
_EXAMPLE = "write {{root.attribute}}, {{root.attribute:.2f}} or {{root.attribute|default}}"


class Token(NamedTuple):
    """A token as it is written. `key`, `format` and `default` are None where there is none.

    `format` is one of Python's: what the grammar of formats allows is a small part of them.
    """

    position: Position
    root: str
    attribute: str
    key: str | None
    format: str | None
    default: str | None

    @property
    def name(self) -> str:
        """What the token names, without its key."""
        return f"{self.root}.{self.attribute}"


class TokenProblem(NamedTuple):
    """What is wrong with a token, and where it begins."""

    position: Position
    description: str

    def __str__(self) -> str:
        return f"{self.position}: {self.description}"


Pieces = list[str | Token]


def read_pieces(text: str) -> tuple[Pieces, list[TokenProblem]]:
    """The pieces of a text in their order, and what is wrong with the tokens that are not among them."""
    pieces: Pieces = []
    problems: list[TokenProblem] = []
    rest = 0
    while opening := _OPENING.search(text, rest):
        pieces.append(text[rest : opening.start()])
        rest = opening.end()
        if opening.group() == "\\{{":
            pieces.append("{{")
            continue
        position = position_of(text, opening.start())
        end = text.find("}}", rest)
        if end < 0:
            problems.append(TokenProblem(position, "the token is not closed: }} is missing"))
            return pieces, problems
        if "{{" in text[rest:end]:
            # The one inside may be in order, so that reading goes on there.
            problems.append(TokenProblem(position, "the token is not closed before the next one opens"))
            continue
        token = _read_token(text[rest:end], position)
        if isinstance(token, Token):
            pieces.append(token)
        else:
            problems.append(token)
        rest = end + len("}}")
    pieces.append(text[rest:])
    return [piece for piece in pieces if piece], problems


def _read_token(body: str, position: Position) -> Token | TokenProblem:
    """The token between its braces, or why it is none."""
    body = body.strip()
    name = _NAME.match(body)
    if name is None:
        wrong = f"cannot read {_shortened(body)}" if body else "the token is empty"
        return TokenProblem(position, f"{wrong}: {_EXAMPLE}")
    rest, bar, default = body[name.end() :].partition("|")
    rest = rest.rstrip()
    if rest and rest[0] != ":":
        return TokenProblem(position, f"cannot read {_shortened(rest)} behind {name[0].strip()}: {_EXAMPLE}")
    format_ = _read_format(rest[1:].lstrip()) if rest else None
    if rest and format_ is None:
        return TokenProblem(
            position, f"unknown format {_shortened(rest)}; there are :d, :.2f, :,.2f, :.0% and their like"
        )
    key = None if name[3] is None else _unquoted(name[3].strip())
    return Token(position, name[1], name[2], key, format_, default.strip() if bar else None)


def _read_format(text: str) -> str | None:
    """The format of Python that a format stands for; `z`, so that what rounds to zero has no sign."""
    found = _FORMAT.fullmatch(text)
    return found and f"z{found[1]}{found[2] or '.0f'}"


def _unquoted(key: str) -> str:
    """A key may stand in quotes, as in conditions."""
    return key[1:-1] if len(key) > 1 and key[0] == key[-1] and key[0] in "\"'" else key


def _shortened(text: str) -> str:
    return repr(text if len(text) <= _REPEATED else f"{text[:_REPEATED]}…")
