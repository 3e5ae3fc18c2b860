"""Slates: the stage that fills the slots, within the limits that groups, diversity, caps and budgets set."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import IntRow
from server.domain.decision import Reason, Rung
from server.execution.evaluation import Evaluation, Slate
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
    _show(evaluation, evaluation.arbitration.winners)


def fill_together(evaluations: Sequence[Evaluation]) -> None:
    """The winners of several placements, none of them twice; what is limited is limited for all of them together."""
    together = contest_together(evaluations, [rank_key(evaluation) for evaluation in evaluations])
    arbitration = arbitrate(together.contest)
    splits = zip(evaluations, together.split(arbitration), together.first_rows, strict=True)
    for evaluation, winners, first_row in splits:
        evaluation.contest, evaluation.arbitration, evaluation.first_row = together.contest, arbitration, first_row
        _show(evaluation, winners)


def _show(evaluation: Evaluation, winners: IntRow) -> None:
    evaluation.winners = winners
    evaluation.slate = Slate(
        evaluation.eligible.take(winners), evaluation.propensity.take(winners), evaluation.expected_value.take(winners)
    )


def contest_of(evaluation: Evaluation, key: NDArray[np.float64]) -> Contest:
    """The contest for one placement among its candidates, which are ranked by these keys."""
    return Contest(
        key,
        evaluation.catalog.offers.tie_break.take(evaluation.eligible),
        evaluation.slots,
        evaluation.moment.tag,
        [*(limit for _, limit in _shared_limits(evaluation, evaluation.eligible)), *_own_limits(evaluation)],
        pins_of(evaluation),
    )


def contest_together(evaluations: Sequence[Evaluation], keys: Sequence[NDArray[np.float64]]) -> Several:
    """The contest for several placements among the candidates of each."""
    shares = [
        Share(
            evaluation.eligible,
            key,
            evaluation.catalog.offers.tie_break.take(evaluation.eligible),
            evaluation.slots,
            _own_limits(evaluation),
            pins_of(evaluation),
        )
        for evaluation, key in zip(evaluations, keys, strict=True)
    ]
    together = several(shares, (), seed=evaluations[0].moment.tag)
    limits = [*together.contest.limits, *_groups_together(evaluations), *_limits_together(evaluations)]
    return together._replace(contest=together.contest._replace(limits=limits))


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
    eligible, placement = evaluation.eligible, evaluation.placement
    limits = [
        Limit(sorts.keys.take(eligible), sorts.room, Reason.DIVERSITY, even=sorts.most) for sorts in placement.sorts
    ]
    if len(placement.group_room):
        groups = evaluation.catalog.policy.groups.take(eligible)
        most = placement.placement.max_per_group
        limits.append(Limit(groups, placement.group_room, Reason.EXCLUSION_GROUP, even=most))
    return limits


def _groups_together(evaluations: Sequence[Evaluation]) -> Iterator[Limit]:
    """An exclusion group shows as many in the whole decision as the placement that takes the most shows alone."""
    policy = evaluations[0].catalog.policy
    if policy.group_ids:
        most = evaluations[0].most.of_group
        offers = np.concatenate([evaluation.eligible for evaluation in evaluations])
        room = np.full(len(policy.group_ids), float(most))
        yield Limit(policy.groups.take(offers), room, Reason.EXCLUSION_GROUP, even=most)


def _limits_together(evaluations: Sequence[Evaluation]) -> Iterator[Limit]:
    """What caps and budgets leave, over the candidates of one placement after those of the other.

    All placements have found the same limits, but for those of a channel, which are for its placements alone.
    """
    offers = np.concatenate([evaluation.eligible for evaluation in evaluations])
    channels = np.repeat([each.channel for each in evaluations], [len(each.eligible) for each in evaluations])
    yield from (limit for of_channel, limit in _shared_limits(evaluations[0], offers) if not of_channel)
    for channel, evaluation in {each.channel: each for each in evaluations}.items():
        for of_channel, limit in _shared_limits(evaluation, offers):
            if of_channel:
                yield limit._replace(keys=np.where(channels == channel, limit.keys, -1))


def _shared_limits(evaluation: Evaluation, offers: IntRow) -> Iterator[tuple[bool, Limit]]:
    """What caps and budgets leave for the decision as a whole, over these offers; first whether it is of a channel."""
    for room in evaluation.rooms:
        bound = None if room.carriers.all() else room.carriers.take(offers)
        yield room.of_channel, Limit(room.keys.take(offers), room.room, Reason.CAP, None, bound)
    size = len(evaluation.catalog.offers)
    for _, limit, left in evaluation.short:
        amounts, carriers = np.zeros(size), np.zeros(size, np.bool_)
        amounts[limit.offers], carriers[limit.offers] = limit.amounts, limit.carriers
        amounts = amounts.take(offers)
        keys = np.where(amounts > 0, 0, -1)
        room_left = np.array([float(left)])
        yield limit.of_channel, Limit(keys, room_left, limit.reason, amounts, carriers.take(offers))


def pins_of(evaluation: Evaluation) -> list[tuple[int, int]]:
    """The slots that rules give away, with the candidates that may take them."""
    eligible = evaluation.eligible
    pins: list[tuple[int, int]] = []
    for pin in evaluation.catalog.policy.pins:
        if pin.condition != ALWAYS and not evaluation.conditions[pin.condition]:
            continue
        _, places, _ = np.intersect1d(eligible, pin.offers, assume_unique=True, return_indices=True)
        pins += [(pin.slot, place) for place in places.tolist()]
    return pins
