"""What contacts and meters have come to when a decision is made: written down with it, and read again to explain it.

Counts are a few dozen numbers, and which offers they hold back follows from them. So they say of every offer, also of
those that a condition excluded, whether a cap would have held it back as well.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from server.domain.decision_record import Counts, DecisionRecord
from server.execution.contact_rules import ChannelRules
from server.execution.evaluation import Evaluation
from server.execution.meter_room import Shortage, ShortLimit
from server.intelligence.caps import Counted

Row = tuple[int, int, Mapping[int, int]]

_KNOWN = int(Counts.CUSTOMER), int(Counts.HOUSEHOLD)
_LEFT = int(Counts.LEFT)


def counts_of(evaluations: Sequence[Evaluation]) -> tuple[Row, ...]:
    """The counts of these evaluations, at least one, as `DecisionRecord.counted` has them."""
    query = evaluations[0].query
    if not query.further_placement_ids:
        return tuple(_rows(evaluations[0], 0))
    places = [query.placement_id, *query.further_placement_ids]
    # Caps count the same at two placements of one channel.
    of_channels = {evaluation.channel: evaluation for evaluation in reversed(evaluations)}
    return tuple(row for each in of_channels.values() for row in _rows(each, places.index(each.placement.placement.id)))


def restore_counts(evaluation: Evaluation, record: DecisionRecord, at: Mapping[str, int]) -> None:
    """Gives an evaluation the counts that were written down.

    Args:
        at: For each channel the place that its counts go by.
    """
    rules = evaluation.snapshot.rules.channel(evaluation.channel)
    place = at[evaluation.channel]
    of_place = {kind: amounts for of, kind, amounts in record.counted if of == place}
    sets = zip((rules.policy.customer, rules.policy.household), (Counts.CUSTOMER, Counts.HOUSEHOLD), strict=True)
    customer, household = (Counted(of_place.get(kind, {})) if len(families) else None for families, kind in sets)
    evaluation.counted = customer, household
    shortage = _shortage(of_place.get(_LEFT, {}), rules)
    evaluation.short, evaluation.gone = shortage.limits, (shortage.offers, shortage.numbers)


def _rows(evaluation: Evaluation, place: int) -> list[Row]:
    rows: list[Row] = []
    for counted, kind in zip(evaluation.counted, _KNOWN, strict=True):
        if counted is not None and counted.counts:
            rows.append((place, kind, counted.counts))
    if evaluation.short or len(evaluation.gone[1]):
        left = dict.fromkeys(evaluation.gone[1].tolist(), 0)
        rows.append((place, _LEFT, left | {number: amount for number, _, amount in evaluation.short}))
    return rows


def _shortage(left: Mapping[int, int], rules: ChannelRules) -> Shortage:
    limits = rules.policy.meters.limits
    short = [ShortLimit(number, limits[number], amount) for number, amount in left.items()]
    single = [each for each in short if len(each.limit.offers) == 1]
    offers = np.array([int(each.limit.offers[0]) for each in single], np.intp)
    numbers = np.array([each.number for each in single], np.intp)
    return Shortage(offers, numbers, [each for each in short if len(each.limit.offers) != 1])
