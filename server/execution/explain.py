"""Explains a decision: why each offer won, why every other candidate did not. Only when somebody asks.

Milliseconds for large catalogs, as this is the one place that looks at candidates one by one.
"""

from collections.abc import Iterator

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
from server.execution.decide import Evaluation


def explain(decision: Decision, evaluation: Evaluation) -> Decision:
    """The decision with its explanation."""
    if decision.result is Result.PLACEMENT_DISABLED:
        return decision._replace(explanation=Explanation((), (), ()))
    timings = tuple(
        StageTiming(stage, end - start)
        for (_, start), (stage, end) in zip(evaluation.marks, evaluation.marks[1:], strict=False)
    )
    return decision._replace(
        explanation=Explanation(
            offers=tuple(_offers(evaluation)),
            exclusions=tuple(_exclusions(decision, evaluation)),
            timings=timings,
        )
    )


def _offers(evaluation: Evaluation) -> Iterator[OfferExplanation]:
    eligibility, plan = evaluation.catalog.eligibility, evaluation.placement.model
    offers = evaluation.catalog.offers.offers
    for row in evaluation.winners.tolist():
        offer = int(evaluation.eligible[row])
        clauses = eligibility.clauses_of(offer)
        # A part of a conjunction may stand for several clauses; it is named once.
        parts = dict.fromkeys(eligibility.texts[clause] for clause in clauses)
        conditions = tuple(sorted(parts, key=offers[offer].eligible.find))
        scored = plan is not None and evaluation.rung is Rung.FULL
        inputs = plan.features.explain(evaluation.tensors, row, offer) if plan is not None and scored else {}
        yield OfferExplanation(conditions, inputs)


def _exclusions(decision: Decision, evaluation: Evaluation) -> Iterator[Exclusion]:
    offers = evaluation.catalog.offers
    for offer_id in dict.fromkeys(evaluation.query.candidate_offer_ids):
        if offer_id not in offers.index:
            text = f"catalog version {evaluation.catalog.version} has no such offer"
            yield Exclusion(offer_id, Reason.UNKNOWN_OFFER, text)
    row_of = {offer: row for row, offer in enumerate(evaluation.eligible.tolist())}
    winners = set(evaluation.eligible[evaluation.winners].tolist())
    matches = evaluation.catalog.filter.mask(evaluation.query.filter) if evaluation.query.filter else None
    scheduled = offers.scheduled(evaluation.now_days)
    for place, offer in enumerate(offers.offers):
        if place in winners or (evaluation.requested is not None and not evaluation.requested[place]):
            continue
        if place in row_of:
            yield Exclusion(offer.id, Reason.LOST, _lost(decision, evaluation, row_of[place]))
        elif not evaluation.creatives.available[place]:
            yield Exclusion(offer.id, Reason.NO_CREATIVE, f"nothing to show on channel {evaluation.channel}")
        elif not scheduled[place]:
            yield Exclusion(offer.id, Reason.SCHEDULE, f"runs from {_date(offer.start)} to {_date(offer.end)}")
        elif matches is not None and not matches[place]:
            yield Exclusion(offer.id, Reason.FILTER, f"the request's filter: {evaluation.query.filter}")
        else:
            yield Exclusion(offer.id, Reason.CONDITION, _failed(evaluation, place))


def _failed(evaluation: Evaluation, place: int) -> str:
    eligibility = evaluation.catalog.eligibility
    failed = next(clause for clause in eligibility.clauses_of(place) if not evaluation.truth[clause])
    return eligibility.failures[int(failed)]


def _lost(decision: Decision, evaluation: Evaluation, row: int) -> str:
    if not decision.offers:
        return "not one of the placement's fallback offers"
    value = f"expected value {evaluation.expected_value[row]:.6g} {evaluation.catalog.currency}"
    return f"{value}; the last offer shown has {decision.offers[-1].expected_value:.6g}"


def _date(time: object) -> str:
    return "ever" if time is None else str(time)
