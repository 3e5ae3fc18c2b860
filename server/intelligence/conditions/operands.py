"""The operands of comparisons: what is known when a condition is compiled, and what is to be read or computed."""

from collections.abc import Mapping
from typing import NamedTuple

from server.domain.attribute import Attribute, AttributeType, Value
from server.domain.condition import (
    Arithmetic,
    ConditionError,
    Duration,
    Expression,
    Instant,
    Literal,
    Name,
    Negative,
)
from server.intelligence.conditions.history import MAX_COLUMNS
from server.intelligence.conditions.terms import TIME, Term, column, combined, constant, folded, negative
from server.intelligence.conditions.vocabulary import Vocabulary

Constants = Mapping[str, Value]
"""The values of the attributes that are known at compile time; absent is missing."""


_NO_CODES: Mapping[str, int] = {}


class Column(NamedTuple):
    """A variable as it stands in its column; of the history's numbers there is no attribute. Categories have codes."""

    place: int
    attribute: Attribute | None = None
    codes: Mapping[str, int] = _NO_CODES

    @property
    def is_category(self) -> bool:
        """Whether the column holds codes of texts."""
        return self.attribute is not None and self.attribute.type is AttributeType.CATEGORY


Operand = Value | Column | Term | None
"""A constant; a variable; something to compute; or None, which is missing whoever the customer is."""


def is_constant(operand: Operand) -> bool:
    """Whether an operand that is not missing is known."""
    return not isinstance(operand, Column | Term)


def term(operand: Operand) -> Term:
    """A number, truth value or time as something to compute with."""
    if isinstance(operand, Term):
        return operand
    if isinstance(operand, Column):
        return column(operand.place)
    assert isinstance(operand, int | float)
    return constant(float(operand))


class Operands:
    """Finds the operands of one condition for one set of constants."""

    def __init__(self, vocabulary: Vocabulary, constants: Constants) -> None:
        self._vocabulary = vocabulary
        self._constants = constants

    def of(self, node: Expression) -> Operand:
        """The operand that an expression without truth value stands for.

        Raises:
            ConditionError: the catalog reads more of the history than there is room for.
        """
        match node:
            case Literal(value=value):
                return value
            case Instant(time_us=number) | Duration(duration_us=number):
                return number
            case Name():
                return self.named(node)
            case Negative(operand=operand):
                part = self.of(operand)
                return part if part is None else (-_number(part) if is_constant(part) else negative(term(part)))
            case Arithmetic(operator=operator, left=left, right=right):
                return self._arithmetic(operator, self.of(left), self.of(right))
        raise AssertionError(f"check let {node} through")

    def named(self, name: Name) -> Operand:
        """What a name stands for."""
        if self._vocabulary.is_time(name):
            return TIME
        if self._vocabulary.is_history(name):
            return self._history(name)
        if self._vocabulary.is_constant(name.root):
            return self._constants.get(name.attribute)
        cell = name.attribute
        if name.key is not None:
            key = self.of(name.key)
            if key is None:
                return None
            cell = f"{cell}.{key}"
        place = self._vocabulary.column(name.root, cell)
        if place is None:
            return None
        attribute = self._vocabulary.attribute(name)
        return Column(place, attribute, self._vocabulary.roots[name.root].codes[attribute.id])

    def _history(self, name: Name) -> Column | None:
        asked = self._vocabulary.history_name(name)
        variable = asked.variable(self._constants.get(asked.offer_attribute or ""))
        if variable is None:
            return None
        assert self._vocabulary.history is not None
        place = self._vocabulary.history.column(variable)
        if place is None:
            problem = f"the catalog reads more than {MAX_COLUMNS:,} different numbers of the history"
            raise ConditionError(name.position, problem)
        return Column(place + self._vocabulary.history_offset)

    @staticmethod
    def _arithmetic(operator: str, left: Operand, right: Operand) -> Operand:
        if left is None or right is None:
            return None
        if is_constant(left) and is_constant(right):
            return folded(operator, _number(left), _number(right))
        return combined(operator, term(left), term(right))


def constants_used(names: list[Name], vocabulary: Vocabulary) -> frozenset[str]:
    """Which constants the meaning of a condition with these names depends on."""
    used = {name.attribute for name in names if vocabulary.is_constant(name.root)}
    asked = [vocabulary.history_name(name) for name in names if vocabulary.is_history(name)]
    return frozenset(used.union(name.offer_attribute for name in asked if name.offer_attribute))


def _number(operand: Operand) -> float:
    assert isinstance(operand, int | float)
    return float(operand)
