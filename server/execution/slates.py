"""Slates: the stage that fills the slots, within the limits that groups, diversity, caps and budgets set."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, IntRow
from server.domain.decision import Reason, Rung
from server.execution.evaluation import Evaluation, Slate
from server.execution.meter_room import ShortLimit
from server.execution.policy import ALWAYS
from server.intelligence.arbitration import Contest, arbitrate
from server.intelligence.caps import CapRoom
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

    All placements have found the same, but for what is of a channel, which is for its placements alone, and for the
    cap of a rule that asks for the channel: it holds back where it is in force, and counts what is shown anywhere.
    """
    lengths = [len(each.eligible) for each in evaluations]
    offers = np.concatenate([evaluation.eligible for evaluation in evaluations])
    channels = np.repeat([each.channel for each in evaluations], lengths)
    placements = np.repeat(np.arange(len(evaluations)), lengths)
    for room, places in _rooms_together(evaluations):
        yield _cap_limit(room, offers, None if len(places) == len(evaluations) else np.isin(placements, places))
    first = evaluations[0]
    yield from (_meter_limit(first, short, offers) for short in first.short if not short.limit.of_channel)
    for channel, evaluation in {each.channel: each for each in evaluations}.items():
        for of_channel, limit in _shared_limits(evaluation, offers):
            if of_channel:
                yield limit._replace(keys=np.where(channels == channel, limit.keys, -1))


def _rooms_together(evaluations: Sequence[Evaluation]) -> Iterable[tuple[CapRoom, list[int]]]:
    """What each cap leaves that counts the same on every channel, with the places of those where it is in force."""
    found: dict[int, tuple[CapRoom, list[int]]] = {}
    for place, evaluation in enumerate(evaluations):
        for room in evaluation.rooms:
            if not room.of_channel:
                found.setdefault(room.family, (room, []))[1].append(place)
    return found.values()


def _shared_limits(evaluation: Evaluation, offers: IntRow) -> Iterator[tuple[bool, Limit]]:
    """What caps and budgets leave for the decision as a whole, over these offers; first whether it is of a channel."""
    for room in evaluation.rooms:
        yield room.of_channel, _cap_limit(room, offers)
    for short in evaluation.short:
        yield short.limit.of_channel, _meter_limit(evaluation, short, offers)


def _cap_limit(room: CapRoom, offers: IntRow, in_force: BoolRow | None = None) -> Limit:
    """What a cap leaves; `in_force` says for which of the rows, None: for all."""
    bound = None if room.carriers.all() else room.carriers.take(offers)
    if in_force is not None:
        bound = in_force if bound is None else bound & in_force
    return Limit(room.keys.take(offers), room.room, Reason.CAP, None, bound)


def _meter_limit(evaluation: Evaluation, short: ShortLimit, offers: IntRow) -> Limit:
    """What a budget or a cap of everybody leaves."""
    size, limit = len(evaluation.catalog.offers), short.limit
    amounts, carriers = np.zeros(size), np.zeros(size, np.bool_)
    amounts[limit.offers], carriers[limit.offers] = limit.amounts, limit.carriers
    amounts = amounts.take(offers)
    keys = np.where(amounts > 0, 0, -1)
    return Limit(keys, np.array([float(short.left)]), limit.reason, amounts, carriers.take(offers))


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
