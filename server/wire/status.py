"""How gRPC says an error: canonical code, sentence, and details (AIP-193). Nobody else knows these."""

import logging
from functools import lru_cache
from typing import NamedTuple
from uuid import uuid4

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from server.domain.errors import ErrorReason, OpportuneError, Violation
from server.telemetry.context import note_reason

DOMAIN = "opportune"
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
MAX_VIOLATIONS_BYTES = 3_072
"""Clients refuse trailing metadata over 8 KiB by default, so a long list of violations is cut there."""

MAX_MESSAGE_BYTES = 640
"""Of a message; in a trailer each byte outside ASCII takes three (percent-encoding), once more within the details."""

MAX_DESCRIPTION_BYTES = 512

_LOG = logging.getLogger(__name__)


class WireStatus(NamedTuple):
    """The end of a call that failed."""

    code: grpc.StatusCode
    message: str
    metadata: tuple[tuple[str, str | bytes], ...]


def wire_status(error: OpportuneError) -> WireStatus:
    """The status that an error ends its call with."""
    note_reason(error.reason.name)
    if error.reason is ErrorReason.OVERLOADED:
        return _overloaded(error.message, error.retry_after_ms)
    return _wire_status(error)


@lru_cache(64)
def _overloaded(message: str, retry_after_ms: int | None) -> WireStatus:
    """Refusals for load come by the thousand and must cost next to nothing; few of them differ."""
    return _wire_status(OpportuneError(ErrorReason.OVERLOADED, message, retry_after_ms=retry_after_ms))


def _wire_status(error: OpportuneError) -> WireStatus:
    status = rpc_status(error)
    metadata: list[tuple[str, str | bytes]] = [(DETAILS_KEY, status.SerializeToString())]
    if error.retry_after_ms is not None:
        metadata.append((PUSHBACK_KEY, str(error.retry_after_ms)))
    return WireStatus(grpc.StatusCode[error.reason.kind.name], status.message, tuple(metadata))


def rpc_status(error: OpportuneError) -> status_pb2.Status:
    """The same as a `google.rpc.Status`, for answers within a batch."""
    info = error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=error.metadata)
    details = [_packed(info)]
    if error.violations:
        details.append(_packed(_bad_request(error.violations)))
    if error.retry_after_ms is not None:
        seconds, milliseconds = divmod(error.retry_after_ms, 1_000)
        delay = duration_pb2.Duration(seconds=seconds, nanos=milliseconds * 1_000_000)
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    message = _cut(error.message, MAX_MESSAGE_BYTES)
    code = grpc.StatusCode[error.reason.kind.name].value[0]
    return status_pb2.Status(code=code, message=message, details=details)


def internal(method: str) -> OpportuneError:
    """The error for a fault of ours: one fixed sentence for the caller, the traceback for the log.

    Call it while the exception is being handled.
    """
    error_id = uuid4().hex
    _LOG.exception("%s failed; error_id %s", method, error_id)
    message = "the server failed; its log has the details under the error_id"
    return OpportuneError(ErrorReason.INTERNAL, message, {"error_id": error_id})


def _bad_request(violations: tuple[Violation, ...]) -> error_details_pb2.BadRequest:
    bad_request = error_details_pb2.BadRequest()
    for violation in violations:
        description = _cut(violation.description, MAX_DESCRIPTION_BYTES)
        bad_request.field_violations.add(field=_cut(violation.field, MAX_DESCRIPTION_BYTES), description=description)
        if bad_request.ByteSize() > MAX_VIOLATIONS_BYTES:
            del bad_request.field_violations[-1]
            break
    return bad_request


def _cut(text: str, limit_bytes: int) -> str:
    """The text, or as much of it as fits."""
    encoded = text.encode()
    return text if len(encoded) <= limit_bytes else encoded[: limit_bytes - 3].decode(errors="ignore") + "…"


def _packed(detail: object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)  # type: ignore[arg-type]  # The generated details have no types.
    return packed
