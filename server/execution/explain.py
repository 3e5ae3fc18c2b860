"""Explains a decision: why each offer won, why every other candidate did not. Only when somebody asks.

Milliseconds for large catalogs, as this is the one place that looks at candidates one by one.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from server.domain.attribute import IntRow
from server.domain.decision import (
    Decision,
    Exclusion,
    Explanation,
    OfferExplanation,
    Reason,
    Result,
    Rung,
    StageTiming,
)
from server.execution.decide import STAGE_NAMES
from server.execution.evaluation import Evaluation, that_ran
from server.intelligence.losers import held_back


def explain(decision: Decision, evaluations: Sequence[Evaluation]) -> Decision:
    """The decision with its explanation: of several placements, each offer's best fate in any of them."""
    if decision.result is Result.PLACEMENT_DISABLED:
        return decision._replace(explanation=Explanation((), (), ()))
    ran = that_ran(evaluations)
    exclusions: dict[str, Exclusion] = {}
    shown = {offer.offer_id for offer in decision.ranking.shown}
    for evaluation in ran:
        for exclusion in _Exclusions(decision, evaluation).all():
            known = exclusions.get(exclusion.offer_id)
            # Whatever got further explains more.
            if exclusion.offer_id not in shown and (known is None or _got_further(exclusion, known)):
                exclusions[exclusion.offer_id] = exclusion
    return decision._replace(
        explanation=Explanation(
            offers=tuple(each for evaluation in ran for each in _offers(evaluation)),
            exclusions=tuple(exclusions.values()),
            timings=tuple(each for evaluation in ran for each in _timings(evaluation)),
        )
    )


def _timings(evaluation: Evaluation) -> Iterator[StageTiming]:
    for stage, (start, end) in zip(STAGE_NAMES, pairwise(evaluation.marks), strict=False):
        yield StageTiming(stage, end - start)


def _offers(evaluation: Evaluation) -> Iterator[OfferExplanation]:
    eligibility, plan = evaluation.catalog.eligibility, evaluation.placement.model
    offers = evaluation.catalog.offers.offers
    for row in evaluation.winners.tolist():
        offer = int(evaluation.eligible[row])
        clauses = eligibility.clauses_of(offer)
        # A part of a conjunction may stand for several clauses; it is named once.
        parts = dict.fromkeys(eligibility.texts[clause] for clause in clauses)
        conditions = tuple(sorted(parts, key=offers[offer].eligible.find))
        scored = plan is not None and evaluation.rung <= Rung.REDUCED
        inputs = plan.features.explain(evaluation.tensors, row, offer) if plan is not None and scored else {}
        yield OfferExplanation(conditions, inputs)


_PROGRESS = (
    Reason.UNKNOWN_OFFER,
    Reason.NO_CREATIVE,
    Reason.SCHEDULE,
    Reason.CONSENT,
    Reason.FILTER,
    Reason.CONDITION,
    Reason.BUDGET,
    Reason.CAP,
    Reason.DIVERSITY,
    Reason.EXCLUSION_GROUP,
    Reason.LOST,
)
"""How far an offer got that was excluded for a reason, the furthest last."""


def _got_further(one: Exclusion, other: Exclusion) -> bool:
    return _progress(one) > _progress(other)


def _progress(exclusion: Exclusion) -> int:
    # That one placement was full says little of an offer that another one had a slot for.
    return -1 if exclusion.detail == _LIMITED[Reason.LOST] else _PROGRESS.index(exclusion.reason)


