"""Clauses as arrays: the truth of every distinct atom and clause of a catalog in a handful of numpy calls.

Cost for 200 atoms of one customer: about ten numpy calls of 1 us each. The same arrays evaluate one condition over
many rows at once, with rows of atoms instead of single ones.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from server.domain.attribute import BoolRow, FloatRow, IntRow
from server.intelligence.conditions.clauses import Atom, AtomKind, Clause, ComputedAtom
from server.intelligence.conditions.computation import Computation
from server.intelligence.conditions.segments import Segments

Evaluate = Callable[[FloatRow, FloatRow, BoolRow, BoolRow | None], None]
"""Writes where values compare with operands as the literal says, and where as its negation says (None: nobody asks)."""


@dataclass(frozen=True, slots=True)
class _Group:
    """The atoms of one kind: what they compare their columns with, and where their literals stand.

    `positive` is also where the atoms stand among all of them.
    """

    evaluate: Evaluate
    operands: FloatRow
    positive: slice
    negative: slice
    negated: bool


class Predicates:
    """Evaluates distinct clauses. Immutable once made.

    Literals stand in one vector: the positive literal of atom `a` at `a`, its negative at `a + atoms`.
    """

    def __init__(self, clauses: Iterable[Clause]) -> None:
        ordered = list(clauses)
        atoms = sorted({literal.atom for clause in ordered for literal in clause})
        negated = {literal.atom for clause in ordered for literal in clause if not literal.positive}
        plain = [atom for atom in atoms if isinstance(atom, Atom)]
        # Atoms are sorted by kind, and those that compare computed numbers come last.
        computed = [atom for atom in atoms if isinstance(atom, ComputedAtom)]
        self._groups = tuple(_groups(plain, negated, len(atoms)))
        self._columns = np.array([atom.column for atom in plain], np.intp)
        self._computation = Computation(computed) if computed else None
        self._plain, self._atoms = len(plain), len(atoms)
        number = {atom: place for place, atom in enumerate(atoms)}
        literals = [
            [number[literal.atom] + (0 if literal.positive else len(atoms)) for literal in sorted(clause)]
            for clause in ordered
        ]
        # The empty clause never holds; it gets a literal of its own, which is never set.
        never = 2 * len(atoms)
        self._clauses = Segments([places or [never] for places in literals], np.logical_or)

    def __len__(self) -> int:
        return len(self._clauses)

    @property
    def columns(self) -> IntRow:
        """The columns that the clauses read, sorted."""
        computed = self._computation.columns if self._computation is not None else self._columns
        return np.union1d(self._columns, computed)

    def renumbered(self, columns: IntRow) -> "Predicates":
        """The same over vectors that hold these columns only, which are sorted and include all that are read."""
        other = copy(self)
        other._columns = np.searchsorted(columns, self._columns).astype(np.intp)
        if self._computation is not None:
            other._computation = self._computation.renumbered(columns)
        return other

    def truth(self, variables: FloatRow, now_days: float = math.nan) -> BoolRow:
        """Which clauses hold.

        Args:
            variables: float32 [columns] for one row, or [columns, rows].
            now_days: The time of the decision in days since 2020. Without one, nothing holds that asks for it.

        Returns:
            bool [clauses], or [clauses, rows].
        """
        return self._clauses.of(self._literal_truth(variables, now_days))

    def _literal_truth(self, variables: FloatRow, now_days: float) -> BoolRow:
        """Truth of every literal; a comparison with NaN is false, so a missing value makes neither of a pair hold."""
        rows = variables.shape[1:]
        held = np.zeros((2 * self._atoms + 1, *rows), np.bool_)
        values_of_atoms = variables.take(self._columns, axis=0)
        for group in self._groups:
            values = values_of_atoms[group.positive]
            operands = group.operands[:, None] if rows else group.operands
            group.evaluate(values, operands, held[group.positive], held[group.negative] if group.negated else None)
        if self._computation is not None:
            positive, negative = slice(self._plain, self._atoms), slice(self._plain + self._atoms, 2 * self._atoms)
            self._computation.evaluate(variables, now_days, held[positive], held[negative])
        return held


def _at_least(values: FloatRow, operands: FloatRow, positive: BoolRow, negative: BoolRow | None) -> None:
    np.greater_equal(values, operands, positive)
    if negative is not None:
        np.less(values, operands, negative)


def _equals(values: FloatRow, operands: FloatRow, positive: BoolRow, negative: BoolRow | None) -> None:
    np.equal(values, operands, positive)
    if negative is not None:
        np.logical_or(values < operands, values > operands, negative)


def _member(values: FloatRow, operands: FloatRow, positive: BoolRow, negative: BoolRow | None) -> None:
    # A missing value is read as no member at all; only a value that is there can lack one.
    np.not_equal(np.fmax(values, 0).astype(np.int32) & operands.astype(np.int32), 0, positive)
    if negative is not None:
        np.greater(values >= 0, positive, negative)


def _present(values: FloatRow, operands: FloatRow, positive: BoolRow, negative: BoolRow | None) -> None:
    np.equal(values, values, positive)
    if negative is not None:
        np.not_equal(values, values, negative)


_EVALUATE: dict[AtomKind, Evaluate] = {
    AtomKind.AT_LEAST: _at_least,
    AtomKind.EQUALS: _equals,
    AtomKind.MEMBER: _member,
    AtomKind.PRESENT: _present,
}


def _groups(atoms: list[Atom], negated: set[Atom | ComputedAtom], count: int) -> Iterator[_Group]:
    """The atoms, which are sorted by kind, in groups of one kind each; `count` is that of all atoms."""
    start = 0
    for kind, members in groupby(atoms, key=lambda atom: atom.kind):
        mine = list(members)
        end = start + len(mine)
        yield _Group(
            evaluate=_EVALUATE[kind],
            operands=np.array([atom.operand for atom in mine], np.float32),
            positive=slice(start, end),
            negative=slice(start + count, end + count),
            negated=not negated.isdisjoint(mine),
        )
        start = end
