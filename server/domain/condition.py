"""Conditions as they are written: the syntax tree of the product's subset of CEL (https://cel.dev).

The tree says nothing about meaning; names and types are checked, and columns found, in `intelligence/conditions`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Position(NamedTuple):
    """Where something stands in a condition; both count from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class ConditionError(Exception):
    """A condition that cannot be compiled: where, what, and what to do about it."""

    position: Position
    description: str

    def __str__(self) -> str:
        return f"{self.position}: {self.description}"


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, text or truth value."""

    position: Position
    value: float | str | bool


@dataclass(frozen=True, slots=True)
class Items:
    """A list of literals, the right side of `in`."""

    position: Position
    items: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Name:
    """`root.attribute`, for example `customer.tier`; with a key, one cell: `customer.spend[offer.department]`."""

    position: Position
    root: str
    attribute: str
    key: "Name | Literal | None" = None


@dataclass(frozen=True, slots=True)
class Has:
    """`has(customer.tier)`: whether the attribute is present."""

    position: Position
    name: Name


@dataclass(frozen=True, slots=True)
class Not:
    """`!operand`."""

    position: Position
    operand: "Expression"


@dataclass(frozen=True, slots=True)
class Instant:
    """`timestamp("2026-01-01T00:00:00Z")`, as microseconds since 1970."""

    position: Position
    time_us: float


@dataclass(frozen=True, slots=True)
class Duration:
    """`duration("36h")`, as microseconds."""

    position: Position
    duration_us: float


@dataclass(frozen=True, slots=True)
class Negative:
    """`-operand`."""

    position: Position
    operand: "Expression"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`left operator right`, the operator one of `+ - * /`."""

    position: Position
    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class TextTest:
    """`subject.function(argument)`, the function one of `startsWith endsWith contains matches`."""

    position: Position
    function: str
    subject: "Expression"
    argument: "Expression"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left operator right`, the operator one of `== != < <= > >= in`."""

    position: Position
    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Logic:
    """`a && b && …` or `a || b || …`; `texts` are the operands as written, for explanations."""

    position: Position
    operator: str
    operands: tuple["Expression", ...]
    texts: tuple[str, ...]


Expression = (
    Literal | Items | Name | Has | Not | Instant | Duration | Negative | Arithmetic | TextTest | Comparison | Logic
)


def walk(expression: Expression) -> Iterator[Expression]:
    """An expression and everything in it."""
    yield expression
    for part in _parts(expression):
        yield from walk(part)


def _parts(expression: Expression) -> tuple[Expression, ...]:
    match expression:
        case Items(items=parts) | Logic(operands=parts):
            return parts
        case Not(operand=part) | Negative(operand=part) | Has(name=part) | Name(key=Name() | Literal() as part):
            return (part,)
        case Comparison(left=left, right=right) | Arithmetic(left=left, right=right):
            return left, right
        case TextTest(subject=subject, argument=argument):
            return subject, argument
    return ()
