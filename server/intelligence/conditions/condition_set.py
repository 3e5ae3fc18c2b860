"""Conditions that stand for themselves: which of them are met by one customer in one context."""

import math
from collections.abc import Sequence

import numpy as np

from server.domain.attribute import BoolRow, FloatRow
from server.domain.catalog import Problem
from server.intelligence.conditions.clauses import Clause
from server.intelligence.conditions.predicates import Predicates
from server.intelligence.conditions.requirement import Requirement, RequirementCompiler
from server.intelligence.conditions.segments import Segments
from server.intelligence.conditions.vocabulary import Vocabulary


class ConditionSet:
    """Evaluates several conditions together, equal clauses once. Immutable once made.

    Cost: what the clauses cost, about 5 us for 50 conditions of one row, and three numpy calls.
    """

    def __init__(self, conditions: Sequence[Sequence[Clause]]) -> None:
        """Takes the clauses of each condition; a condition without clauses is always met."""
        place: dict[Clause, int] = {}
        clauses = [[place.setdefault(clause, len(place)) for clause in condition] for condition in conditions]
        self._size = len(clauses)
        self._predicates = Predicates(place)
        # Only conditions with clauses have something to be joined; the others are met whatever is known.
        self._asking = np.array([number for number, condition in enumerate(clauses) if condition], np.intp)
        self._conditions = Segments([condition for condition in clauses if condition], np.logical_and)

    @classmethod
    def compile(
        cls, requirements: Sequence[Requirement], vocabulary: Vocabulary
    ) -> tuple["ConditionSet", list[Problem]]:
        """Compiles conditions that name no offer; those with a problem are never met, and the catalog is refused."""
        compiler = RequirementCompiler(vocabulary)
        conditions: list[list[Clause]] = []
        problems: list[Problem] = []
        for requirement in requirements:
            parts, wrong = compiler.compile(requirement, {})
            problems += wrong
            conditions.append([frozenset()] if wrong else [clause for _, clauses in parts for clause in clauses])
        return cls(conditions), problems

    def __len__(self) -> int:
        return self._size

    def holds(self, variables: FloatRow, now_days: float = math.nan) -> BoolRow:
        """Which conditions are met: bool [conditions], or [conditions, rows].

        Args:
            variables: float32 [columns] for one row, or [columns, rows].
            now_days: The time of the decision in days since 2020.
        """
        met = np.ones((self._size, *variables.shape[1:]), np.bool_)
        if len(self._asking):
            met[self._asking] = self._conditions.of(self._predicates.truth(variables, now_days))
        return met
