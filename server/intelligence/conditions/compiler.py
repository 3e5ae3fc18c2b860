"""Compiles a checked condition to clauses, once for each set of constants (for eligibility: for each offer)."""

from collections.abc import Mapping
from functools import reduce

import numpy as np

from server.domain.attribute import Attribute, AttributeType, Value
from server.domain.condition import (
    Comparison,
    ConditionError,
    Expression,
    Has,
    Items,
    Literal,
    Logic,
    Name,
    Not,
)
from server.intelligence.conditions.clauses import (
    FALSE,
    MAX_CLAUSES,
    TRUE,
    Atom,
    AtomKind,
    Clauses,
    TooComplexError,
    both,
    constant,
    either,
    literal,
)
from server.intelligence.conditions.vocabulary import Vocabulary

Constants = Mapping[str, Value]
"""The values of the attributes that are known at compile time; absent is missing."""

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def compile_condition(
    expression: Expression, vocabulary: Vocabulary, constants: Constants
) -> list[tuple[str, Clauses]]:
    """The clauses of each part of a conjunction, with the part as it was written.

    Args:
        expression: A condition in which `check` found no problem.
        constants: The values of `offer.*` where the offer is not a variable.

    Raises:
        ConditionError: the condition is too complex.
    """
    compiler = _Compiler(vocabulary, constants)
    if not isinstance(expression, Logic) or expression.operator != "&&":
        return [("", compiler.clauses(expression))]
    return [
        (text, compiler.clauses(operand)) for operand, text in zip(expression.operands, expression.texts, strict=True)
    ]


class _Compiler:
    def __init__(self, vocabulary: Vocabulary, constants: Constants) -> None:
        self._vocabulary = vocabulary
        self._constants = constants

    def clauses(self, expression: Expression) -> Clauses:
        try:
            return self._holds(expression, True)
        except TooComplexError:
            problem = f"is too complex: it expands to more than {MAX_CLAUSES} clauses"
            raise ConditionError(expression.position, problem) from None

    def _holds(self, node: Expression, positive: bool) -> Clauses:
        """The clauses under which a node is definitely true, or (not positive) definitely false."""
        match node:
            case Logic(operator=operator, operands=operands):
                join = both if (operator == "&&") is positive else either
                return reduce(join, (self._holds(operand, positive) for operand in operands))
            case Not(operand=operand):
                return self._holds(operand, not positive)
            case Has(name=name):
                return self._present(name, positive)
            case Comparison(operator=operator, left=left, right=right):
                return self._comparison(operator, left, right, positive)
            case Name():
                return self._comparison("==", node, Literal(node.position, True), positive)
            case Literal(value=value):
                return constant(bool(value) is positive)
        raise AssertionError(f"check let {node} through")

    def _comparison(self, operator: str, left: Expression, right: Expression, positive: bool) -> Clauses:
        if operator == "in":
            return self._membership(left, right, positive)
        if self._is_variable(right):
            operator, left, right = _MIRRORED[operator], right, left
        value = self._value(right)
        if value is None:
            return FALSE
        if isinstance(left, Name) and self._is_variable(left):
            return self._atom(operator, left, value, positive)
        known = self._value(left)
        return FALSE if known is None else constant(_compare(operator, known, value) is positive)

    def _membership(self, left: Expression, right: Expression, positive: bool) -> Clauses:
        if isinstance(right, Items):
            join = either if positive else both
            parts = [self._comparison("==", left, item, positive) for item in right.items]
            # Nothing is in an empty list, and even that can only be said of a value that is there.
            return reduce(join, parts) if parts else (FALSE if positive else self._present_operand(left))
        assert isinstance(right, Name)
        if not self._is_variable(right):
            members = self._constants.get(right.attribute)
            if not isinstance(members, tuple):
                return FALSE
            items = Items(right.position, tuple(Literal(right.position, member) for member in members))
            return self._membership(left, items, positive)
        value = self._value(left)
        if value is None:
            return FALSE
        schema, attribute = self._vocabulary.roots[right.root], self._vocabulary.attribute(right)
        if value not in attribute.values:
            return FALSE if positive else self._present(right, True)
        column, bit = schema.member(attribute, str(value))
        return literal(Atom(AtomKind.MEMBER, column + self._vocabulary.offset(right.root), float(bit)), positive)

    def _atom(self, operator: str, name: Name, value: Value, positive: bool) -> Clauses:
        column = self._column(name)
        if column is None:
            return FALSE
        operand = self._operand(self._vocabulary.attribute(name), value)
        if operand is None:
            # The value is none of the declared ones, so an attribute that is present differs from it.
            return FALSE if (operator == "==") is positive else literal(Atom(AtomKind.PRESENT, column))
        match operator:
            case "==" | "!=":
                return literal(Atom(AtomKind.EQUALS, column, operand), (operator == "==") is positive)
            case ">=" | "<":
                return literal(Atom(AtomKind.AT_LEAST, column, operand), (operator == ">=") is positive)
            case _:
                above = float(np.nextafter(np.float32(operand), np.float32(np.inf)))
                return literal(Atom(AtomKind.AT_LEAST, column, above), (operator == ">") is positive)

    def _present(self, name: Name, positive: bool) -> Clauses:
        if not self._is_variable(name):
            return constant((name.attribute in self._constants) is positive)
        column = self._column(name)
        return constant(not positive) if column is None else literal(Atom(AtomKind.PRESENT, column), positive)

    def _present_operand(self, node: Expression) -> Clauses:
        return self._present(node, True) if isinstance(node, Name) else TRUE

    def _column(self, name: Name) -> int | None:
        column = name.attribute
        if name.key is not None:
            key = self._value(name.key)
            if key is None:
                return None
            column = f"{column}.{key}"
        return self._vocabulary.variable(name.root, column)

    def _value(self, node: Expression) -> Value | None:
        if isinstance(node, Literal):
            return node.value
        assert isinstance(node, Name)
        return self._constants.get(node.attribute)

    def _is_variable(self, node: Expression) -> bool:
        return isinstance(node, Name) and node.root in self._vocabulary.variables

    @staticmethod
    def _operand(attribute: Attribute, value: Value) -> float | None:
        """The constant as the column holds it, rounded to float32 like every value of a row."""
        if attribute.type is AttributeType.CATEGORY:
            return float(attribute.values.index(str(value))) if value in attribute.values else None
        assert isinstance(value, int | float)
        return float(np.float32(value))


def _compare(operator: str, left: Value, right: Value) -> bool:
    if operator in ("==", "!="):
        return (left == right) is (operator == "==")
    assert isinstance(left, int | float)
    assert isinstance(right, int | float)
    match operator:
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case _:
            return left >= right
