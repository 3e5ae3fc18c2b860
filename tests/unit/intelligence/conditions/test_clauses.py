import pytest

from server.intelligence.conditions.clauses import (
    FALSE,
    MAX_CLAUSES,
    TRUE,
    Atom,
    AtomKind,
    Clauses,
    TooComplexError,
    both,
    either,
    literal,
)

A, B, C = (literal(Atom(AtomKind.PRESENT, column)) for column in range(3))


def many(count: int, start: int = 0) -> Clauses:
    return frozenset().union(*(literal(Atom(AtomKind.EQUALS, start + n, float(n))) for n in range(count)))


def test_true_and_false_are_neutral_and_absorbing() -> None:
    assert both(A, TRUE) == A == either(A, FALSE)
    assert both(A, FALSE) == FALSE
    assert either(A, TRUE) == TRUE


def test_clause_that_a_smaller_one_implies_is_dropped() -> None:
    assert both(A, either(A, B)) == A
    assert either(A, both(A, B)) == A


def test_either_distributes_over_both() -> None:
    assert either(A, both(B, C)) == both(either(A, B), either(A, C))


def test_both_and_either_do_not_depend_on_the_order() -> None:
    assert both(A, B) == both(B, A)
    assert either(both(A, B), C) == either(C, both(B, A))


def test_too_many_clauses_are_refused() -> None:
    assert len(many(MAX_CLAUSES)) == MAX_CLAUSES
    with pytest.raises(TooComplexError):
        both(many(MAX_CLAUSES), many(1, start=2_000))
    with pytest.raises(TooComplexError):
        either(many(40), many(26, start=100))
