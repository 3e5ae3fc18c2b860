"""Conditions as they are written: the syntax tree of the product's subset of CEL (https://cel.dev).

The tree says nothing about meaning; names and types are checked, and columns found, in `intelligence/conditions`.
"""

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


Expression = Literal | Items | Name | Has | Not | Comparison | Logic
