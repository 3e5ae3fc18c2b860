"""What is written down of a decision: enough to tell why, and to make it again."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import IntRow
from server.domain.decision import Decision, RankQuery
from server.domain.decision_record import MAX_LOST, DecisionRecord
from server.execution.contact_counts import counts_of
from server.execution.evaluation import NOBODY, NOTHING, Evaluation, Slate, that_ran

_NO_FLOATS = np.empty(0, np.float32)
_NO_TRUTH = np.empty(0, np.bool_)
_Column = TypeVar("_Column", IntRow, NDArray[np.float64])


def record_of(decision: Decision, evaluations: Sequence[Evaluation]) -> DecisionRecord:
    """What is written down of a decision; of several placements, one after the other."""
    ran = that_ran(evaluations)
    # The first placement may be one that is disabled, of which nothing is known.
    first = ran[0] if ran else evaluations[0]
    slate, lost = _slate_of(ran), _lost(first)
    cached = [evaluation.cached for evaluation in ran if evaluation.cached is not None]
    return DecisionRecord(
        number=first.moment.number,
        tag=first.moment.tag,
        time_us=first.now_us,
        profile_version=decision.profile_version,
        catalog_version=decision.catalog_version,
        query=first.query,
        result=decision.result,
        rung=decision.rung,
        model_id=decision.model_version,
        plans=tuple([(e.plan.rung, e.plan.rows, 0 if e.cached is None else len(e.cached.offers)) for e in ran]),
        variables=first.variables if ran else _NO_FLOATS,
        truth=first.truth if ran else _NO_TRUTH,
        granted=first.granted if ran else 0,
        counted=counts_of(ran) if ran else (),
        capped=first.held,
        capped_by=first.held_by,
        repeated=_joined([each.offers.astype(np.intp) for each in cached], NOBODY),
        repeated_propensity=_joined([each.propensities for each in cached], NOTHING),
        shown=slate.offers,
        shown_at=_placements(first.query, ran),
        propensity=slate.propensity,
        expected_value=slate.expected_value,
        lost=first.eligible.take(lost) if ran else NOBODY,
        lost_propensity=first.propensity.take(lost) if ran else NOTHING,
        lost_expected_value=first.expected_value.take(lost) if ran else NOTHING,
        timings_ns=tuple([end - start for e in ran for start, end in pairwise(e.marks)]),
    )


def _joined(parts: Sequence[_Column], nothing: _Column) -> _Column:
    return np.concatenate(parts) if len(parts) > 1 else parts[0] if parts else nothing


def _slate_of(ran: Sequence[Evaluation]) -> Slate:
    if len(ran) == 1:
        return ran[0].slate
    return Slate(
        _joined([evaluation.slate.offers for evaluation in ran], NOBODY),
        _joined([evaluation.slate.propensity for evaluation in ran], NOTHING),
        _joined([evaluation.slate.expected_value for evaluation in ran], NOTHING),
    )


def _lost(evaluation: Evaluation) -> IntRow:
    """The best of those that did not win, where one placement was ranked: of several, rows are pairs."""
    arbitration = evaluation.arbitration
    if arbitration is None or evaluation.query.further_placement_ids:
        return NOBODY
    return np.asarray(arbitration.lost[:MAX_LOST], np.intp)


def _placements(query: RankQuery, ran: Sequence[Evaluation]) -> IntRow:
    """For each winner the place of its placement in the query."""
    if not query.further_placement_ids:
        return np.zeros(len(ran[0].winners) if ran else 0, np.intp)
    placement_ids = (query.placement_id, *query.further_placement_ids)
    places = [placement_ids.index(each.placement.placement.id) for each in ran]
    return np.repeat(np.array(places, np.intp), [len(each.winners) for each in ran])
