"""Content: compiles a creative's texts when a catalog is applied, and fills them for a customer in a decision.

What is known of the offer is filled in at once, so that a creative without tokens of the customer or the context costs
a decision nothing. A token that cannot be filled for certain refuses the catalog: nobody is greeted with `{{`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

from server.domain.attribute import Attribute, AttributeType, FloatRow, Schema, Value
from server.domain.catalog import Problem
from server.domain.content import ChannelKind, FilledContent, OpenText
from server.domain.offer import Offer
from server.intelligence.content_tokens import Token, read_pieces
from server.intelligence.content_values import (
    AgeCell,
    CategoryCell,
    Cell,
    MembersCell,
    NumberCell,
    TruthCell,
    constant_text,
)

Piece = str | Cell | OpenText
"""What a text is put together from: what stands as it is, a cell of the variables, or a text of the vault."""

_BUILT_IN = ("id", "tactic")


class ContentNames(NamedTuple):
    """What tokens may name; `allowed` tells of the id of a customer's attribute whether it may be shown."""

    customer: Schema
    context: Schema
    offer: Schema
    allowed: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class CompiledContent:
    """The content of one creative of one offer on one kind of channel.

    Attributes:
        content: The parts that are the same for everybody, by name.
        parts: The name and the pieces of each other part that variables complete.
        waiting: The same of each part that also waits for texts of the vault.
        texts: The attributes of these texts, without repetitions.
    """

    content: Mapping[str, str]
    parts: tuple[tuple[str, tuple[str | Cell, ...]], ...] = ()
    waiting: tuple[tuple[str, tuple[Piece, ...]], ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def is_static(self) -> bool:
        """Whether `content` is all there is, whoever the customer is."""
        return not self.parts and not self.waiting

    def fill(self, variables: FloatRow) -> FilledContent:
        """The content for one customer in one context, up to the texts of the vault.

        Args:
            variables: float32 [customer columns + context columns or more], missing is NaN.
        """
        filled = dict(self.content)
        for name, pieces in self.parts:
            filled[name] = "".join([piece if isinstance(piece, str) else piece.read(variables) for piece in pieces])
        if not self.waiting:
            return FilledContent(filled)
        waiting = tuple((name, tuple(_filled(piece, variables) for piece in pieces)) for name, pieces in self.waiting)
        return FilledContent(filled, waiting)


def _filled(piece: Piece, variables: FloatRow) -> str | OpenText:
    return piece if isinstance(piece, str | OpenText) else piece.read(variables)


def compile_content(
    content: Mapping[str, str], offer: Offer, kind: ChannelKind, names: ContentNames
) -> tuple[CompiledContent, list[Problem]]:
    """Compiles a creative's content; with a problem, the result is not to be served.

    The path of a problem is the name of the part; the problem says where in the part's text it is (line:column).
    """
    if not any("{{" in text for text in content.values()):
        return CompiledContent(content), []
    compiler = _Compiler(offer, kind, names)
    problems: list[Problem] = []
    parts = []
    for name, text in content.items():
        pieces, wrong = compiler.pieces(text)
        parts.append((name, pieces))
        problems += [Problem(name, each) for each in wrong]
    return _sorted(parts), problems


def _sorted(parts: list[tuple[str, list[Piece]]]) -> CompiledContent:
    static: dict[str, str] = {}
    filled: list[tuple[str, tuple[str | Cell, ...]]] = []
    waiting: list[tuple[str, tuple[Piece, ...]]] = []
    for name, pieces in parts:
        without_texts = [piece for piece in pieces if not isinstance(piece, OpenText)]
        if len(without_texts) < len(pieces):
            waiting.append((name, tuple(pieces)))
        elif all(isinstance(piece, str) for piece in pieces):
            static[name] = "".join([piece for piece in pieces if isinstance(piece, str)])
        else:
            filled.append((name, tuple(without_texts)))
    texts = dict.fromkeys(piece.attribute for _, pieces in waiting for piece in pieces if isinstance(piece, OpenText))
    return CompiledContent(static, tuple(filled), tuple(waiting), tuple(texts))


class _Compiler:
    """Compiles the texts of one creative, and collects what is wrong with the token at hand."""

    def __init__(self, offer: Offer, kind: ChannelKind, names: ContentNames) -> None:
        self._kind = kind
        self._names = names
        self._schemas = {"customer": names.customer, "context": names.context, "offer": names.offer}
        self._constants: Mapping[str, Value] = {"id": offer.id, "tactic": offer.tactic, **offer.attributes}

    def pieces(self, text: str) -> tuple[list[Piece], list[str]]:
        """The pieces of a text with neighbours that are known joined to one, and its problems with their positions."""
        read, unreadable = read_pieces(text)
        problems = [(problem.position, problem.description) for problem in unreadable]
        pieces: list[Piece] = []
        for each in read:
            piece: Piece = ""
            if isinstance(each, str):
                piece = each
            else:
                wrong = list(self._problems(each))
                problems += [(each.position, description) for description in wrong]
                if not wrong:
                    piece = self._piece(each)
            if pieces and isinstance(piece, str) and isinstance(last := pieces[-1], str):
                pieces[-1] = last + piece
            else:
                pieces.append(piece)
        return pieces, [f"{position}: {description}" for position, description in sorted(problems)]

    def _problems(self, token: Token) -> Iterator[str]:
        """Everything that is wrong with what a token says."""
        attribute = self._attribute(token.root, token.attribute)
        if attribute is None:
            yield self._unknown(token.root, token.attribute)
            return
        if token.root == "customer" and not self._names.allowed(attribute.id):
            yield f"{token.name} may not be shown: declare it with content: true"
        if token.root != "customer" and attribute.type is AttributeType.TEXT:
            yield f"{token.name} is identifying text, which only customers have"
        if token.format and attribute.type is not AttributeType.NUMBER:
            yield f"{token.name} is a {attribute.type}: only numbers have formats"
        yield from self._key_problems(token, attribute)
        if token.default is None and not (token.root == "offer" and self._constant(token)):
            where = "is missing in this offer" if token.root == "offer" else "may be missing"
            yield f"{token.name} {where}: give a default, such as {{{{{token.name}|default}}}}"

    def _key_problems(self, token: Token, attribute: Attribute) -> Iterator[str]:
        if (attribute.by is None) != (token.key is None):
            example = f"{token.name}[offer.{attribute.by}]" if attribute.by else token.name
            yield f"{token.name} is {'' if attribute.by else 'not '}keyed: write {example}"
        elif token.key is None or token.key in attribute.keys:
            return
        elif not token.key.startswith("offer."):
            yield f"{token.name} has no key {token.key[:64]!r}{_suggestion(token.key, attribute.keys)}"
        else:
            name = token.key.removeprefix("offer.")
            picks = self._attribute("offer", name)
            if picks is None:
                yield self._unknown("offer", name)
            elif picks.type is not AttributeType.CATEGORY:
                yield f"a key is a text, and {token.key} is a {picks.type}"

    def _attribute(self, root: str, name: str) -> Attribute | None:
        schema = self._schemas.get(root)
        found = schema.by_id.get(name) if schema else None
        # An offer's id and tactic need no declaration; attributes of these names come first, as in conditions.
        return Attribute(name, AttributeType.CATEGORY) if not found and root == "offer" and name in _BUILT_IN else found

    def _unknown(self, root: str, name: str) -> str:
        schema = self._schemas.get(root)
        if schema is None:
            return f"unknown name {root[:64]}{_suggestion(root, self._schemas)}"
        known = [*schema.by_id, *(_BUILT_IN if root == "offer" else ())]
        return f"unknown attribute {root}.{name[:64]}{_suggestion(name, known, f'{root}.')}"

    def _constant(self, token: Token) -> str:
        """The text of an attribute of the offer, empty if it has none."""
        value = self._constants.get(token.attribute)
        return "" if value is None else constant_text(value, token.format or "", self._kind)

    def _piece(self, token: Token) -> Piece:
        """What a token without problems stands for."""
        default = token.default or ""
        if token.root == "offer":
            return self._constant(token) or default
        attribute = self._attribute(token.root, token.attribute)
        assert attribute is not None
        if attribute.type is AttributeType.TEXT:
            return OpenText(attribute.id, default, self._kind)
        columns = self._columns(token, attribute)
        return _cell(columns, default, token.format or "", attribute, self._kind) if columns else default

    def _columns(self, token: Token, attribute: Attribute) -> tuple[int, ...]:
        """Where the vector of variables has a token's value; nowhere for a cell that is not declared."""
        names = attribute.column_names()
        if token.key is not None:
            key: Value | None = token.key
            if token.key not in attribute.keys:
                key = self._constants.get(token.key.removeprefix("offer."))
            names = [f"{attribute.id}.{key}"] if key in attribute.keys else []
        offset = self._names.customer.width if token.root == "context" else 0
        columns = self._schemas[token.root].columns
        return tuple(offset + columns[name] for name in names)


def _cell(columns: tuple[int, ...], default: str, format_: str, attribute: Attribute, kind: ChannelKind) -> Cell:
    match attribute.type:
        case AttributeType.NUMBER:
            return NumberCell(columns[0], default, format_)
        case AttributeType.TIMESTAMP_AGE:
            return AgeCell(columns[0], default)
        case AttributeType.BOOLEAN:
            return TruthCell(columns[0], default)
        case AttributeType.CATEGORY:
            return CategoryCell(columns[0], default, attribute.values, kind)
        case _:
            return MembersCell(columns, default, attribute.values, kind)


def _suggestion(word: str, known: Iterable[str], prefix: str = "") -> str:
    near = get_close_matches(word[:64], list(known), n=1, cutoff=0.6)
    return f"; did you mean {prefix}{near[0]}?" if near else ""
