"""Endpoints: the servicers' methods as functions of bytes, which either transport can serve.

A method is found by its descriptor, so that a service's proto is the only list of its methods.
"""

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
from server.wire.call import Call, Guard, Observer
from server.wire.status import WireStatus, internal, wire_status

DEFAULT_LIMIT_BYTES = 256 * 1024

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
    """

    path: str
    request_type: type[Message]
    handler: Callable[..., Any]
    limit_bytes: int
    takes_time: bool = False
    guards: Sequence[Guard] = ()
    observers: Sequence[Observer] = ()

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
        self._tell(call, _code(answer), started_ns)
        return answer

    def refused(self, error: OpportuneError, call: Call) -> Answer:
        """The answer to a call that is refused before its turn has come."""
        started_ns = perf_counter_ns()
        answer = wire_status(error)
        self._tell(call, _code(answer), started_ns)
        return answer

    async def _answered(self, response: Awaitable[Any], call: Call, started_ns: int) -> Answer:
        try:
            answer: Answer = cast(bytes, (await response).SerializeToString())
        except OpportuneError as error:
            answer = wire_status(error)
        except Exception:
            answer = wire_status(internal(self.path))
        except CancelledError:
            self._tell(call, _CANCELLED, started_ns)
            raise
        self._tell(call, _code(answer), started_ns)
        return answer

    def _tell(self, call: Call, code: int, started_ns: int) -> None:
        for observer in self.observers:
            observer(self.path, call, code, started_ns)

    def _response(self, payload: bytes, call: Call) -> Any:
        if call.time_left_s is not None and call.time_left_s <= 0:
            raise OpportuneError(ErrorReason.DEADLINE_PASSED, "the call's deadline has passed")
        for guard in self.guards:
            guard(self.path, call)
        request = decode(self.path, self.request_type, self.limit_bytes, payload)
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


@dataclass(frozen=True, slots=True)
class StreamEndpoint:
    """One streaming method. What its handler raises ends the call; its return ends it with OK."""

    path: str
    request_type: type[Message]
    handler: Callable[[Stream], Awaitable[None]]
    limit_bytes: int
    guards: Sequence[Guard] = ()
    observers: Sequence[Observer] = ()

    async def serve(self, stream: Stream, call: Call) -> WireStatus | None:
        """Serves one call up to its end: the status of its failure, None if all went well."""
        started_ns = perf_counter_ns()
        status = None
        try:
            for guard in self.guards:
                guard(self.path, call)
            await self.handler(stream)
        except OpportuneError as error:
            status = wire_status(error)
        except Exception:
            status = wire_status(internal(self.path))
        except CancelledError:
            self._tell(call, _CANCELLED, started_ns)
            raise
        self._tell(call, _OK if status is None else status.code.value[0], started_ns)
        return status

    def _tell(self, call: Call, code: int, started_ns: int) -> None:
        for observer in self.observers:
            observer(self.path, call, code, started_ns)

    def request(self, payload: bytes) -> Message:
        """A request of the stream.

        Raises:
            OpportuneError: MALFORMED_REQUEST or REQUEST_TOO_LARGE.
        """
        return decode(self.path, self.request_type, self.limit_bytes, payload)


def decode(path: str, request_type: type[Message], limit_bytes: int, payload: bytes) -> Message:
    """The request that bytes are.

    Raises:
        OpportuneError: MALFORMED_REQUEST or REQUEST_TOO_LARGE.
    """
    if len(payload) > limit_bytes:
        message = f"the request has {len(payload):,} bytes; {path} takes {limit_bytes:,}"
        raise OpportuneError(ErrorReason.REQUEST_TOO_LARGE, message, {"limit_bytes": str(limit_bytes)})
    try:
        return request_type.FromString(payload)
    except DecodeError:
        message = f"the bytes are not a {request_type.DESCRIPTOR.full_name}"
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
        if method.client_streaming or method.server_streaming:
            yield StreamEndpoint(path, request_type, handler, limit_bytes, guards, observers)
        else:
            takes_time = "time_left_s" in inspect.signature(handler).parameters
            yield Endpoint(path, request_type, handler, limit_bytes, takes_time, guards, observers)
