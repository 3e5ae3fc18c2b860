"""Conditions in conjunctive normal form: clauses of literals over atoms.

CEL has three outcomes: true, false, and an error (a missing attribute) that `&&` and `||` absorb when the other side
decides. Only "definitely true" lets an offer through, and negation pushed down to the atoms turns "definitely false"
into a literal of its own. What is left uses AND and OR alone, over literals that each hold or do not, so plain
two-valued logic gives the three-valued answer.
"""

from enum import IntEnum
from typing import NamedTuple

from server.intelligence.conditions.terms import Term

MAX_CLAUSES = 1_000
_WORTH_MINIMISING = 64


class AtomKind(IntEnum):
    """How an atom compares; the order is the order of evaluation.

    The first four compare a column with a constant, the others compare two computed numbers.
    """

    AT_LEAST = 0
    EQUALS = 1
    MEMBER = 2
    PRESENT = 3
    SAME = 4
    LESS = 5
    AT_MOST = 6


class Atom(NamedTuple):
    """One comparison of a column with a constant; unknown while the column is missing, except PRESENT."""

    kind: AtomKind
    column: int
    operand: float = 0.0


class ComputedAtom(NamedTuple):
    """One comparison of two computed numbers; unknown while a column that either reads is missing.

    A NaN that was computed is not missing: it is not the same as, less than or at most anything.
    """

    kind: AtomKind
    left: Term
    right: Term


class Literal(NamedTuple):
    """An atom that must be definitely true, or (not positive) definitely false."""

    atom: Atom | ComputedAtom
    positive: bool = True


Clause = frozenset[Literal]
"""At least one of these literals must hold. The empty clause never holds."""

Clauses = frozenset[Clause]
"""All of these clauses must hold. No clauses: always true."""

TRUE: Clauses = frozenset()
FALSE: Clauses = frozenset([frozenset()])


class TooComplexError(Exception):
    """A condition that would expand to more than `MAX_CLAUSES` clauses."""


def constant(value: bool) -> Clauses:
    """The clauses that always hold, or never."""
    return TRUE if value else FALSE


def literal(atom: Atom | ComputedAtom, positive: bool = True) -> Clauses:
    """The clauses of one literal."""
    return frozenset([frozenset([Literal(atom, positive)])])


def both(left: Clauses, right: Clauses) -> Clauses:
    """Left and right."""
    return _minimal(left | right)


def either(left: Clauses, right: Clauses) -> Clauses:
    """Left or right, by distribution.

    Raises:
        TooComplexError: the product is too large.
    """
    if len(left) * len(right) > MAX_CLAUSES:
        raise TooComplexError
    return _minimal(frozenset(one | other for one in left for other in right))


def _minimal(clauses: Clauses) -> Clauses:
    """Drops each clause that a smaller one implies; large sets are left, as each is compared with each."""
    if len(clauses) > MAX_CLAUSES:
        raise TooComplexError
    if len(clauses) > _WORTH_MINIMISING:
        return clauses
    return frozenset(clause for clause in clauses if not any(other < clause for other in clauses))
