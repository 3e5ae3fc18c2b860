"""Eligibility: which offers a customer's conditions let through, as bit sets over the distinct clauses.

Sketch for 1,000 offers and 200 distinct clauses: truth of all clauses 10 us, OR of the failing clauses' bit sets
(128 bytes each) 10 us. A clause that nobody could evaluate does not hold, so nothing fails open.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, FloatRow, IntRow
from server.domain.catalog import Problem
from server.domain.condition import ConditionError, Expression
from server.domain.offer import Offer
from server.intelligence.conditions.checker import check
from server.intelligence.conditions.clauses import Clause, Clauses
from server.intelligence.conditions.compiler import compile_condition
from server.intelligence.conditions.parser import parse
from server.intelligence.conditions.predicates import Predicates
from server.intelligence.conditions.vocabulary import Vocabulary

Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Eligibility:
    """The conditions of all offers of a catalog.

    Attributes:
        predicates: The distinct clauses.
        needs: uint64 [clauses, words], bit `i` of a row: offer `i` needs the clause.
        texts: Each clause as the catalog writes it.
        size: How many offers there are.
    """

    predicates: Predicates
    needs: Words
    texts: tuple[str, ...]
    size: int

    def eligible(self, truth: BoolRow, standing: Words) -> BoolRow:
        """Which offers have all their clauses and may stand otherwise: bool [offers].

        Args:
            truth: Which clauses hold, bool [clauses].
            standing: Which offers nothing else excludes, as `pack` gives it.
        """
        excluded = np.bitwise_or.reduce(self.needs.take(np.logical_not(truth).nonzero()[0], axis=0))
        allowed = np.bitwise_and(standing, np.invert(excluded, excluded), excluded)
        return np.unpackbits(allowed.view(np.uint8), count=self.size, bitorder="little").view(np.bool_)

    def truth(self, variables: FloatRow) -> BoolRow:
        """Which clauses hold for the variables of one customer and context: bool [clauses]."""
        return self.predicates.truth(variables)

    def clauses_of(self, offer: int) -> IntRow:
        """The clauses that an offer needs, in the order in which they are explained."""
        word, bit = divmod(offer, 64)
        return np.flatnonzero(self.needs[:, word] >> np.uint64(bit) & np.uint64(1))


def pack(flags: BoolRow) -> Words:
    """A bit set of offers: uint64 [words] with bit `i` for flag `i`, from bool [offers]."""
    words = np.zeros(-(-len(flags) // 64), np.uint64)
    words.view(np.uint8)[: -(-len(flags) // 8)] = np.packbits(flags, bitorder="little")
    return words


def compile_eligibility(offers: Sequence[Offer], vocabulary: Vocabulary) -> tuple[Eligibility, list[Problem]]:
    """Compiles every offer's condition; offers with a problem are left without clauses, and the catalog is refused."""
    compiler = _EligibilityCompiler(vocabulary)
    problems: list[Problem] = []
    for place, offer in enumerate(offers):
        problems += [Problem(f"offers[{place}].eligible", str(problem)) for problem in compiler.add(place, offer)]
    return compiler.result(len(offers)), problems


class _EligibilityCompiler:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._parsed: dict[str, Expression | list[ConditionError]] = {}
        self._compiled: dict[str, list[tuple[str, Clauses]]] = {}
        # A clause that is written in two ways stands twice, so that each offer is explained in its own words.
        self._offers_of: dict[tuple[Clause, str], list[int]] = {}

    def add(self, place: int, offer: Offer) -> list[ConditionError]:
        text = offer.eligible.strip()
        if not text:
            return []
        expression = self._parse(text)
        if isinstance(expression, list):
            return expression
        try:
            parts = self._compile(text, expression, offer)
        except ConditionError as problem:
            return [problem]
        for part, clauses in parts:
            for clause in clauses:
                self._offers_of.setdefault((clause, part or text), []).append(place)
        return []

    def result(self, size: int) -> Eligibility:
        needs = np.zeros((len(self._offers_of), -(-size // 64)), np.uint64)
        for row, places in enumerate(self._offers_of.values()):
            flags = np.zeros(size, np.bool_)
            flags[places] = True
            needs[row] = pack(flags)
        clauses, texts = [clause for clause, _ in self._offers_of], tuple(text for _, text in self._offers_of)
        return Eligibility(Predicates(clauses), needs, texts, size)

    def _parse(self, text: str) -> Expression | list[ConditionError]:
        if text not in self._parsed:
            try:
                expression = parse(text)
                self._parsed[text] = check(expression, self._vocabulary) or expression
            except ConditionError as problem:
                self._parsed[text] = [problem]
        return self._parsed[text]

    def _compile(self, text: str, expression: Expression, offer: Offer) -> list[tuple[str, Clauses]]:
        # A condition that does not mention the offer means the same for every offer.
        if "offer" in text:
            return compile_condition(expression, self._vocabulary, offer.attributes)
        if text not in self._compiled:
            self._compiled[text] = compile_condition(expression, self._vocabulary, {})
        return self._compiled[text]
