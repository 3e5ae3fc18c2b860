"""How a stream ended, and what follows from that."""

import math
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from opportune.client.errors import PublishError

MENDABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        # What proxies, dying servers and grpc itself make of a broken connection.
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
"""Codes after which the same messages may succeed; an unknown future code stops rather than loops."""

TOO_LARGE = "REQUEST_TOO_LARGE"
"""The one RESOURCE_EXHAUSTED that stays: the message does not get smaller."""

EXPIRED = "CREDENTIALS_EXPIRED"
"""The UNAUTHENTICATED that another token mends."""

_DETAILS_KEY = "grpc-status-details-bin"
_PUSHBACK_KEY = "grpc-retry-pushback-ms"


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a stream. `retry_after_s` is how long the server wants to be left alone; infinite: for ever."""

    code: grpc.StatusCode
    reason: str
    message: str
    retry_after_s: float = 0.0

    @property
    def mendable(self) -> bool:
        """Whether another stream may get further."""
        if self.reason == TOO_LARGE or math.isinf(self.retry_after_s):
            return False
        return self.code is grpc.StatusCode.OK or self.code in MENDABLE

    def error(self) -> PublishError:
        """What the caller gets to see if it is not mendable."""
        return PublishError(self.code, self.reason, self.message)


def ending_of(error: aio.AioRpcError) -> Ending:
    """The ending that an error of a call stands for."""
    trailing = {str(key): value for key, value in error.trailing_metadata() or ()}
    status = _status(trailing.get(_DETAILS_KEY, b""))
    retry_after_s = max(_retry_delay_s(status), _pushback_s(trailing.get(_PUSHBACK_KEY)))
    return Ending(error.code(), reason_of(status), error.details() or "", retry_after_s)


def reason_of(status: status_pb2.Status) -> str:
    """The reason in a status's ErrorInfo; empty if there is none."""
    info = error_details_pb2.ErrorInfo()
    return info.reason if _unpacked(status, info) else ""


def _status(details: bytes) -> status_pb2.Status:
    # A proxy's details may be anything; the code alone decides then.
    try:
        return status_pb2.Status.FromString(details)
    except DecodeError:
        return status_pb2.Status()


def _unpacked(status: status_pb2.Status, detail: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> bool:
    try:
        return any(packed.Unpack(detail) for packed in status.details)
    except DecodeError:
        return False


def _retry_delay_s(status: status_pb2.Status) -> float:
    retry = error_details_pb2.RetryInfo()
    if not _unpacked(status, retry):
        return 0.0
    delay_s: float = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return max(0.0, delay_s)


def _pushback_s(value: str | bytes | None) -> float:
    """Seconds. gRPC's retry design (A6) reads a negative or unreadable value as "do not retry"."""
    if value is None:
        return 0.0
    try:
        pushback_s = int(value) / 1_000
    except (ValueError, OverflowError):
        return math.inf
    return pushback_s if pushback_s >= 0 else math.inf
