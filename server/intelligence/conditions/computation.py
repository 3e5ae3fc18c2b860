"""Terms as arrays: every computed number of a catalog in a few numpy calls, in float64.

Terms are laid out in levels: first what is read and what is known, then whatever can be computed from the levels
before it, one numpy call for all terms of an operation. A catalog that computes nothing has no computation at all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, FloatRow, IntRow
from server.domain.clock import EPOCH_DAYS, MICROSECONDS_PER_DAY
from server.intelligence.conditions.clauses import AtomKind, ComputedAtom
from server.intelligence.conditions.segments import Segments
from server.intelligence.conditions.terms import TIME, Operation, Term

Numbers = NDArray[np.float64]

_OPERATE: dict[Operation, Callable[..., Any]] = {
    Operation.NEGATE: np.negative,
    Operation.ADD: np.add,
    Operation.SUBTRACT: np.subtract,
    Operation.MULTIPLY: np.multiply,
    Operation.DIVIDE: np.divide,
}
_COMPARE: dict[AtomKind, Callable[..., Any]] = {
    AtomKind.SAME: np.equal,
    AtomKind.LESS: np.less,
    AtomKind.AT_MOST: np.less_equal,
}


@dataclass(frozen=True, slots=True)
class _Operate:
    """One operation for all its terms of a level: from the places of their parts to their own, which stand together."""

    function: Callable[..., Any]
    parts: tuple[IntRow, ...]
    result: slice

    def run(self, numbers: Numbers, present: BoolRow) -> None:
        self.function(*(numbers.take(part, axis=0) for part in self.parts), out=numbers[self.result])


@dataclass(frozen=True, slots=True)
class _LookUp:
    """Reads each code's value in a table; `starts` are the places in it where the values of each term begin."""

    codes: IntRow
    starts: IntRow
    table: Numbers
    result: slice

    def run(self, numbers: Numbers, present: BoolRow) -> None:
        # What is missing is read as the first value, which does not matter: whatever depends on it stays unknown.
        codes = np.where(present.take(self.codes, axis=0), numbers.take(self.codes, axis=0), 0).astype(np.intp)
        starts = self.starts[:, None] if codes.ndim > 1 else self.starts
        self.table.take(codes + starts, out=numbers[self.result], mode="clip")


@dataclass(frozen=True, slots=True)
class _Compare:
    """One comparison for all its atoms, which stand together: of numbers at these places."""

    function: Callable[..., Any]
    left: IntRow
    right: IntRow
    result: slice

    def run(self, numbers: Numbers, outcome: BoolRow) -> None:
        self.function(numbers.take(self.left, axis=0), numbers.take(self.right, axis=0), out=outcome[self.result])


class Computation:
    """Evaluates distinct comparisons of terms. Immutable once made."""

    def __init__(self, atoms: Sequence[ComputedAtom]) -> None:
        """Lays out the terms of these atoms, which are sorted by kind."""
        terms = {term for atom in atoms for side in (atom.left, atom.right) for term in _within(side)}
        read = sorted(term for term in terms if term.operation is Operation.COLUMN)
        known = sorted(term for term in terms if term.operation is Operation.CONSTANT)
        place = {term: number for number, term in enumerate([*read, TIME, *known])}
        self._columns = np.array([term.number for term in read], np.intp)
        self._known = np.array([term.number for term in known], np.float64)
        self._first = len(place)
        self._steps = tuple(_steps(terms, place))
        self._size = len(place)
        self._comparisons = tuple(_comparisons(atoms, place))
        self._atoms = len(atoms)
        self._sources = Segments([sorted(place[term] for term in _sources(atom)) for atom in atoms], np.logical_and)

    @property
    def columns(self) -> IntRow:
        """The columns that are read, sorted."""
        return self._columns

    def renumbered(self, columns: IntRow) -> "Computation":
        """The same over vectors that hold these columns only, which are sorted and include all that are read."""
        other = copy(self)
        other._columns = np.searchsorted(columns, self._columns).astype(np.intp)
        return other

    def evaluate(self, variables: FloatRow, now_days: float, positive: BoolRow, negative: BoolRow) -> None:
        """Writes which comparisons are definitely true and which are definitely false.

        Args:
            variables: float32 [columns] for one row, or [columns, rows].
            now_days: The time of the decision in days since 2020; NaN if there is none, which is missing.
            positive, negative: bool [atoms], or [atoms, rows].
        """
        rows = variables.shape[1:]
        numbers = np.empty((self._size, *rows))
        time = len(self._columns)
        numbers[:time] = variables.take(self._columns, axis=0)
        numbers[time] = _time_us(now_days)
        numbers[time + 1 : self._first] = self._known[:, None] if rows else self._known
        present = np.logical_not(np.isnan(numbers[: time + 1]))
        with np.errstate(all="ignore"):
            for step in self._steps:
                step.run(numbers, present)
        known = self._sources.of(present)
        outcome = np.empty((self._atoms, *rows), np.bool_)
        for comparison in self._comparisons:
            comparison.run(numbers, outcome)
        np.logical_and(known, outcome, positive)
        np.greater(known, outcome, negative)


def _time_us(now_days: float) -> float:
    """Microseconds since 1970; days tell them apart until 2199, so rounding finds them again."""
    return float(np.rint(now_days * MICROSECONDS_PER_DAY)) + EPOCH_DAYS * MICROSECONDS_PER_DAY


def _within(term: Term) -> Iterator[Term]:
    """A term and everything that it is computed from."""
    yield term
    for part in term.parts:
        yield from _within(part)


def _sources(atom: ComputedAtom) -> set[Term]:
    """What must be present for an atom to be known: at least one, as what is known beforehand is never compared."""
    read = (Operation.COLUMN, Operation.TIME)
    return {term for side in (atom.left, atom.right) for term in _within(side) if term.operation in read}


def _steps(terms: set[Term], place: dict[Term, int]) -> Iterator[_Operate | _LookUp]:
    """The steps in an order in which each finds its parts computed; gives every term its place."""
    left = sorted(terms - place.keys())
    while left:
        ready = [term for term in left if all(part in place for part in term.parts)]
        for operation, group in groupby(ready, key=lambda term: term.operation):
            members = list(group)
            first = len(place)
            yield _step(operation, members, place)
            place.update({term: first + number for number, term in enumerate(members)})
        left = [term for term in left if term not in place]


def _step(operation: Operation, members: Sequence[Term], place: Mapping[Term, int]) -> _Operate | _LookUp:
    result = slice(len(place), len(place) + len(members))
    parts = tuple(
        np.array([place[part] for part in each], np.intp)
        for each in zip(*(term.parts for term in members), strict=True)
    )
    if operation is not Operation.LOOKUP:
        return _Operate(_OPERATE[operation], parts, result)
    starts = np.cumsum([0, *(len(term.table) for term in members)])[:-1].astype(np.intp)
    return _LookUp(parts[0], starts, np.array([value for term in members for value in term.table]), result)


def _comparisons(atoms: Sequence[ComputedAtom], place: Mapping[Term, int]) -> Iterator[_Compare]:
    start = 0
    for kind, group in groupby(atoms, key=lambda atom: atom.kind):
        members = list(group)
        left = np.array([place[atom.left] for atom in members], np.intp)
        right = np.array([place[atom.right] for atom in members], np.intp)
        yield _Compare(_COMPARE[kind], left, right, slice(start, start + len(members)))
        start += len(members)
