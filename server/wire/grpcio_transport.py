"""The stock transport: `grpc.aio`. Serves every kind of method, health and reflection among them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, Protocol

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from server.wire.endpoint import Endpoint
from server.wire.status import WireStatus

OPTIONS: tuple[tuple[str, int], ...] = (
    # A port that another server holds is an error, not a share of its calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_metadata_size", 16 * 1024),
    # Callers may ping every 10 s; the default answers the second ping within 5 minutes with GOAWAY.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class Transport(Protocol):
    """Serves endpoints on an address, with the standard health and reflection services beside them."""

    async def start(self) -> int:
        """Starts serving and returns the port, SERVING for every service.

        Raises:
            RuntimeError: the address cannot be bound.
        """
        ...

    async def stop(self, grace_s: float) -> None:
        """NOT_SERVING first; then lets calls in flight finish, for at most the grace, and closes."""
        ...


class GrpcioTransport:
    """A `grpc.aio` server for the endpoints."""

    def __init__(self, address: str, endpoints: Sequence[Endpoint], services: Sequence[str] = ()) -> None:
        """Prepares the server.

        Args:
            address: `host:port`, port 0 for a free one, or `unix:PATH`.
            endpoints: The methods to serve.
            services: Names of services that health and reflection tell of, beside those of the endpoints.
        """
        self._address = address
        self._services = sorted({*services, *(endpoint.path.split("/")[1] for endpoint in endpoints)})
        self._server = aio.server(options=OPTIONS)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self._server)
        for service in self._services:
            handlers = {
                endpoint.path.split("/")[2]: grpc.unary_unary_rpc_method_handler(_behaviour(endpoint))
                for endpoint in endpoints
                if endpoint.path.split("/")[1] == service
            }
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))

    async def start(self) -> int:
        """See `Transport`."""
        port: int = self._server.add_insecure_port(self._address)
        await self._server.start()
        for service in ("", *self._services):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return port

    async def stop(self, grace_s: float) -> None:
        """See `Transport`."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)


def _behaviour(endpoint: Endpoint) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def answer(payload: bytes, context: Any) -> bytes:
        remaining_s = context.time_remaining()
        result = endpoint.answer(payload, remaining_s)
        return result if isinstance(result, bytes) else await _abort(context, result)

    async def answer_async(payload: bytes, context: Any) -> bytes:
        result = await endpoint.answer_async(payload, context.time_remaining())
        return result if isinstance(result, bytes) else await _abort(context, result)

    return answer_async if endpoint.is_async else answer


async def _abort(context: Any, status: WireStatus) -> NoReturn:
    await context.abort(status.code, status.message, status.metadata)
    raise AssertionError("abort raises")
