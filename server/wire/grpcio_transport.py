"""The stock transport: `grpc.aio`. Serves every kind of method, health and reflection among them."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NoReturn, Protocol

import grpc
from google.protobuf.message import Message
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from server.wire.call import Call
from server.wire.connections import DEFAULTS, Connections, grpcio_options
from server.wire.endpoint import Answer, Endpoint, StreamEndpoint
from server.wire.status import WireStatus
from server.wire.tls import Certificates, names_of

OPTIONS: tuple[tuple[str, int], ...] = (
    # A port that another server holds is an error, not a share of its calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_metadata_size", 16 * 1024),
    # Who connects and says nothing is let go of.
    ("grpc.server_handshake_timeout_ms", 10_000),
)


class Transport(Protocol):
    """Serves endpoints on an address, with the standard health and reflection services beside them."""

    async def start(self) -> int:
        """Starts serving and returns the port, SERVING for every service.

        Raises:
            RuntimeError: the address cannot be bound.
        """
        ...

    async def set_serving(self, service: str, serving: bool) -> None:
        """Has the health service say whether a service is serving."""
        ...

    async def leave(self) -> None:
        """Has the health service say NOT_SERVING of every service from now on; calls are still taken."""
        ...

    async def stop(self, grace_s: float) -> None:
        """NOT_SERVING first; then lets calls in flight finish, for at most the grace, and closes."""
        ...


class GrpcioTransport:
    """A `grpc.aio` server for the endpoints."""

    def __init__(
        self,
        address: str,
        endpoints: Sequence[Endpoint | StreamEndpoint],
        services: Sequence[str] = (),
        connections: Connections = DEFAULTS,
        *,
        certificates: Certificates | None = None,
        with_reflection: bool = True,
    ) -> None:
        """Prepares the server.

        Args:
            address: `host:port`, port 0 for a free one, or `unix:PATH`.
            endpoints: The methods to serve.
            services: Names of services that health and reflection tell of, beside those of the endpoints.
            connections: How connections are kept, and when they are ended.
            certificates: For TLS; None: none.
            with_reflection: Whether anybody may read what is served.
        """
        self._address = address
        self._certificates = certificates
        self._services = sorted({*services, *(endpoint.path.split("/")[1] for endpoint in endpoints)})
        self._server = aio.server(options=[*OPTIONS, *grpcio_options(connections)])
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if with_reflection:
            names = [*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self._server)
        for service in self._services:
            handlers = {
                endpoint.path.split("/")[2]: _method_handler(
                    endpoint, _call if certificates is None else _certified_call
                )
                for endpoint in endpoints
                if endpoint.path.split("/")[1] == service
            }
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))

    async def start(self) -> int:
        """See `Transport`."""
        port = self._add_port()
        await self._server.start()
        for service in ("", *self._services):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return port

    def _add_port(self) -> int:
        if self._certificates is None:
            return int(self._server.add_insecure_port(self._address))
        return int(self._server.add_secure_port(self._address, self._certificates.server_credentials()))

    async def set_serving(self, service: str, serving: bool) -> None:
        """See `Transport`."""
        status = health_pb2.HealthCheckResponse
        await self._health.set(service, status.SERVING if serving else status.NOT_SERVING)

    async def leave(self) -> None:
        """See `Transport`."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """See `Transport`."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)


def _method_handler(endpoint: Endpoint | StreamEndpoint, call_of: Callable[[Any], Call]) -> Any:
    if isinstance(endpoint, StreamEndpoint):
        # On the wire, a method with one request is one with a stream of them that happens to end.
        return grpc.stream_stream_rpc_method_handler(_stream_behaviour(endpoint, call_of))
    return grpc.unary_unary_rpc_method_handler(_behaviour(endpoint, call_of))


class _Stream:
    """A `grpc.aio` call as a `Stream`."""

    def __init__(self, endpoint: StreamEndpoint, context: Any) -> None:
        self._endpoint = endpoint
        self._context = context

    async def receive(self) -> Any:
        payload = await self._context.read()
        return None if payload is aio.EOF else self._endpoint.request(payload)

    async def send(self, message: Message) -> None:
        await self._context.write(message.SerializeToString())


def _stream_behaviour(
    endpoint: StreamEndpoint, call_of: Callable[[Any], Call]
) -> Callable[[Any, Any], Awaitable[None]]:
    async def answer(_: Any, context: Any) -> None:
        status = await endpoint.serve(_Stream(endpoint, context), call_of(context))
        if status is not None:
            await _abort(context, status)

    return answer


def _behaviour(endpoint: Endpoint, call_of: Callable[[Any], Call]) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def answer(payload: bytes, context: Any) -> bytes:
        given = endpoint.answer(payload, call_of(context))
        result: Answer = await given if isinstance(given, Coroutine) else given
        return result if isinstance(result, bytes) else await _abort(context, result)

    return answer


def _call(context: Any) -> Call:
    return Call(context.invocation_metadata() or (), context.peer(), context.time_remaining())


def _certified_call(context: Any) -> Call:
    """The same, with the names of the caller's certificate."""
    return _call(context)._replace(names=names_of(context.auth_context()))


async def _abort(context: Any, status: WireStatus) -> NoReturn:
    await context.abort(status.code, status.message, status.metadata)
    raise AssertionError("abort raises")
