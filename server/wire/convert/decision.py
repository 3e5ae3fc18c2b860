"""Queries and decisions."""

from typing import cast

from google.protobuf.duration_pb2 import Duration
from opportune.v1 import decision_pb2, decision_service_pb2

from server.domain.decision import CERTAIN, Context, Decision, RankQuery, attribution_token
from server.execution.replay import Replayed
from server.wire.convert.value import set_time, time_from, values_from
from server.wire.elements import require_few

MAX_NESTED = 2_048
"""Ids and attributes of a request at most, each: more than any good one has."""

_NO_CONTEXT = Context()
_FULL = decision_pb2.DECISION_VIEW_FULL


def query_from(request: decision_service_pb2.RankOffersRequest) -> RankQuery:
    """The query of a request; ranges are checked by the use case.

    Raises:
        OpportuneError: INVALID_FIELD for a value that is none, REQUEST_TOO_LARGE.
    """
    require_few("candidate_offer_ids", len(request.candidate_offer_ids), MAX_NESTED)
    require_few("further_placement_ids", len(request.further_placement_ids), MAX_NESTED)
    return RankQuery(
        customer_id=request.customer_id,
        placement_id=request.placement_id,
        context=_context_from(request.context) if request.HasField("context") else _NO_CONTEXT,
        max_offers=request.max_offers,
        candidate_offer_ids=tuple(request.candidate_offer_ids),
        filter=request.filter,
        order_by=request.order_by,
        full_view=request.view == _FULL,
        include_content=request.include_content,
        request_id=request.request_id,
        validate_only=request.validate_only,
        min_profile_version=request.min_profile_version,
        further_placement_ids=tuple(request.further_placement_ids),
    )


def fill_decision(message: decision_pb2.Decision, decision: Decision) -> None:
    """Fills an empty message with a decision.

    Fields are set one by one where the message will stay: half the cost of making messages from keyword arguments
    and copying them into their parents.
    """
    message.decision_id = decision.decision_id
    message.customer_id = decision.customer_id
    message.placement_id = decision.placement_id
    set_time(message.create_time, decision.time)
    message.result = cast(decision_pb2.Result, decision.result)
    message.rung = cast(decision_pb2.Rung, decision.rung)
    message.model_version = decision.model_version
    message.profile_version = decision.profile_version
    message.catalog_version = decision.catalog_version
    _add_offers(message, decision)
    if decision.explanation is not None:
        _add_explanation(message, decision)


def replayed_to(replayed: Replayed) -> decision_service_pb2.ReplayDecisionResponse:
    """How a decision that was made again compares."""
    message = decision_service_pb2.ReplayDecisionResponse(identical=replayed.identical)
    for difference in replayed.differences:
        message.differences.add(**difference._asdict())
    fill_decision(message.decision, replayed.decision)
    return message


def _add_offers(message: decision_pb2.Decision, decision: Decision) -> None:
    """Adds the offers straight from the ranking's columns."""
    shown, propensities, expected_values, contents, placements = decision.ranking
    add, decision_id = message.offers.add, decision.decision_id
    for slot, (offer_id, creative_id, value) in enumerate(shown):
        offer = add()
        offer.offer_id = offer_id
        offer.creative_id = creative_id
        offer.propensity = propensities[slot]
        offer.value = value
        offer.expected_value = expected_values[slot]
        offer.selection_probability = CERTAIN
        offer.attribution_token = attribution_token(decision_id, slot)
        if placements:
            offer.placement_id = placements[slot]
        if contents:
            offer.content.update(contents[slot].with_texts({}))


def _context_from(message: decision_service_pb2.Context) -> Context:
    require_few("context.attributes", len(message.attributes), MAX_NESTED)
    return Context(
        channel=message.channel,
        locale=message.locale,
        time=time_from(message.time, "context.time") if message.HasField("time") else None,
        attributes=values_from(message.attributes, "context.attributes"),
    )


def _add_explanation(message: decision_pb2.Decision, decision: Decision) -> None:
    assert decision.explanation is not None
    for offer, explanation in zip(message.offers, decision.explanation.offers, strict=True):
        offer.conditions_met.extend(explanation.conditions_met)
        offer.model_inputs.update(explanation.model_inputs)
    for exclusion in decision.explanation.exclusions:
        message.exclusions.add(**exclusion._asdict())
    for stage, duration_ns in decision.explanation.timings:
        seconds, nanos = divmod(duration_ns, 1_000_000_000)
        message.timings.add(stage=stage, duration=Duration(seconds=seconds, nanos=nanos))
