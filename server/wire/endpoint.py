"""Endpoints: the servicers' methods as functions of bytes, which either transport can serve.

A method is found by its descriptor, so that a service's proto is the only list of its methods.
"""

import asyncio
import inspect
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from types import CoroutineType
from typing import Any, Protocol, cast

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from server.domain.errors import ErrorReason, OpportuneError
from server.telemetry.context import CURRENT
from server.wire.call import Call, Guard, Observer
from server.wire.elements import MAX_ELEMENTS, require_few_elements
from server.wire.status import WireStatus, internal, wire_status

DEFAULT_LIMIT_BYTES = 256 * 1024

FIRST_MESSAGE_S = 30.0
"""Within how many seconds the first message of a stream has to come."""

_OK, _CANCELLED = 0, 1

Answer = bytes | WireStatus
"""How a call ends: with a serialised response, or with an error."""

Later = Coroutine[Any, Any, Answer]
"""An answer that has to be waited for."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One unary method.

    Attributes:
        handler: Takes the request, and gives the response, or a coroutine of it.
        takes_time: Whether the handler also takes the seconds until the call's deadline, None without one.
        limit_bytes: The largest request it takes.
        guards: Whom a call has to pass, in their order.
        observers: Who is told how a call has ended.
        max_elements: How many elements its request may have, 0 for any number.
    """

    path: str
    request_type: type[Message]
    handler: Callable[..., Any]
    limit_bytes: int
    takes_time: bool = False
    guards: Sequence[Guard] = ()
    observers: Sequence[Observer] = ()
    max_elements: int = 0

    def answer(self, payload: bytes, call: Call) -> Answer | Later:
        """Answers a call, on the spot or, where the handler has to wait, later; raises nothing but CancelledError."""
        started_ns = perf_counter_ns()
        try:
            response = self._response(payload, call)
            if type(response) is CoroutineType:
                return self._answered(response, call, started_ns)
            answer: Answer = cast(bytes, response.SerializeToString())
        except OpportuneError as error:
            answer = wire_status(error)
        except Exception:
            answer = wire_status(internal(self.path))
        _tell(self, call, _code(answer), started_ns)
        return answer

    def refused(self, error: OpportuneError, call: Call) -> Answer:
        """The answer to a call that is refused before its turn has come."""
        started_ns = perf_counter_ns()
        # No guard has said whose this is; the reason must not be noted for the call before, which may go on.
        CURRENT.set(None)
        answer = wire_status(error)
        _tell(self, call, _code(answer), started_ns)
        return answer

    async def _answered(self, response: Awaitable[Any], call: Call, started_ns: int) -> Answer:
        try:
            answer: Answer = cast(bytes, (await response).SerializeToString())
        except OpportuneError as error:
            answer = wire_status(error)
        except Exception:
            answer = wire_status(internal(self.path))
        except CancelledError:
            _tell(self, call, _CANCELLED, started_ns)
            raise
        _tell(self, call, _code(answer), started_ns)
        return answer

    def _response(self, payload: bytes, call: Call) -> Any:
        if call.time_left_s is not None and call.time_left_s <= 0:
            # As in `refused`.
            CURRENT.set(None)
            raise OpportuneError(ErrorReason.DEADLINE_PASSED, "the call's deadline has passed")
        for guard in self.guards:
            guard(self.path, call)
        request = decode(self, payload)
        return self.handler(request, call.time_left_s) if self.takes_time else self.handler(request)


def _code(answer: Answer) -> int:
    return _OK if type(answer) is bytes else cast(int, cast(WireStatus, answer).code.value[0])


class Stream(Protocol):
    """The messages of one streaming call. One task may receive while another sends."""

    async def receive(self) -> Any:
        """The next request, None behind the last one.

        Raises:
            OpportuneError: MALFORMED_REQUEST or REQUEST_TOO_LARGE.
        """
        ...

    async def send(self, message: Message) -> None:
        """Sends a response; waits while the caller takes no more."""
        ...


