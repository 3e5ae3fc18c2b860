"""The servicer of DecisionService: decode, one call, encode."""

import asyncio
from collections.abc import Coroutine
from time import perf_counter_ns
from typing import Any

from opportune.v1 import decision_pb2
from opportune.v1 import decision_service_pb2 as pb

from server.domain.decision import Decision
from server.domain.errors import OpportuneError, invalid_field
from server.execution.contents import CompleteContent
from server.execution.pressure import TURN_NS
from server.execution.rank import RankOffers
from server.execution.recorded import GetDecision, ReplayDecision
from server.wire.convert.decision import fill_decision, query_from, replayed_to
from server.wire.status import internal, rpc_status

MAX_BATCH = 100
LIMITS_BYTES = {"BatchRankOffers": 4 * 1024 * 1024}


class DecisionServicer:
    """Ranks offers, for one customer or for a batch of them, and tells what was decided."""

    def __init__(self, rank: RankOffers, complete: CompleteContent, get: GetDecision, replay: ReplayDecision) -> None:
        self._rank = rank
        self._complete = complete
        self._get = get
        self._replay = replay

    def RankOffers(
        self, request: pb.RankOffersRequest, time_left_s: float | None
    ) -> "pb.RankOffersResponse | Coroutine[Any, Any, pb.RankOffersResponse]":
        """Ranks for one customer; only content that waits for identifying texts is waited for."""
        decision = self._rank(query_from(request), time_left_s)
        if self._complete.is_needed(decision):
            return self._completed(decision)
        return _response(decision)

    async def BatchRankOffers(
        self, request: pb.BatchRankOffersRequest, time_left_s: float | None
    ) -> pb.BatchRankOffersResponse:
        """Ranks for each request of a batch on its own."""
        if not 1 <= len(request.requests) <= MAX_BATCH:
            raise invalid_field("requests", f"must be 1 to {MAX_BATCH}")
        response = pb.BatchRankOffersResponse()
        began_ns = perf_counter_ns()
        turn_ends_ns = began_ns + TURN_NS
        for single in request.requests:
            # The deadline is that of the batch: each request has what those before it have left.
            left_s = None if time_left_s is None else time_left_s - (perf_counter_ns() - began_ns) / 1e9
            await self._answer(single, response.results.add(), left_s)
            if perf_counter_ns() > turn_ends_ns:
                # Callers who wait for a single ranking go first.
                await asyncio.sleep(0)
                turn_ends_ns = perf_counter_ns() + TURN_NS
        return response

    async def _completed(self, decision: Decision) -> pb.RankOffersResponse:
        return _response(await self._complete(decision))

    async def GetDecision(self, request: pb.GetDecisionRequest) -> decision_pb2.Decision:
        """Tells what was decided, and why."""
        message = decision_pb2.Decision()
        fill_decision(message, await self._get(request.decision_id))
        return message

    async def ReplayDecision(self, request: pb.ReplayDecisionRequest) -> pb.ReplayDecisionResponse:
        """Makes a decision again, and says how it differs from what was recorded."""
        return replayed_to(await self._replay(request.decision_id))

    async def _answer(
        self, request: pb.RankOffersRequest, result: pb.BatchRankOffersResult, time_left_s: float | None
    ) -> None:
        try:
            decision = self._rank(query_from(request), time_left_s)
            if self._complete.is_needed(decision):
                decision = await self._complete(decision)
            fill_decision(result.decision, decision)
        except OpportuneError as error:
            result.status.CopyFrom(rpc_status(error))
        except Exception:
            result.status.CopyFrom(rpc_status(internal("BatchRankOffers")))


def _response(decision: Decision) -> pb.RankOffersResponse:
    response = pb.RankOffersResponse()
    fill_decision(response.decision, decision)
    return response
