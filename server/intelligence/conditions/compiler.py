"""Compiles a checked condition to clauses, once for each set of constants (for eligibility: for each offer)."""

from collections.abc import Iterable
from functools import reduce

import numpy as np

from server.domain.attribute import Value
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
    TextTest,
)
from server.intelligence.conditions.clauses import (
    FALSE,
    MAX_CLAUSES,
    Atom,
    AtomKind,
    Clauses,
    ComputedAtom,
    TooComplexError,
    both,
    constant,
    either,
    literal,
)
from server.intelligence.conditions.operands import Column, Constants, Operand, Operands, is_constant, term
from server.intelligence.conditions.terms import TIME, Term, column, lookup
from server.intelligence.conditions.terms import constant as number
from server.intelligence.conditions.texts import text_test
from server.intelligence.conditions.vocabulary import Vocabulary

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_FEW = 16
"""So many codes are compared one by one; more are looked up in a table."""


def compile_condition(
    expression: Expression, vocabulary: Vocabulary, constants: Constants, holds: bool = True
) -> list[tuple[str, Clauses]]:
    """The clauses under which a condition is definitely true, for each part with the part as it was written.

    A conjunction has its operands as parts.

    Args:
        expression: A condition in which `check` found no problem.
        constants: The values of `offer.*` where the offer is not a variable.
        holds: False gives the clauses under which the condition is definitely false. An error is neither.

    Raises:
        ConditionError: the condition is too complex, or an offer gives it a regular expression that is none.
    """
    compiler = _Compiler(vocabulary, constants)
    if not isinstance(expression, Logic) or expression.operator != ("&&" if holds else "||"):
        return [("", compiler.clauses(expression, holds))]
    return [
        (text, compiler.clauses(operand, holds))
        for operand, text in zip(expression.operands, expression.texts, strict=True)
    ]


class _Compiler:
    def __init__(self, vocabulary: Vocabulary, constants: Constants) -> None:
        self._vocabulary = vocabulary
        self._operands = Operands(vocabulary, constants)

    def clauses(self, expression: Expression, positive: bool) -> Clauses:
        try:
            return self._holds(expression, positive)
        except TooComplexError:
            problem = f"is too complex: it expands to more than {MAX_CLAUSES} clauses"
            raise ConditionError(expression.position, problem) from None

    def _holds(self, node: Expression, positive: bool) -> Clauses:  # noqa: PLR0911 - one for each kind of node
        """The clauses under which a node is definitely true, or (not positive) definitely false."""
        match node:
            case Logic(operator=operator, operands=operands):
                join = both if (operator == "&&") is positive else either
                return reduce(join, (self._holds(operand, positive) for operand in operands))
            case Not(operand=operand):
                return self._holds(operand, not positive)
            case Has(name=name):
                return _present(self._operands.named(name), positive)
            case Comparison(operator="in", left=left, right=right):
                return self._membership(left, right, positive)
            case Comparison(operator=operator, left=left, right=right):
                return _comparison(operator, self._operands.of(left), self._operands.of(right), positive)
            case TextTest():
                return self._text_test(node, positive)
            case Name():
                return _comparison("==", self._operands.named(node), True, positive)
            case Literal(value=value):
                return constant(bool(value) is positive)
        raise AssertionError(f"check let {node} through")

    def _membership(self, left: Expression, right: Expression, positive: bool) -> Clauses:
        member = self._operands.of(left)
        if isinstance(right, Items):
            return _listed(member, tuple(item.value for item in right.items), positive)
        assert isinstance(right, Name)
        if self._vocabulary.is_constant(right.root):
            members = self._operands.named(right)
            if members is None:
                return FALSE
            assert isinstance(members, tuple)
            assert is_constant(members)
            return _listed(member, [str(value) for value in members], positive)
        if member is None:
            return FALSE
        attribute = self._vocabulary.attribute(right)
        if member not in attribute.values:
            return FALSE if positive else _present(self._operands.named(right), True)
        place, bit = self._vocabulary.roots[right.root].member(attribute, str(member))
        return literal(Atom(AtomKind.MEMBER, place + self._vocabulary.offset(right.root), float(bit)), positive)

    def _text_test(self, node: TextTest, positive: bool) -> Clauses:
        subject, argument = self._operands.of(node.subject), self._operands.of(node.argument)
        if subject is None or argument is None:
            return FALSE
        try:
            test = text_test(node.function, str(argument))
        except ValueError as problem:
            raise ConditionError(node.argument.position, str(problem)) from None
        if not isinstance(subject, Column):
            return constant(test(str(subject)) is positive)
        return _any_code(subject, [test(value) for value in subject.codes], positive)


