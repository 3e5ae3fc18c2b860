"""Filters: a request's own condition over `offer.*`, evaluated for all offers at once."""

import numpy as np
from cachetools import LRUCache

from server.domain.attribute import BoolRow
from server.domain.condition import ConditionError
from server.domain.errors import invalid_field
from server.domain.offer_table import OfferTable
from server.intelligence.conditions.checker import check
from server.intelligence.conditions.compiler import compile_condition
from server.intelligence.conditions.parser import parse
from server.intelligence.conditions.predicates import Predicates
from server.intelligence.conditions.vocabulary import Vocabulary

_REMEMBERED = 256


class OfferFilter:
    """Evaluates filters over one catalog's offers. Callers repeat a few filters, so the last 256 are remembered."""

    def __init__(self, offers: OfferTable) -> None:
        self._offers = offers
        self._vocabulary = Vocabulary({"offer": offers.schema}, variables=("offer",))
        self._masks: LRUCache[str, BoolRow] = LRUCache(_REMEMBERED)

    def mask(self, text: str) -> BoolRow:
        """The offers for which a condition over `offer.*` holds: bool [offers]. Do not change it.

        Raises:
            OpportuneError: INVALID_FIELD for a condition that does not compile, with line and column.
        """
        mask = self._masks.get(text)
        if mask is None:
            mask = self._masks[text] = self._evaluate(text)
        return mask

    def _evaluate(self, text: str) -> BoolRow:
        try:
            expression = parse(text)
            problems = check(expression, self._vocabulary)
            if problems:
                raise problems[0]
            parts = compile_condition(expression, self._vocabulary, {})
        except ConditionError as problem:
            raise invalid_field("filter", str(problem)) from None
        clauses = frozenset().union(*(part for _, part in parts))
        if not clauses:
            return np.ones(len(self._offers), np.bool_)
        truth = Predicates(clauses).truth(self._offers.attributes)
        mask: BoolRow = np.logical_and.reduce(truth, axis=0)
        return mask
