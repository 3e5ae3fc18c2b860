"""A server that has a health service, and fails the calls of any method as it is told."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

PREVIOUS_ATTEMPTS = "grpc-previous-rpc-attempts"


@dataclass(slots=True)
class FailingService(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types.
    """What it is to do, and what has been asked of it.

    Attributes:
        serving: What its health service says.
        code: How calls fail.
        failures: How many calls fail; later ones are answered with `answer`.
        answer: The bytes of the response to a call that does not fail.
        trailing: Trailing metadata of the failures.
        calls: Calls by path, attempts of one call counted each.
        attempts: The values of `grpc-previous-rpc-attempts`, one for each call.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    failures: float = float("inf")
    answer: bytes = b""
    trailing: tuple[tuple[str, str], ...] = ()
    serving: bool = True
    calls: Counter[str] = field(default_factory=Counter)
    attempts: list[str] = field(default_factory=list)

    def service(self, handler_call_details: Any) -> Any:
        """A handler for every method but those of the health service."""
        path = handler_call_details.method
        if path.startswith("/grpc.health"):
            return None

        async def answer(payload: bytes, context: Any) -> bytes:
            self.calls[path] += 1
            self.attempts.append(dict(context.invocation_metadata()).get(PREVIOUS_ATTEMPTS, "0"))
            if self.calls.total() <= self.failures:
                await context.abort(self.code, "told to fail", self.trailing)
            return self.answer

        return grpc.unary_unary_rpc_method_handler(answer)


@asynccontextmanager
async def failing(service: FailingService) -> AsyncIterator[int]:
    """The port of a server with this service."""
    server = aio.server()
    server.add_generic_rpc_handlers((service,))
    said = health.aio.HealthServicer()
    status = health_pb2.HealthCheckResponse.SERVING if service.serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for name in ("", "opportune.v1.DecisionService", "opportune.v1.ProfileService"):
        await said.set(name, status)
    health_pb2_grpc.add_HealthServicer_to_server(said, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield int(port)
    finally:
        await server.stop(0)
