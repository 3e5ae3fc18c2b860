"""Content as a customer gets it: the kinds of channels, how a value is written on each, and texts that come last.

Values are data, whoever sent them: what they hold never becomes markup, and never a token.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from html import escape
from typing import NamedTuple

MAX_VALUE_CHARACTERS = 256
"""A longer value is cut: a text of the vault may be long, and an answer holds many of them."""


class ChannelKind(StrEnum):
    """What the content of a channel becomes a part of."""

    HTML = "html"
    """The text of an element, or an attribute's value in quotes."""

    TEXT = "text"
    """Plain text, such as a push message."""

    JSON = "json"
    """A text of a JSON document, between its quotes; the document may stand in a script element."""


def written(value: str, kind: ChannelKind) -> str:
    """A value as it stands in content of this kind: at most 256 characters of it, none of which means anything there.

    In plain text control characters other than the newline are left out; on the other kinds every character stays.
    """
    value = value[:MAX_VALUE_CHARACTERS]
    # Most values are one word, and letters and digits mean nothing anywhere.
    return value if value.isalnum() else _WRITERS[kind](value)


_CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
_PLAIN: Mapping[int, str | None] = {code: None for code in _CONTROLS if code != ord("\n")}
_QUOTED: Mapping[int, str | None] = {
    # A JSON text may hold these as they are, except the controls, but a script element or a script may not.
    **{code: f"\\u{code:04x}" for code in (*_CONTROLS, *map(ord, "<>&\u2028\u2029"))},
    ord('"'): '\\"',
    ord("\\"): "\\\\",
}


def _in_text(value: str) -> str:
    return value.translate(_PLAIN)


def _in_json(value: str) -> str:
    return value.translate(_QUOTED)


_WRITERS: Mapping[ChannelKind, Callable[[str], str]] = {
    ChannelKind.HTML: escape,
    ChannelKind.TEXT: _in_text,
    ChannelKind.JSON: _in_json,
}


class OpenText(NamedTuple):
    """A place for an identifying text of the customer, which is in the vault."""

    attribute: str
    default: str
    kind: ChannelKind

    def read(self, texts: Mapping[str, str]) -> str:
        """The text, or the default where it is missing or nothing of it can be shown."""
        return written(texts.get(self.attribute, ""), self.kind) or self.default


class FilledContent(NamedTuple):
    """A creative's content for one customer; parts with texts of the vault are still in pieces.

    Attributes:
        content: The parts that are complete, by name.
        waiting: The name and the pieces of each part that waits for texts.
    """

    content: Mapping[str, str]
    waiting: tuple[tuple[str, tuple[str | OpenText, ...]], ...] = ()

    def with_texts(self, texts: Mapping[str, str]) -> Mapping[str, str]:
        """Every part by name, with texts by attribute; a text that is not there reads as its token's default.

        Pieces are put together, and nothing is read again: a text that looks like a token stays as it is.
        """
        if not self.waiting:
            return self.content
        filled = {
            name: "".join([piece if isinstance(piece, str) else piece.read(texts) for piece in pieces])
            for name, pieces in self.waiting
        }
        return {**self.content, **filled}
