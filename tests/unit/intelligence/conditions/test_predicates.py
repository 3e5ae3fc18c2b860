import numpy as np
import pytest

from server.domain.attribute import FloatRow
from server.intelligence.conditions.clauses import Atom, AtomKind, Clause, Literal
from server.intelligence.conditions.predicates import Predicates

NAN = float("nan")


def clause(*literals: tuple[Atom, bool]) -> Clause:
    return frozenset(Literal(atom, positive) for atom, positive in literals)


def row(*values: float) -> FloatRow:
    return np.array(values, np.float32)


def truth(atom: Atom, value: float) -> tuple[bool, bool]:
    """Whether the atom is definitely true, and whether it is definitely false."""
    held = Predicates([clause((atom, True)), clause((atom, False))]).truth(row(value))
    return bool(held[0]), bool(held[1])


@pytest.mark.parametrize(
    ("kind", "operand", "value", "expected"),
    [
        (AtomKind.AT_LEAST, 5.0, 5.0, True), (AtomKind.AT_LEAST, 5.0, 4.5, False),
        (AtomKind.EQUALS, 5.0, 5.0, True), (AtomKind.EQUALS, 5.0, 4.0, False), (AtomKind.EQUALS, 5.0, 6.0, False),
        (AtomKind.MEMBER, 4.0, 5.0, True), (AtomKind.MEMBER, 2.0, 5.0, False), (AtomKind.MEMBER, 2.0, 0.0, False),
        (AtomKind.MEMBER, float(1 << 23), float((1 << 24) - 1), True),
        (AtomKind.PRESENT, 0.0, 0.0, True), (AtomKind.PRESENT, 0.0, NAN, False),
    ],
)  # fmt: skip
def test_atom_is_true_or_false_of_a_value(kind: AtomKind, operand: float, value: float, expected: bool) -> None:
    assert truth(Atom(kind, 0, operand), value) == (expected, not expected)


@pytest.mark.parametrize("kind", [AtomKind.AT_LEAST, AtomKind.EQUALS, AtomKind.MEMBER])
def test_atom_is_neither_true_nor_false_of_a_missing_value(kind: AtomKind) -> None:
    assert truth(Atom(kind, 0, 1.0), NAN) == (False, False)


def test_clause_holds_if_one_of_its_literals_does() -> None:
    first, second = Atom(AtomKind.EQUALS, 0, 1.0), Atom(AtomKind.AT_LEAST, 1, 2.0)
    predicates = Predicates([clause((first, True), (second, True)), clause((first, True)), frozenset()])

    assert predicates.truth(row(1, 0)).tolist() == [True, True, False]
    assert predicates.truth(row(0, 2)).tolist() == [True, False, False]
    assert predicates.truth(row(0, NAN)).tolist() == [False, False, False]


def test_empty_clause_never_holds() -> None:
    assert Predicates([frozenset()]).truth(row(1)).tolist() == [False]


def test_without_clauses_nothing_is_evaluated() -> None:
    predicates = Predicates([])

    assert len(predicates) == 0
    assert predicates.truth(row(1)).tolist() == []


def test_many_rows_are_evaluated_as_each_alone() -> None:
    atoms = [
        Atom(kind, column, operand)
        for kind in (AtomKind.AT_LEAST, AtomKind.EQUALS, AtomKind.MEMBER, AtomKind.PRESENT)
        for column in range(3)
        for operand in (0.0 if kind is AtomKind.PRESENT else 1.0, 0.0 if kind is AtomKind.PRESENT else 2.0)
    ]
    clauses = list(dict.fromkeys(clause((one, True), (other, False)) for one in atoms for other in atoms))
    predicates = Predicates(clauses)
    rows = np.random.default_rng(1).choice([NAN, 0.0, 1.0, 2.0, 3.0], (3, 20)).astype(np.float32)

    together = predicates.truth(rows)

    assert together.shape == (len(clauses), 20)
    for place in range(20):
        np.testing.assert_array_equal(together[:, place], predicates.truth(np.ascontiguousarray(rows[:, place])))
