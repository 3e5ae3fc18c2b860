"""The yardstick: an empty RankOffers on stock grpc.aio with uvloop, in a process of its own.

It is what grpcio-tools and the documentation make of a servicer: the request is decoded, the same answer is encoded
every time, one of the size of a real one. `python -m loadtest.empty PORT FILE`, with the answer's bytes in FILE.
"""

import gc
import sys
from pathlib import Path

import grpc.aio
import uvloop
from opportune.v1.decision_service_pb2 import RankOffersRequest, RankOffersResponse
from opportune.v1.decision_service_pb2_grpc import (
    DecisionServiceServicer,
    add_DecisionServiceServicer_to_server,
)


class Empty(DecisionServiceServicer):
    """Answers every RankOffers alike."""

    def __init__(self, response: RankOffersResponse) -> None:
        self._response = response

    async def RankOffers(self, request: RankOffersRequest, context: object) -> RankOffersResponse:  # noqa: N802
        """Decides nothing."""
        return self._response


async def serve(port: int, reply: bytes) -> None:
    """Serves until the process is ended."""
    server = grpc.aio.server()
    servicer = Empty(RankOffersResponse.FromString(reply))
    add_DecisionServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    gc.collect()
    gc.freeze()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
