"""Outcomes and what became of them."""

from collections.abc import Iterable
from datetime import datetime
from typing import cast

from opportune.v1 import outcome_pb2

from server.domain.clock import microseconds_of
from server.domain.contact import ContactKind
from server.domain.decision import parse_token
from server.domain.errors import OpportuneError, invalid_field
from server.domain.outcome import DecisionRef, Outcome
from server.execution.outcomes import OfferResult, OutcomeAnswer
from server.wire.convert.value import microseconds_from
from server.wire.status import rpc_status

_KINDS = frozenset(map(int, ContactKind))


def outcomes_from(messages: Iterable[outcome_pb2.Outcome], received: datetime) -> list[Outcome | OpportuneError]:
    """The outcomes of a request; one that cannot be read is its error."""
    received_us = microseconds_of(received)
    return [_outcome_or_error(message, f"outcomes[{place}]", received_us) for place, message in enumerate(messages)]


def answer_to(answer: OutcomeAnswer) -> outcome_pb2.OutcomeResult:
    """The message of an answer."""
    if answer.error is not None:
        return outcome_pb2.OutcomeResult(status=rpc_status(answer.error))
    assert answer.attribution is not None
    attribution = cast(outcome_pb2.Attribution, int(answer.attribution))
    return outcome_pb2.OutcomeResult(attribution=attribution, decision_id=answer.decision_id)


def result_to(result: OfferResult) -> outcome_pb2.OfferResults:
    """The message of an offer's results."""
    return outcome_pb2.OfferResults(
        offer_id=result.offer_id,
        impressions=result.contacts[ContactKind.IMPRESSION],
        clicks=result.contacts[ContactKind.CLICK],
        accepted=result.contacts[ContactKind.ACCEPTED],
        declined=result.contacts[ContactKind.DECLINED],
        converted=result.contacts[ContactKind.CONVERTED],
        revenue=result.revenue,
        profit=result.profit,
    )


def _outcome_or_error(message: outcome_pb2.Outcome, field: str, received_us: int) -> Outcome | OpportuneError:
    try:
        return _outcome(message, field, received_us)
    except OpportuneError as error:
        return error


def _outcome(message: outcome_pb2.Outcome, field: str, received_us: int) -> Outcome:
    if message.kind not in _KINDS:
        raise invalid_field(f"{field}.kind", "is not a kind of outcome")
    ref = None
    if message.attribution_token:
        found = parse_token(message.attribution_token)
        if found is None:
            raise invalid_field(f"{field}.attribution_token", "is not a token that came with an offer")
        ref = DecisionRef(*found)
    has_time = message.HasField("event_time")
    return Outcome(
        outcome_id=message.outcome_id,
        kind=ContactKind(message.kind),
        event_time_us=microseconds_from(message.event_time, f"{field}.event_time") if has_time else received_us,
        decision=ref,
        customer_id="" if ref else message.customer_id,
        offer_id="" if ref else message.offer_id,
        placement_id="" if ref else message.placement_id,
        revenue=message.revenue,
        profit=message.profit,
    )
