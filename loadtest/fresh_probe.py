"""Probes of freshness: a delta is sent, and then offers are ranked until an answer has used it.

A probe's customer is eligible for the offer `probe` only after the delta, so an answer that has this offer has used it.
"""

import asyncio
import os
import time
from collections import Counter
from typing import Any

import grpc
import grpc.aio
from opportune.v1.decision_service_pb2 import RankOffersRequest, RankOffersResponse
from opportune.v1.profile_service_pb2 import StreamProfileDeltasRequest

from loadtest.delta_stream import DeltaStream
from loadtest.probe_offer import PROBE, probe_delta
from loadtest.tally import OK
from loadtest.transport import DEADLINE_S, METHOD

STALE = "STALE"
"""An answer at the acknowledged version that did not use the delta: a broken promise."""

UNSEEN = "UNSEEN"
"""No answer used the delta within the deadline."""


class ProbeTransport:
    """Probes on one stream and one other connection. `acknowledged`: rank once, after the acknowledgement and at its
    version. Otherwise: rank from the moment of sending, again and again, without looking at acknowledgements."""

    def __init__(self, address: str, acknowledged: bool) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(2)]
        self._stream = DeltaStream(self._channels[0], f"loadtest-probe-{os.getpid()}")
        self._rank: Any = self._channels[1].unary_unary(METHOD)
        self._probe = self._after_acknowledgement if acknowledged else self._at_once
        self._asked: Counter[str] = Counter()

    async def send(self, payload: bytes) -> str:
        """Probes with the customer of a serialised request; returns OK when an answer has used the delta."""
        request = RankOffersRequest.FromString(payload)
        message = StreamProfileDeltasRequest(deltas=[probe_delta(request.customer_id)])
        try:
            return await self._probe(request, message.SerializeToString())
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)

    async def _after_acknowledgement(self, request: RankOffersRequest, message: bytes) -> str:
        status, request.min_profile_version = await self._stream.publish(message)
        if status != OK:
            return status
        return OK if await self._is_used(request.SerializeToString()) else STALE

    async def _at_once(self, request: RankOffersRequest, message: bytes) -> str:
        publishing = asyncio.create_task(self._stream.publish(message))
        # The delta is written in the task's first turn, which comes before the first call's.
        await asyncio.sleep(0)
        payload = request.SerializeToString()
        give_up = time.monotonic() + DEADLINE_S
        while not (used := await self._is_used(payload)) and time.monotonic() < give_up:
            pass
        # Whoever waits for the acknowledgement here would measure it.
        publishing.add_done_callback(self._forget)
        return OK if used else UNSEEN

    async def _is_used(self, payload: bytes) -> bool:
        reply = RankOffersResponse.FromString(await self._rank(payload, timeout=DEADLINE_S))
        self._asked["ASKED"] += 1
        return any(offer.offer_id == PROBE for offer in reply.decision.offers)

    def _forget(self, publishing: "asyncio.Task[Any]") -> None:
        status = publishing.result().status
        if status != OK:
            self._asked[status] += 1

    def rungs(self) -> Counter[str]:
        """How many rankings the probes took since the last time, and what refused deltas said."""
        asked, self._asked = self._asked, Counter()
        return asked

    async def close(self) -> None:
        """Closes the connections."""
        await self._stream.close()
        for channel in self._channels:
            await channel.close()
