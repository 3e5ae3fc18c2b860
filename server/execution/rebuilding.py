"""Rebuilds the evaluations of a decision from its record: what was known is as written down, the rest is worked out.

The same stage functions run as when the decision was made. Nothing of the customer's profile is read, which may have
changed since. Scores come from the model again if it is loaded, and else from the record, which has those of the
offers that were shown and of the best others; of the rest nothing is known then, and nothing is made up.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from server.domain.attribute import FloatRow
from server.domain.clock import time_of
from server.domain.decision import Decision, Ranking, Result, Rung, decision_id_of
from server.domain.decision_record import DecisionRecord
from server.execution.cached import CachedRanking
from server.execution.candidates import find_eligible, hold_back_by_counts
from server.execution.contact_counts import restore_counts
from server.execution.evaluation import Evaluation, Moment, Snapshot, begin, show_together
from server.execution.ladder import Plan
from server.execution.scores import best, fall_back, keep, repeat, score, weigh
from server.execution.slates import fill_slots, fill_together, value_candidates


class Rebuilt(NamedTuple):
    """A decision as it was made, with the evaluations of its placements.

    `is_faithful` says whether what was worked out again shows the same offers; if not, it explains nothing.
    """

    decision: Decision
    evaluations: Sequence[Evaluation]
    is_faithful: bool


class Repeated(NamedTuple):
    """What a decision does again at each of its placements, by their ids."""

    plans: dict[str, Plan]
    cached: dict[str, CachedRanking]

    @classmethod
    def of(cls, record: DecisionRecord, ran: Sequence[str], models: dict[str, str]) -> "Repeated":
        """What a record says of the placements that were ranked; `models` has the model of each that has one."""
        plans = {
            # Where nobody was eligible the plan has no rows; where somebody is now, that is a difference and no fault.
            placement_id: Plan(rung, max(rows, rung <= Rung.REDUCED))
            for placement_id, (rung, rows, _) in zip(ran, record.plans, strict=True)
        }
        cached, start = {}, 0
        for placement_id, (_, _, count) in zip(ran, record.plans, strict=True):
            if count:
                part = slice(start, start + count)
                cached[placement_id] = CachedRanking(
                    record.catalog_version,
                    models.get(placement_id, ""),
                    record.repeated[part].astype(np.int32),
                    record.repeated_propensity[part],
                    record.time_us,
                )
                start += count
        return cls(plans, cached)

    def moment(self, record: DecisionRecord) -> Moment:
        """The moment in which the decision is made again, by no clock."""
        return Moment(
            time=_time_of(record),
            number=record.number,
            tag=record.tag,
            clock_ns=lambda: 0,
            plans=self.plans,
            cached=lambda customer_id, where, model_id, now_us: self.cached.get(where.placement_id),
        )


def placement_ids(record: DecisionRecord) -> tuple[str, ...]:
    """The placements that were asked for."""
    return record.query.placement_id, *record.query.further_placement_ids


def ran_of(record: DecisionRecord, snapshot: Snapshot) -> list[str]:
    """The placements that were ranked: those that are enabled."""
    placements = snapshot.catalog.placements
    return [each for each in placement_ids(record) if placements[each].placement.enabled]


def repeated_of(record: DecisionRecord, snapshot: Snapshot) -> Repeated:
    """What a decision does again with its catalog."""
    ran = ran_of(record, snapshot)
    models = {each: model.model_id for each in ran if (model := snapshot.catalog.placements[each].model) is not None}
    return Repeated.of(record, ran, models)


def rebuild(record: DecisionRecord, snapshot: Snapshot) -> Rebuilt:
    """The decision of a record.

    Args:
        snapshot: The catalog that it was made with, and the scorers of the models that are loaded; of its profiles
            nothing is read.
    """
    moment = repeated_of(record, snapshot).moment(record)
    evaluations = [begin(snapshot, record.query, moment, each) for each in placement_ids(record)]
    ran = [evaluation for evaluation in evaluations if evaluation.placement.placement.enabled]
    recalled = _Recalled(record)
    show_together(ran)
    for evaluation, variables in zip(ran, _variables(record, ran), strict=True):
        evaluation.variables = variables
        _rank(evaluation, record, ran, recalled)
    if len(evaluations) > 1 and ran:
        fill_together(ran)
    elif ran:
        fill_slots(ran[0])
    _time_stages(record, ran)
    winners = [offer for each in ran for offer in each.eligible.take(each.winners).tolist()]
    return Rebuilt(recorded_answer(record, evaluations), evaluations, winners == record.shown.tolist())


def _rank(evaluation: Evaluation, record: DecisionRecord, ran: Sequence[Evaluation], recalled: "_Recalled") -> None:
    """Runs the stages up to values over what was known."""
    evaluation.row, evaluation.profile, evaluation.granted = -1, None, record.granted
    find_eligible(evaluation)
    ids = placement_ids(record)
    restore_counts(evaluation, record, {each.channel: ids.index(each.placement.placement.id) for each in reversed(ran)})
    hold_back_by_counts(evaluation, evaluation.snapshot.rules.channel(evaluation.channel))
    weigh(evaluation)
    model = evaluation.placement.model
    assert evaluation.moment.plans is not None
    plan = evaluation.moment.plans[evaluation.placement.placement.id]
    if model is None or model.model_id in evaluation.snapshot.scorers:
        score(evaluation)
    else:
        recalled.score(evaluation, plan, model.model_id)
    value_candidates(evaluation)


class _Recalled:
    """The scores that a record has: exact ones of what was shown, rounded ones of the best others."""

    def __init__(self, record: DecisionRecord) -> None:
        self._exact = dict(zip(record.shown.tolist(), record.propensity.tolist(), strict=True))
        # Rounded down, so that nobody who lost by less than the rounding seems to have won.
        rounded = np.nextafter(record.lost_propensity, np.float32(-1))
        self._rounded = dict(zip(record.lost.tolist(), rounded.tolist(), strict=True))

    def score(self, evaluation: Evaluation, plan: Plan, model_id: str) -> None:
        """What `score` does, without the model; NaN for an offer whose score is not known."""
        evaluation.plan = plan
        if not len(evaluation.eligible):
            return
        evaluation.rung = Rung(plan.rung)
        if plan.rung == Rung.CACHED:
            evaluation.cached = evaluation.moment.cached("", evaluation.where, model_id, evaluation.moment.received_us)
            repeat(evaluation)
            return
        if plan.rung == Rung.DEFAULT:
            fall_back(evaluation)
            return
        evaluation.model_id = model_id
        if plan.rows < len(evaluation.eligible):
            keep(evaluation, best(evaluation, plan.rows))
        known = {**self._rounded, **self._exact}
        evaluation.propensity = np.array([known.get(offer, np.nan) for offer in evaluation.eligible.tolist()])


def _variables(record: DecisionRecord, ran: Sequence[Evaluation]) -> Iterator[FloatRow]:
    """What was known of customer and context at each placement: the same but for the channel."""
    for evaluation in ran:
        same = evaluation.channel == ran[0].channel
        reader = evaluation.catalog.variables
        yield record.variables if same else reader.on_channel(record.variables, evaluation.channel)


def _time_stages(record: DecisionRecord, ran: Sequence[Evaluation]) -> None:
    """Gives each evaluation the times that its stages took."""
    if not ran:
        return
    per_placement = len(record.timings_ns) // len(ran)
    for number, evaluation in enumerate(ran):
        durations_ns = record.timings_ns[number * per_placement : (number + 1) * per_placement]
        evaluation.marks = list(accumulate(durations_ns, initial=0))


def recorded_answer(record: DecisionRecord, evaluations: Sequence[Evaluation]) -> Decision:
    """The answer, all of which the record has."""
    query, result = record.query, Result(record.result)
    return Decision(
        decision_id=decision_id_of(record.number, record.tag),
        customer_id=query.customer_id,
        placement_id=query.placement_id,
        time=_time_of(record),
        ranking=_ranking(record, evaluations),
        result=result,
        rung=Rung(record.rung),
        model_version=record.model_id,
        profile_version=record.profile_version,
        catalog_version=record.catalog_version,
    )


def _ranking(record: DecisionRecord, evaluations: Sequence[Evaluation]) -> Ranking:
    offers, places = record.shown.tolist(), record.shown_at.tolist()
    shown = [evaluations[place] for place in places]
    contents = record.query.include_content
    several = bool(record.query.further_placement_ids)
    return Ranking(
        [each.creatives.shown[offer] for each, offer in zip(shown, offers, strict=True)],
        record.propensity.tolist(),
        record.expected_value.tolist(),
        [each.creatives.contents[offer].fill(each.variables) for each, offer in zip(shown, offers, strict=True)]
        if contents
        else (),
        [each.placement.placement.id for each in shown] if several else (),
    )


def _time_of(record: DecisionRecord) -> datetime:
    time = record.query.context.time
    return time_of(record.time_us) if time is None else time