class _Prompt:
    """A stream whose first request has to come in time, so that nobody holds calls open for nothing."""

    def __init__(self, stream: Stream, limit_s: float) -> None:
        self._stream = stream
        self._limit_s = limit_s
        self._is_first = True

    async def send(self, message: Message) -> None:
        await self._stream.send(message)

    async def receive(self) -> Any:
        if not self._is_first:
            return await self._stream.receive()
        self._is_first = False
        reading = asyncio.ensure_future(self._stream.receive())
        try:
            done, _ = await asyncio.wait({reading}, timeout=self._limit_s)
        finally:
            # Once it is read this does nothing; a call whose reading was cancelled can only be ended.
            reading.cancel()
        if not done:
            message = f"the first message has not come within {self._limit_s:g} seconds"
            raise OpportuneError(ErrorReason.STREAM_SILENT, message, {"limit_s": f"{self._limit_s:g}"})
        return reading.result()


@dataclass(frozen=True, slots=True)
class StreamEndpoint:
    """One streaming method. What its handler raises ends the call; its return ends it with OK.

    Attributes:
        max_elements: How many elements a request may have, 0 for any number.
        first_message_s: Within how many seconds the first request has to come.
    """

    path: str
    request_type: type[Message]
    handler: Callable[[Stream], Awaitable[None]]
    limit_bytes: int
    guards: Sequence[Guard] = ()
    observers: Sequence[Observer] = ()
    max_elements: int = 0
    first_message_s: float = FIRST_MESSAGE_S

    async def serve(self, stream: Stream, call: Call) -> WireStatus | None:
        """Serves one call up to its end: the status of its failure, None if all went well."""
        started_ns = perf_counter_ns()
        status = None
        try:
            for guard in self.guards:
                guard(self.path, call)
            await self.handler(_Prompt(stream, self.first_message_s))
        except OpportuneError as error:
            status = wire_status(error)
        except Exception:
            status = wire_status(internal(self.path))
        except CancelledError:
            _tell(self, call, _CANCELLED, started_ns)
            raise
        _tell(self, call, _OK if status is None else status.code.value[0], started_ns)
        return status

    def request(self, payload: bytes) -> Message:
        """A request of the stream.

        Raises:
            OpportuneError: MALFORMED_REQUEST or REQUEST_TOO_LARGE.
        """
        return decode(self, payload)


def _tell(endpoint: Endpoint | StreamEndpoint, call: Call, code: int, started_ns: int) -> None:
    """Tells the observers how a call has ended."""
    for observer in endpoint.observers:
        observer(endpoint.path, call, code, started_ns)


def decode(endpoint: Endpoint | StreamEndpoint, payload: bytes) -> Message:
    """The request that bytes are.

    Raises:
        OpportuneError: MALFORMED_REQUEST or REQUEST_TOO_LARGE.
    """
    if len(payload) > endpoint.limit_bytes:
        message = f"the request has {len(payload):,} bytes; {endpoint.path} takes {endpoint.limit_bytes:,}"
        raise OpportuneError(ErrorReason.REQUEST_TOO_LARGE, message, {"limit_bytes": str(endpoint.limit_bytes)})
    if endpoint.max_elements:
        require_few_elements(endpoint.path, payload, endpoint.max_elements)
    try:
        return endpoint.request_type.FromString(payload)
    except DecodeError:
        message = f"the bytes are not a {endpoint.request_type.DESCRIPTOR.full_name}"
        raise OpportuneError(ErrorReason.MALFORMED_REQUEST, message) from None


def endpoints(
    service: ServiceDescriptor,
    servicer: object,
    limits_bytes: dict[str, int] | None = None,
    guards: Sequence[Guard] = (),
    observers: Sequence[Observer] = (),
) -> Iterable[Endpoint | StreamEndpoint]:
    """The endpoints of a service, each answered by the servicer's method of the same name."""
    for method in service.methods:
        path, handler = f"/{service.full_name}/{method.name}", getattr(servicer, method.name)
        request_type = GetMessageClass(method.input_type)
        limit_bytes = (limits_bytes or {}).get(method.name, DEFAULT_LIMIT_BYTES)
        most = MAX_ELEMENTS.get(method.name, 0)
        if method.client_streaming or method.server_streaming:
            yield StreamEndpoint(path, request_type, handler, limit_bytes, guards, observers, most)
        else:
            takes_time = "time_left_s" in inspect.signature(handler).parameters
            yield Endpoint(path, request_type, handler, limit_bytes, takes_time, guards, observers, most)
