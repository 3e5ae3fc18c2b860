"""Slates: the stage that fills the slots, within the limits that groups, diversity, caps and budgets set."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import IntRow
from server.domain.decision import Reason, Rung
from server.execution.evaluation import Evaluation
from server.execution.policy import ALWAYS
from server.intelligence.arbitration import Contest, arbitrate
from server.intelligence.limits import Limit
from server.intelligence.ordering import sort_key
from server.intelligence.several import Several, Share, several


def value_candidates(evaluation: Evaluation) -> None:
    """The expected value of each candidate, in the catalog's currency."""
    if len(evaluation.propensity):
        evaluation.expected_value = evaluation.propensity * evaluation.worth
        return
    # Without a model nothing is known of the propensity, and the offers rank by what they are worth.
    evaluation.propensity = evaluation.expected_value = np.zeros(len(evaluation.eligible))


def fill_slots(evaluation: Evaluation) -> None:
    """The winners of one placement."""
    contest = evaluation.contest = contest_of(evaluation, rank_key(evaluation))
    evaluation.arbitration = arbitrate(contest)
    evaluation.winners = evaluation.arbitration.winners


def fill_together(evaluations: Sequence[Evaluation]) -> None:
    """The winners of several placements, none of them twice; what is limited is limited for all of them together."""
    together = contest_together(evaluations, [rank_key(evaluation) for evaluation in evaluations])
    arbitration = arbitrate(together.contest)
    for evaluation, winners in zip(evaluations, together.split(arbitration), strict=True):
        evaluation.contest, evaluation.arbitration = together.contest, arbitration
        evaluation.winners = winners


def contest_of(evaluation: Evaluation, key: NDArray[np.float64]) -> Contest:
    """The contest for one placement among its candidates, which are ranked by these keys."""
    return Contest(
        key,
        evaluation.catalog.offers.tie_break.take(evaluation.eligible),
        evaluation.slots,
        evaluation.moment.tag,
        [*_shared_limits(evaluation, evaluation.eligible), *_own_limits(evaluation)],
        _pins(evaluation),
    )


def contest_together(evaluations: Sequence[Evaluation], keys: Sequence[NDArray[np.float64]]) -> Several:
    """The contest for several placements among the candidates of each."""
    first = evaluations[0]
    everything = np.arange(len(first.catalog.offers))
    shares = [
        Share(
            evaluation.eligible,
            key,
            evaluation.catalog.offers.tie_break.take(evaluation.eligible),
            evaluation.slots,
            _own_limits(evaluation),
            _pins(evaluation),
        )
        for evaluation, key in zip(evaluations, keys, strict=True)
    ]
    limits = [limit for evaluation in evaluations for limit in _shared_limits(evaluation, everything)]
    return several(shares, limits, seed=first.moment.tag)


def rank_key(evaluation: Evaluation) -> NDArray[np.float64]:
    """What the candidates are ranked by."""
    eligible = evaluation.eligible
    if evaluation.rung is Rung.DEFAULT:
        return -np.arange(len(eligible), dtype=np.float64)
    has_model = evaluation.placement.model is not None
    key = evaluation.expected_value if has_model else evaluation.worth
    if not evaluation.query.order_by:
        return key
    keys = {"expected_value": key, "propensity": evaluation.propensity, "value": evaluation.value}
    return sort_key(evaluation.query.order_by, keys, evaluation.catalog.offers, eligible)


def _own_limits(evaluation: Evaluation) -> list[Limit]:
    """The limits of the placement itself: so many of a group, so many alike."""
    eligible, policy, placement = evaluation.eligible, evaluation.catalog.policy, evaluation.placement
    limits = [
        Limit(sorts.keys.take(eligible), np.full(sorts.size, float(sorts.most)), Reason.DIVERSITY)
        for sorts in placement.sorts
    ]
    if policy.group_ids:
        room = np.full(len(policy.group_ids), float(placement.placement.max_per_group))
        limits.append(Limit(policy.groups.take(eligible), room, Reason.EXCLUSION_GROUP))
    return limits


def _shared_limits(evaluation: Evaluation, offers: IntRow) -> Iterator[Limit]:
    """What caps and budgets leave for the decision as a whole, over these offers."""
    for room in evaluation.rooms:
        bound = None if room.carriers.all() else room.carriers.take(offers)
        yield Limit(room.keys.take(offers), room.room, Reason.CAP, None, bound)
    for short in evaluation.short:
        limit = short.limit
        amounts = limit.amounts.take(offers)
        keys = np.where(amounts > 0, 0, -1)
        bound = limit.carriers.take(offers)
        yield Limit(keys, np.array([float(short.left)]), limit.reason, amounts.astype(np.float64), bound)


def _pins(evaluation: Evaluation) -> list[tuple[int, int]]:
    """The slots that rules give away, with the candidates that may take them."""
    eligible = evaluation.eligible
    pins: list[tuple[int, int]] = []
    for pin in evaluation.catalog.policy.pins:
        if pin.condition != ALWAYS and not evaluation.conditions[pin.condition]:
            continue
        _, places, _ = np.intersect1d(eligible, pin.offers, assume_unique=True, return_indices=True)
        pins += [(pin.slot, place) for place in places.tolist()]
    return pins
