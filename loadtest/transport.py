"""The generator's way to a server: grpc.aio with bytes in and bytes out, on several connections."""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
from opportune.v1.decision_pb2 import Rung
from opportune.v1.decision_service_pb2 import RankOffersResponse

from loadtest.credentials import Metadata
from loadtest.tally import OK

METHOD = "/opportune.v1.DecisionService/RankOffers"
CONNECTIONS = 4
DEADLINE_S = 5.0
"""Every call carries a deadline, as callers' calls do; this one is too generous to change the answer."""

SAMPLE_EVERY = 256
"""One answer in so many is kept and read after the window, to see that the full ranking was done."""


class Kept:
    """Some of the answers, as they came."""

    def __init__(self) -> None:
        self._seen = 0
        self._replies: list[bytes] = []

    def see(self, reply: bytes) -> None:
        """Keeps one in so many."""
        self._seen += 1
        if self._seen % SAMPLE_EVERY == 0:
            self._replies.append(reply)

    def rungs(self) -> Counter[str]:
        """How often the answers kept since the last time were ranked how thoroughly."""
        replies, self._replies = self._replies, []
        return Counter(Rung.Name(RankOffersResponse.FromString(reply).decision.rung) for reply in replies)


class GrpcTransport:
    """RankOffers on channels that do not share their connections; calls go round."""

    def __init__(self, address: str, metadata: Metadata = ()) -> None:
        self._metadata = metadata or None
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CONNECTIONS)]
        # Without serializers the library passes bytes through, so the generator does not pay for protobuf.
        self._calls: Iterator[Any] = itertools.cycle([channel.unary_unary(METHOD) for channel in self._channels])
        self._kept = Kept()

    async def send(self, payload: bytes) -> str:
        """Sends one serialised request and returns the status' name."""
        try:
            reply = await next(self._calls)(payload, timeout=DEADLINE_S, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        self._kept.see(reply)
        return OK

    def rungs(self) -> Counter[str]:
        """How often the answers kept since the last time were ranked how thoroughly."""
        return self._kept.rungs()

    async def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            await channel.close()
