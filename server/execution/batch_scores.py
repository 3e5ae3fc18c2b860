"""The scores of a crowd: what each pair of customer and offer is worth, and how likely it converts.

The model runs once for each customer, over the offers that are eligible, as it does when a customer asks: the same
tensors go in, so the same bits come out, and whom it fails for does not depend on who else is in the crowd. What goes
in is assembled, and what comes out is calibrated, for many customers at once.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import FloatRow, IntRow
from server.domain.model import RUN_LIMIT_NS, ModelFailure, Scope
from server.execution.crowd import Crowd
from server.execution.scoring import Scorer

PAIRS_AT_ONCE = 4_096
"""How many pairs are assembled together: as much as stays near the processor until the model reads it."""


def pair_up(crowd: Crowd) -> None:
    """Every customer with every offer that is allowed."""
    crowd.customers, crowd.offers = crowd.allowed.nonzero()


def weigh(crowd: Crowd) -> None:
    """What each pair counts for if it converts: profit, times levers, times the boosts that hold for the customer."""
    policy = crowd.occasion.catalog.policy
    worth = policy.worth.take(crowd.offers)
    for boost in policy.boosts:
        holds = crowd.conditions[boost.condition]
        if holds.any():
            worth[holds.take(crowd.customers) & boost.offers.take(crowd.offers)] *= boost.factor
    crowd.worth = worth


def score(crowd: Crowd) -> None:
    """Calibrated propensities of all pairs; 0 where no model ranks, or where it failed."""
    scorer = crowd.occasion.scorer
    crowd.propensity = np.zeros(len(crowd.offers))
    if scorer is None or not len(crowd.offers):
        return
    variables = np.ascontiguousarray(crowd.variables.T)
    bounds = np.searchsorted(crowd.customers, np.arange(len(crowd) + 1))
    for first, last in _portions(bounds):
        pairs = slice(int(bounds[first]), int(bounds[last]))
        customers, offers = crowd.customers[pairs] - first, crowd.offers[pairs]
        some = _Portion(scorer, variables[first:last], customers, offers)
        output, failed = some.run((bounds[first : last + 1] - bounds[first]).tolist())
        crowd.propensity[pairs] = scorer.calibrated(output, offers)
        crowd.failed[first:last] = failed
    crowd.propensity[crowd.failed.take(crowd.customers)] = 0.0


def _portions(bounds: IntRow) -> Iterator[tuple[int, int]]:
    """Customers from here to there who have about so many pairs together, at least one customer each."""
    first, customers = 0, len(bounds) - 1
    while first < customers:
        last = int(np.searchsorted(bounds, bounds[first] + PAIRS_AT_ONCE, side="right")) - 1
        last = min(max(last, first + 1), customers)
        yield first, last
        first = last


class _Portion:
    """The tensors of some customers and their pairs."""

    def __init__(self, scorer: Scorer, variables: FloatRow, customers: IntRow, offers: IntRow) -> None:
        self._model = scorer.model
        self._of_customers: list[tuple[str, FloatRow]] = []
        self._of_pairs = [(name, rows.take(offers, axis=0)) for name, rows in scorer.offer_tensors]
        for name, (scope, rows) in scorer.plan.features.assemble_many(variables, customers, offers).items():
            (self._of_customers if scope is Scope.CUSTOMER else self._of_pairs).append((name, rows))

    def run(self, bounds: list[int]) -> tuple[FloatRow, NDArray[np.bool_]]:
        """The model's output for all pairs, and for which customers it failed; `bounds` are where their pairs begin."""
        output = np.zeros(bounds[-1], np.float32)
        failed = np.zeros(len(bounds) - 1, np.bool_)
        of_customers, of_pairs, run = self._of_customers, self._of_pairs, self._model.run
        for customer, (start, end) in enumerate(pairwise(bounds)):
            if start == end:
                continue
            tensors = {name: rows[start:end] for name, rows in of_pairs}
            for name, rows in of_customers:
                tensors[name] = rows[customer : customer + 1]
            try:
                scores = run(tensors, RUN_LIMIT_NS)
            except ModelFailure:
                failed[customer] = True
                continue
            if len(scores) == end - start:
                output[start:end] = scores
            else:
                failed[customer] = True
        return output, failed
