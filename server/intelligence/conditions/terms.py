"""What conditions compute: terms over the vector of variables, as trees that are equal if they compute the same.

Terms are compared, hashed and sorted, so they hold no number that is unequal to itself or equal to another one:
`constant` writes NaN and -0.0 as what makes them.
"""

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np


class Operation(IntEnum):
    """What a term does with its parts; the first three have none."""

    COLUMN = 0
    TIME = 1
    CONSTANT = 2
    LOOKUP = 3
    NEGATE = 4
    ADD = 5
    SUBTRACT = 6
    MULTIPLY = 7
    DIVIDE = 8


class Term(NamedTuple):
    """One step of a computation.

    Attributes:
        number: The column of COLUMN, the value of CONSTANT.
        parts: What is computed with.
        table: For LOOKUP, the value of each code that its part may have.
    """

    operation: Operation
    number: float = 0.0
    parts: "tuple[Term, ...]" = ()
    table: tuple[float, ...] = ()


TIME = Term(Operation.TIME)
"""The time of the decision in microseconds since 1970."""

_OPERATIONS = {"+": Operation.ADD, "-": Operation.SUBTRACT, "*": Operation.MULTIPLY, "/": Operation.DIVIDE}
_FUNCTIONS = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}


def constant(number: float) -> Term:
    """A number that is known."""
    if math.isnan(number):
        return Term(Operation.SUBTRACT, parts=(constant(math.inf), constant(math.inf)))
    if number == 0 and math.copysign(1, number) < 0:
        return Term(Operation.NEGATE, parts=(constant(0.0),))
    return Term(Operation.CONSTANT, number)


def column(place: int) -> Term:
    """The value of a column, missing if it is NaN."""
    return Term(Operation.COLUMN, float(place))


def lookup(place: int, table: tuple[float, ...]) -> Term:
    """What a table says of the code in a column."""
    return Term(Operation.LOOKUP, parts=(column(place),), table=table)


def negative(part: Term) -> Term:
    """`-part`."""
    return Term(Operation.NEGATE, parts=(part,))


def combined(operator: str, left: Term, right: Term) -> Term:
    """`left operator right`, the operator one of `+ - * /`."""
    return Term(_OPERATIONS[operator], parts=(left, right))


def folded(operator: str, left: float, right: float) -> float:
    """The result of arithmetic on numbers as CEL's doubles have it: a division by zero is infinite or NaN."""
    with np.errstate(all="ignore"):
        return float(_FUNCTIONS[operator](np.float64(left), np.float64(right)))