class _Exclusions:
    """Why the candidates of one evaluation are not in the answer."""

    def __init__(self, decision: Decision, evaluation: Evaluation) -> None:
        self._decision = decision
        self._evaluation = evaluation
        self._catalog = evaluation.catalog
        self._rules = evaluation.snapshot.rules.channel(evaluation.channel)
        self._held = dict(zip(evaluation.held.tolist(), evaluation.held_by.tolist(), strict=True))
        self._row_of = {offer: row for row, offer in enumerate(evaluation.eligible.tolist())}
        self._allowed = set(evaluation.allowed.tolist())
        self._limits = self._lost_by(np.arange(len(evaluation.eligible)))

    def all(self) -> Iterator[Exclusion]:
        """Every exclusion."""
        evaluation, offers = self._evaluation, self._catalog.offers
        for offer_id in dict.fromkeys(evaluation.query.candidate_offer_ids):
            if offer_id not in offers.index:
                text = f"catalog version {self._catalog.version} has no such offer"
                yield Exclusion(offer_id, Reason.UNKNOWN_OFFER, text)
        winners = set(evaluation.eligible[evaluation.winners].tolist())
        scheduled = offers.scheduled(evaluation.now_days)
        matches = self._catalog.filter.mask(evaluation.query.filter) if evaluation.query.filter else None
        for place, offer in enumerate(offers.offers):
            if place in winners or (evaluation.requested is not None and not evaluation.requested[place]):
                continue
            if place in self._allowed:
                yield Exclusion(offer.id, *self._lost(place))
            elif not evaluation.creatives.available[place]:
                yield Exclusion(offer.id, Reason.NO_CREATIVE, f"nothing to show on channel {evaluation.channel}")
            elif not scheduled[place]:
                words = f"runs from {_date(offer.start)} to {_date(offer.end)}"
                yield Exclusion(offer.id, Reason.SCHEDULE, words)
            elif matches is not None and not matches[place]:
                yield Exclusion(offer.id, Reason.FILTER, f"the request's filter: {evaluation.query.filter}")
            else:
                yield Exclusion(offer.id, *self._not_allowed(place))

    def _not_allowed(self, place: int) -> tuple[Reason, str]:
        evaluation = self._evaluation
        if evaluation.quiet:
            return Reason.SCHEDULE, f"quiet hours on channel {evaluation.channel} where the customer is"
        purpose = self._missing_purpose(place)
        if purpose:
            return Reason.CONSENT, f"the customer has not agreed to {purpose}"
        if place in self._held:
            code = self._held[place]
            is_budget = code >= self._rules.first_meter
            reason = (
                self._rules.policy.meters.limits[code - self._rules.first_meter].reason if is_budget else Reason.CAP
            )
            return reason, self._rules.words(code)
        return Reason.CONDITION, self._failed(place)

    def _missing_purpose(self, place: int) -> str:
        evaluation = self._evaluation
        purposes, granted = self._catalog.customer.purposes, evaluation.granted
        channel = self._rules.policy.purpose
        if channel >= 0 and not granted >> channel & 1:
            return f"{purposes[channel]}, which channel {evaluation.channel} asks for"
        purpose = self._catalog.offers.offers[place].purpose
        return purpose if purpose and not granted >> purposes.index(purpose) & 1 else ""

    def _failed(self, place: int) -> str:
        eligibility = self._catalog.eligibility
        failed = next(clause for clause in eligibility.clauses_of(place) if not self._evaluation.truth[clause])
        words: str = eligibility.failures[failed]
        return words

    def _lost(self, place: int) -> tuple[Reason, str]:
        row = self._row_of.get(place)
        evaluation = self._evaluation
        if row is None:
            return Reason.LOST, _UNRANKED[evaluation.rung]
        if row in self._limits:
            limit = self._limits[row]
            return limit, _LIMITED[limit]
        if not self._decision.ranking.shown:
            return Reason.LOST, "there is no slot for it"
        if evaluation.rung is Rung.DEFAULT:
            return Reason.LOST, "further down among the placement's fallback offers than there are slots"
        if evaluation.placement.model is not None and np.isnan(evaluation.expected_value[row]):
            return (
                Reason.LOST,
                f"its score was not written down, and model {evaluation.model_id} is not loaded any more",
            )
        value = f"expected value {evaluation.expected_value[row]:.6g} {self._catalog.currency}"
        last = min(self._decision.ranking.expected_values)
        return Reason.LOST, f"{value}; the last offer shown has {last:.6g}"

    def _lost_by(self, rows: IntRow) -> dict[int, Reason]:
        """The reasons of the limits that rows of this placement lost by."""
        evaluation = self._evaluation
        contest, arbitration = evaluation.contest, evaluation.arbitration
        if contest is None or arbitration is None or not contest.limits:
            return {}
        limits = held_back(rows + evaluation.first_row, contest, arbitration).tolist()
        return {row: contest.limits[limit].reason for row, limit in enumerate(limits) if limit >= 0}


_UNRANKED = {
    Rung.FULL: "not ranked",
    Rung.REDUCED: "worth too little to be scored in the time left",
    Rung.CACHED: "not in the customer's last ranking here, which was repeated as there was no time for another",
    Rung.DEFAULT: "not one of the placement's fallback offers",
}
_LIMITED = {
    Reason.EXCLUSION_GROUP: "a better offer of its exclusion group was shown",
    Reason.DIVERSITY: "enough offers like it were shown",
    Reason.CAP: "the offers that were shown used up what a cap leaves",
    Reason.BUDGET: "the offers that were shown used up what a budget leaves",
    Reason.LOST: "the placement was filled",
}


def _date(time: object) -> str:
    return "ever" if time is None else str(time)