def _comparison(operator: str, left: Operand, right: Operand, positive: bool) -> Clauses:
    if left is None or right is None:
        return FALSE
    if isinstance(right, Column) and is_constant(left):
        operator, left, right = _MIRRORED[operator], right, left
    if not is_constant(right):
        return _computed(operator, left, right, positive)
    assert not isinstance(right, Column | Term)
    if isinstance(left, Column):
        return _atom(operator, left, right, positive)
    if isinstance(left, Term):
        return _computed(operator, left, right, positive)
    return constant(_compare(operator, left, right) is positive)


def _listed(member: Operand, items: Iterable[Operand], positive: bool) -> Clauses:
    join = either if positive else both
    parts = [_comparison("==", member, item, positive) for item in items]
    # Nothing is in an empty list, and even that can only be said of a value that is there.
    return reduce(join, parts) if parts else (FALSE if positive else _present(member, True))


def _atom(operator: str, left: Column, value: Value, positive: bool) -> Clauses:
    """A column beside a constant."""
    operand = _rounded(left, value)
    if operand is None or np.isnan(operand):
        # The value is none of the declared ones, or NaN, so whatever is present differs from it.
        return literal(Atom(AtomKind.PRESENT, left.place)) if (operator == "!=") is positive else FALSE
    match operator:
        case "==" | "!=":
            return literal(Atom(AtomKind.EQUALS, left.place, operand), (operator == "==") is positive)
        case ">=" | "<":
            return literal(Atom(AtomKind.AT_LEAST, left.place, operand), (operator == ">=") is positive)
        case _:
            above = float(np.nextafter(np.float32(operand), np.float32(np.inf)))
            return literal(Atom(AtomKind.AT_LEAST, left.place, above), (operator == ">") is positive)


def _rounded(left: Column, value: Value) -> float | None:
    """The constant as the column holds it, rounded to float32 like every value of a row."""
    if left.is_category:
        code = left.codes.get(str(value))
        return None if code is None else float(code)
    assert isinstance(value, int | float)
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def _computed(operator: str, left: Operand, right: Operand, positive: bool) -> Clauses:
    """Two computed numbers, or two variables."""
    if isinstance(left, Column) and isinstance(right, Column) and left.is_category:
        one, other = _codes(left, right)
    else:
        one, other = term(left), term(right)
    match operator:
        case "==" | "!=":
            return literal(ComputedAtom(AtomKind.SAME, *sorted((one, other))), (operator == "==") is positive)
        case "<":
            return literal(ComputedAtom(AtomKind.LESS, one, other), positive)
        case "<=":
            return literal(ComputedAtom(AtomKind.AT_MOST, one, other), positive)
        case ">":
            return literal(ComputedAtom(AtomKind.LESS, other, one), positive)
        case _:
            return literal(ComputedAtom(AtomKind.AT_MOST, other, one), positive)


def _codes(left: Column, right: Column) -> tuple[Term, Term]:
    """Two categories in the same codes, which are those of the left one as far as it has the values."""
    if left.codes == right.codes:
        return column(left.place), column(right.place)
    # What the left one cannot have gets a code that it does not have either.
    table = tuple(float(left.codes.get(value, len(left.codes))) for value in right.codes)
    return column(left.place), lookup(right.place, table)


def _any_code(category: Column, chosen: list[bool], positive: bool) -> Clauses:
    """Whether a category has one of the chosen codes."""
    codes = [code for code, is_chosen in enumerate(chosen) if is_chosen]
    if len(codes) > _FEW and len(chosen) - len(codes) > _FEW:
        table = tuple(map(float, chosen))
        return literal(ComputedAtom(AtomKind.SAME, *sorted((number(1.0), lookup(category.place, table)))), positive)
    if len(codes) > _FEW:
        # Fewer are left than chosen, and a category that has none of them is present and has one of the others.
        codes, positive = [code for code, is_chosen in enumerate(chosen) if not is_chosen], not positive
    if not codes:
        return FALSE if positive else _present(category, True)
    literals = [literal(Atom(AtomKind.EQUALS, category.place, float(code)), positive) for code in codes]
    return reduce(either if positive else both, literals)


def _present(operand: Operand, positive: bool) -> Clauses:
    """Whether an operand is there, or (not positive) is missing."""
    if isinstance(operand, Column):
        return literal(Atom(AtomKind.PRESENT, operand.place), positive)
    if isinstance(operand, Term) and operand != TIME:
        # Whatever is computed is the same as itself or, being NaN, is not; what cannot be computed is neither.
        same = ComputedAtom(AtomKind.SAME, operand, operand)
        return either(literal(same, True), literal(same, False)) if positive else FALSE
    return constant((operand is not None) is positive)


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
