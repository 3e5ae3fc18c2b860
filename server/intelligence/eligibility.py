"""Eligibility: which offers a customer's conditions let through, as sets of offers for each distinct clause.

Sketch for 1,000 offers and 200 distinct clauses: truth of all clauses 4 us, OR of the failing clauses' bit sets
(128 bytes each) 5 us. A clause that nobody could evaluate does not hold, so nothing fails open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, FloatRow, IntRow
from server.domain.catalog import Problem
from server.domain.offer import Offer
from server.domain.offer_table import values_of
from server.intelligence.conditions.clauses import Clause, ComputedAtom
from server.intelligence.conditions.predicates import Predicates
from server.intelligence.conditions.requirement import Requirement, RequirementCompiler
from server.intelligence.conditions.vocabulary import Vocabulary

MAX_COMPUTED = 10_000
"""How many different comparisons of computed numbers the conditions of one catalog may have."""

Words = NDArray[np.uint64]


_RARE = 16
"""A clause that so few offers need is kept as pairs; a bit set costs its length, however few need it."""

_MANY_WORDS = 1 << 14
"""Bit sets that are not larger together cost less than two ways of keeping clauses."""


@dataclass(frozen=True, slots=True)
class Eligibility:
    """The conditions of all offers of a catalog. Clauses are numbered as the catalog writes them.

    Attributes:
        predicates: The distinct clauses.
        common: The clauses that more than a few offers need; None: all of them.
        needs: uint64 [common clauses, words], bit `i` of a row: offer `i` needs the clause.
        rare_clauses, rare_offers: Pairs of another clause and an offer that needs it.
        texts: Each clause as the catalog writes it.
        failures: What an explanation says where a clause does not hold.
        size: How many offers there are.
    """

    predicates: Predicates
    common: IntRow | None
    needs: Words
    rare_clauses: IntRow
    rare_offers: IntRow
    texts: tuple[str, ...]
    failures: tuple[str, ...]
    size: int

    def eligible(self, truth: BoolRow, standing: Words) -> BoolRow:
        """Which offers have all their clauses and may stand otherwise: bool [offers].

        Args:
            truth: Which clauses hold, bool [clauses].
            standing: Which offers nothing else excludes, as `pack` gives it.
        """
        failed = np.logical_not(truth)
        common = failed if self.common is None else failed.take(self.common)
        excluded = np.bitwise_or.reduce(self.needs.take(common.nonzero()[0], axis=0))
        words = np.bitwise_and(standing, np.invert(excluded, excluded), excluded)
        allowed = np.unpackbits(words.view(np.uint8), count=self.size, bitorder="little").view(np.bool_)
        if self.common is not None:
            allowed[self.rare_offers[failed.take(self.rare_clauses)]] = False
        return allowed

    def eligible_many(self, truth: BoolRow) -> BoolRow:
        """Which offers have all their clauses, for many customers: bool [customers, offers].

        Cost for 1,000 customers and 200 clauses, of which each fails for a third: 1 ms and what is unpacked.

        Args:
            truth: Which clauses hold, bool [clauses, customers].
        """
        failed = np.logical_not(truth)
        excluded = np.zeros((truth.shape[1], self.needs.shape[1]), np.uint64)
        for need, clause in zip(self.needs, failed if self.common is None else failed[self.common], strict=True):
            # Only those for whom it fails are touched, so that many offers cost what they cost one by one.
            customers = clause.nonzero()[0]
            excluded[customers] |= need
        np.invert(excluded, excluded)
        allowed = np.unpackbits(excluded.view(np.uint8), axis=1, count=self.size, bitorder="little").view(np.bool_)
        if self.common is not None:
            pairs, customers = failed[self.rare_clauses].nonzero()
            allowed[customers, self.rare_offers[pairs]] = False
        return allowed

    def truth(self, variables: FloatRow, now_days: float) -> BoolRow:
        """Which clauses hold: bool [clauses] for one customer and context, or [clauses, customers] for many.

        Args:
            variables: float32 [columns] as `VariableReader` gives them, or [columns, customers].
            now_days: The time of the decision in days since 2020.
        """
        return self.predicates.truth(variables, now_days)

    def clauses_of(self, offer: int) -> IntRow:
        """The clauses that an offer needs, in the order in which they are explained."""
        word, bit = divmod(offer, 64)
        common = np.flatnonzero(self.needs[:, word] >> np.uint64(bit) & np.uint64(1))
        if self.common is None:
            return common
        return np.union1d(self.common[common], self.rare_clauses[self.rare_offers == offer])

    def offers_of(self, clause: int) -> IntRow:
        """The offers that need a clause, in their order."""
        if self.common is None:
            row = clause
        else:
            place = int(np.searchsorted(self.common, clause))
            if place == len(self.common) or self.common[place] != clause:
                return np.sort(self.rare_offers[self.rare_clauses == clause])
            row = place
        flags = np.unpackbits(self.needs[row].view(np.uint8), count=self.size, bitorder="little")
        return flags.nonzero()[0]


def pack(flags: BoolRow) -> Words:
    """A bit set of offers: uint64 [words] with bit `i` for flag `i`, from bool [offers]."""
    words = np.zeros(-(-len(flags) // 64), np.uint64)
    words.view(np.uint8)[: -(-len(flags) // 8)] = np.packbits(flags, bitorder="little")
    return words


def compile_eligibility(
    offers: Sequence[Offer], vocabulary: Vocabulary, further: Sequence[Sequence[Requirement]] = ()
) -> tuple[Eligibility, list[Problem]]:
    """Compiles every offer's condition, and whatever else each offer requires.

    Args:
        further: For each offer, its requirements beside `eligible`; empty: there are none.

    Returns:
        The eligibility and the problems; a requirement with a problem is left out, and the catalog is refused.
    """
    compiler = _EligibilityCompiler(vocabulary)
    for place, offer in enumerate(offers):
        own = Requirement(f"offers[{place}].eligible", offer.eligible)
        compiler.add(place, offer, (own, *(further[place] if further else ())))
    return compiler.result(len(offers))


class _Written(NamedTuple):
    """A clause as one entry writes it: written in two ways it stands twice, so that each offer has its own words."""

    clause: Clause
    text: str
    failure: str


class _EligibilityCompiler:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self._compiler = RequirementCompiler(vocabulary)
        self._offers_of: dict[_Written, list[int]] = {}
        # One rule for many offers has one problem, not one for each of them.
        self._problems: dict[Problem, None] = {}
        self._computed: set[ComputedAtom] = set()

    def add(self, place: int, offer: Offer, requirements: Sequence[Requirement]) -> None:
        values = values_of(offer)
        for requirement in requirements:
            parts, problems = self._compiler.compile(requirement, values)
            self._problems.update(dict.fromkeys(problems))
            for part, clauses in parts:
                for clause in clauses:
                    written = _written(clause, part, requirement)
                    if written not in self._offers_of:
                        self._count(clause, requirement)
                    self._offers_of.setdefault(written, []).append(place)

    def result(self, size: int) -> tuple[Eligibility, list[Problem]]:
        """The eligibility over so many offers, and the problems."""
        offers = [np.array(places, np.intp) for places in self._offers_of.values()]
        words = -(-size // 64)
        few = _RARE if len(offers) * words > _MANY_WORDS else 0
        common = [clause for clause, places in enumerate(offers) if len(places) > few]
        rare = [clause for clause, places in enumerate(offers) if len(places) <= few]
        needs = np.zeros((len(common), words), np.uint64)
        for row, clause in enumerate(common):
            flags = np.zeros(size, np.bool_)
            flags[offers[clause]] = True
            needs[row] = pack(flags)
        written = list(self._offers_of)
        eligibility = Eligibility(
            predicates=Predicates(each.clause for each in written),
            common=np.array(common, np.intp) if rare else None,
            needs=needs,
            rare_clauses=np.repeat(np.array(rare, np.intp), [len(offers[clause]) for clause in rare]),
            rare_offers=np.concatenate([np.empty(0, np.intp), *(offers[clause] for clause in rare)]),
            texts=tuple(each.text for each in written),
            failures=tuple(each.failure for each in written),
            size=size,
        )
        return eligibility, list(self._problems)

    def _count(self, clause: Clause, requirement: Requirement) -> None:
        """Notes what a new clause computes; too much is one problem, where it becomes too much."""
        computed = {literal.atom for literal in clause if isinstance(literal.atom, ComputedAtom)} - self._computed
        if len(self._computed) <= MAX_COMPUTED < len(self._computed) + len(computed):
            problem = f"the catalog's conditions compare more than {MAX_COMPUTED:,} different computed numbers"
            self._problems[Problem(requirement.path, problem)] = None
        self._computed |= computed


def _written(clause: Clause, part: str, requirement: Requirement) -> _Written:
    if requirement.words:
        return _Written(clause, f"not {requirement.words}", requirement.words)
    text = part if requirement.holds else f"!({part})"
    return _Written(clause, text, f"does not hold: {text}")
