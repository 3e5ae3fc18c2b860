"""Endpoints: the servicers' methods as functions from bytes to bytes, which either transport can serve.

A method is found by its descriptor, so that a service's proto is the only list of its methods.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from server.domain.errors import ErrorReason, OpportuneError
from server.wire.status import WireStatus, internal, wire_status

DEFAULT_LIMIT_BYTES = 256 * 1024

Answer = bytes | WireStatus
"""How a call ends: with a serialised response, or with an error."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One unary method.

    Attributes:
        handler: Takes the request; a plain function answers on the spot, a coroutine function in a task.
        limit_bytes: The largest request it takes.
    """

    path: str
    request_type: type[Message]
    handler: Callable[[Any], Any]
    is_async: bool
    limit_bytes: int

    def answer(self, payload: bytes, time_remaining_s: float | None) -> Answer:
        """Answers a call of a plain handler; never raises."""
        try:
            response = self.handler(self._request(payload, time_remaining_s))
            return cast(bytes, response.SerializeToString())
        except OpportuneError as error:
            return wire_status(error)
        except Exception:
            return wire_status(internal(self.path))

    async def answer_async(self, payload: bytes, time_remaining_s: float | None) -> Answer:
        """Answers a call of a coroutine handler; raises nothing but CancelledError."""
        try:
            response = await cast(Awaitable[Any], self.handler(self._request(payload, time_remaining_s)))
            return cast(bytes, response.SerializeToString())
        except OpportuneError as error:
            return wire_status(error)
        except Exception:
            return wire_status(internal(self.path))

    def _request(self, payload: bytes, time_remaining_s: float | None) -> Message:
        if time_remaining_s is not None and time_remaining_s <= 0:
            raise OpportuneError(ErrorReason.DEADLINE_PASSED, "the call's deadline has passed")
        if len(payload) > self.limit_bytes:
            message = f"the request has {len(payload):,} bytes; {self.path} takes {self.limit_bytes:,}"
            raise OpportuneError(ErrorReason.REQUEST_TOO_LARGE, message, {"limit_bytes": str(self.limit_bytes)})
        try:
            return self.request_type.FromString(payload)
        except DecodeError:
            message = f"the bytes are not a {self.request_type.DESCRIPTOR.full_name}"
            raise OpportuneError(ErrorReason.MALFORMED_REQUEST, message) from None


def endpoints(
    service: ServiceDescriptor, servicer: object, limits_bytes: dict[str, int] | None = None
) -> Iterable[Endpoint]:
    """The endpoints of a service, each answered by the servicer's method of the same name."""
    for method in service.methods:
        handler = getattr(servicer, method.name)
        yield Endpoint(
            path=f"/{service.full_name}/{method.name}",
            request_type=GetMessageClass(method.input_type),
            handler=handler,
            is_async=inspect.iscoroutinefunction(handler),
            limit_bytes=(limits_bytes or {}).get(method.name, DEFAULT_LIMIT_BYTES),
        )
