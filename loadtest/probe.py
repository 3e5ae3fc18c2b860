"""Reading a few real answers before measuring: that they are what they should be, and how large they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import grpc
from opportune.v1.decision_pb2 import DECISION_VIEW_FULL, REASON_LOST, RUNG_FULL, Decision
from opportune.v1.decision_service_pb2 import RankOffersRequest, RankOffersResponse

from loadtest.credentials import Metadata
from loadtest.transport import METHOD

REPLIES, EXPLAINED = 200, 30
DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What answers look like. `reply` is the one of median size; `eligible_mean` counts scored offers; `offers` are all
    those that were in any answer."""

    reply: bytes
    eligible_mean: float
    offers: frozenset[str]


class NotRankedError(Exception):
    """A server whose answers are not full rankings: measuring it would flatter it."""


def probe(address: str, requests: Sequence[bytes], metadata: Metadata = ()) -> Sample:
    """Asks for a few hundred decisions, and for the explanation of some."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(METHOD, RankOffersRequest.SerializeToString, RankOffersResponse.FromString)
        rank = partial(call, timeout=DEADLINE_S, metadata=metadata)
        parsed = [RankOffersRequest.FromString(request) for request in requests[:REPLIES]]
        replies = [rank(request) for request in parsed]
        eligible = [_eligible(rank, request) for request in parsed[:EXPLAINED]]
    _check([reply.decision for reply in replies])
    by_size = sorted((reply.SerializeToString() for reply in replies), key=len)
    offers = frozenset(offer.offer_id for reply in replies for offer in reply.decision.offers)
    return Sample(by_size[len(by_size) // 2], sum(eligible) / len(eligible), offers)


def _check(decisions: Sequence[Decision]) -> None:
    for decision in decisions:
        if decision.rung != RUNG_FULL or not decision.offers or decision.offers[0].propensity <= 0:
            raise NotRankedError(f"This answer is not a full ranking by a model: {decision}")


def _eligible(rank: Callable[..., RankOffersResponse], request: RankOffersRequest) -> int:
    """Offers that were scored: those in the answer, and those that lost to them."""
    explained = RankOffersRequest()
    explained.CopyFrom(request)
    explained.view = DECISION_VIEW_FULL
    decision = rank(explained).decision
    return len(decision.offers) + sum(one.reason == REASON_LOST for one in decision.exclusions)
