"""The yardstick of streams: a StreamProfileDeltas on stock grpc.aio with uvloop that keeps nothing and acknowledges
every message at once. `python -m loadtest.empty_stream PORT`.

It is what grpcio-tools and the documentation make of a servicer: messages are decoded, and answers encoded.
"""

import gc
import sys
from collections.abc import AsyncIterator

import grpc.aio
import uvloop
from opportune.v1.profile_service_pb2 import StreamProfileDeltasRequest, StreamProfileDeltasResponse
from opportune.v1.profile_service_pb2_grpc import (
    ProfileServiceServicer,
    add_ProfileServiceServicer_to_server,
)

from loadtest.delta_stream import OUTSTANDING


class EmptyStream(ProfileServiceServicer):
    """Acknowledges, and does nothing else."""

    async def StreamProfileDeltas(  # noqa: N802
        self, requests: AsyncIterator[StreamProfileDeltasRequest], context: object
    ) -> AsyncIterator[StreamProfileDeltasResponse]:
        """One acknowledgement for each message."""
        async for request in requests:
            yield StreamProfileDeltasResponse(acknowledged_sequence=request.sequence, max_outstanding=OUTSTANDING)


async def serve(port: int) -> None:
    """Serves until the process is ended."""
    server = grpc.aio.server()
    add_ProfileServiceServicer_to_server(EmptyStream(), server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    gc.collect()
    gc.freeze()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
