import math

import numpy as np
import pytest

from server.domain.attribute import FloatRow
from server.domain.clock import days_of, microseconds_of
from server.intelligence.conditions.clauses import AtomKind, ComputedAtom
from server.intelligence.conditions.computation import Computation
from server.intelligence.conditions.terms import TIME, Term, column, combined, constant, folded, lookup, negative
from tests.support.clock import NOON

A, B, C = (column(place) for place in range(3))


def outcome(atom: ComputedAtom, *values: float, now_days: float = 0.0) -> tuple[bool, bool]:
    """Whether an atom is definitely true, and whether it is definitely false."""
    positive, negative_ = np.zeros(1, np.bool_), np.zeros(1, np.bool_)
    Computation([atom]).evaluate(np.array(values, np.float32), now_days, positive, negative_)
    return bool(positive[0]), bool(negative_[0])


def same(left: Term, right: Term) -> ComputedAtom:
    return ComputedAtom(AtomKind.SAME, left, right)


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        (combined("+", A, B), 7.0), (combined("-", A, B), 3.0), (combined("*", A, B), 10.0), (combined("/", A, B), 2.5),
        (negative(A), -5.0), (combined("-", combined("*", A, A), combined("/", B, A)), 24.6),
        (combined("/", A, constant(0.0)), math.inf), (combined("/", A, constant(-0.0)), -math.inf),
        (lookup(2, (9.0, 8.0, 7.0)), 8.0),
    ],
)  # fmt: skip
def test_term_is_computed_in_doubles(term: Term, expected: float) -> None:
    assert outcome(same(term, constant(expected)), 5.0, 2.0, 1.0) == (True, False)
    assert outcome(same(term, constant(expected + 1e-9 if math.isfinite(expected) else 0)), 5, 2, 1) == (False, True)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (AtomKind.SAME, (1, 1), True), (AtomKind.SAME, (1, 2), False), (AtomKind.LESS, (1, 2), True),
        (AtomKind.LESS, (1, 1), False), (AtomKind.AT_MOST, (1, 1), True), (AtomKind.AT_MOST, (2, 1), False),
    ],
)  # fmt: skip
def test_atoms_compare_two_columns(kind: AtomKind, values: tuple[float, float], expected: bool) -> None:
    assert outcome(ComputedAtom(kind, A, B), *values) == (expected, not expected)


@pytest.mark.parametrize("kind", [AtomKind.SAME, AtomKind.LESS, AtomKind.AT_MOST])
def test_missing_value_is_unknown_and_computed_nan_is_false(kind: AtomKind) -> None:
    ratio = ComputedAtom(kind, combined("/", A, B), constant(1.0))

    assert outcome(ratio, math.nan, 1.0) == (False, False)
    assert outcome(ratio, 1.0, math.nan) == (False, False)
    assert outcome(ratio, 0.0, 0.0) == (False, True)
    assert outcome(ComputedAtom(kind, constant(math.nan), A), 1.0) == (False, True)
    assert outcome(ComputedAtom(kind, constant(math.nan), A), math.nan) == (False, False)
    assert outcome(ComputedAtom(kind, lookup(0, (1.0,)), B), math.nan, 1.0) == (False, False)


def test_time_is_exact_to_the_microsecond_and_missing_if_there_is_none() -> None:
    time_us = microseconds_of(NOON)
    for moment in (time_us, time_us + 1, time_us + 123_456_789_123_457, 7_258_118_399_999_999):
        assert outcome(same(TIME, constant(float(moment))), now_days=days_of(moment)) == (True, False)
        assert outcome(same(TIME, constant(moment - 1.0)), now_days=days_of(moment)) == (False, True)
    assert outcome(same(TIME, TIME), now_days=math.nan) == (False, False)


def test_many_atoms_over_many_rows_are_as_each_alone() -> None:
    terms = [A, B, combined("+", A, B), combined("/", B, C), negative(combined("*", C, constant(2.0))), TIME]
    terms += [lookup(0, (3.0, 1.0, 2.0)), lookup(1, (0.5, 1.0, 2.0)), combined("-", lookup(0, (3.0, 1.0, 2.0)), TIME)]
    kinds = (AtomKind.SAME, AtomKind.LESS, AtomKind.AT_MOST)
    atoms = [ComputedAtom(kind, left, right) for kind in kinds for left in terms for right in terms]
    values = np.array([0.0, 1.0, 2.0, np.nan], np.float32)
    rows = np.random.default_rng(1).choice(values, (3, 30)).astype(np.float32)

    together = evaluated(Computation(atoms), rows)

    for place in range(rows.shape[1]):
        alone = [outcome(atom, *rows[:, place].tolist()) for atom in atoms]
        np.testing.assert_array_equal(together[:, :, place].T, alone)
        np.testing.assert_array_equal(evaluated(Computation(atoms), np.ascontiguousarray(rows[:, place])).T, alone)


def evaluated(computation: Computation, rows: FloatRow) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    count = 3 * 9 * 9
    out = np.zeros((2, count, *rows.shape[1:]), np.bool_)
    computation.evaluate(rows, 0.0, out[0], out[1])
    return out


def test_renumbered_reads_the_same_columns_elsewhere() -> None:
    computation = Computation([same(column(7), combined("+", column(3), constant(1.0)))])
    positive, negative_ = np.zeros(1, np.bool_), np.zeros(1, np.bool_)

    assert computation.columns.tolist() == [3, 7]
    there = computation.renumbered(np.array([2, 3, 7]))
    there.evaluate(np.array([9, 4, 5], np.float32), 0.0, positive, negative_)

    assert positive[0]
    assert computation.columns.tolist() == [3, 7]


@pytest.mark.parametrize(
    ("operator", "left", "right", "expected"),
    [
        ("/", 1.0, 0.0, math.inf),
        ("/", -1.0, 0.0, -math.inf),
        ("/", 1.0, -0.0, -math.inf),
        ("*", 1e300, 1e300, math.inf),
    ],
)
def test_constants_fold_without_an_error(operator: str, left: float, right: float, expected: float) -> None:
    assert folded(operator, left, right) == expected


def test_nothing_divided_by_nothing_is_not_a_number() -> None:
    assert math.isnan(folded("/", 0.0, 0.0))


def test_constants_are_equal_if_and_only_if_they_compute_the_same() -> None:
    assert constant(math.nan) == constant(-math.nan)
    assert hash(constant(math.nan)) == hash(constant(float("nan")))
    assert constant(0.0) != constant(-0.0)
    assert constant(1.0) == constant(1.0)
