"""How errors become gRPC statuses."""

import base64
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from opportune.v1 import error_reason_pb2

from server.domain.errors import ErrorReason, Kind, OpportuneError, Violation, invalid_field
from server.wire.status import DETAILS_KEY, WireStatus, internal, rpc_status, wire_status

CLIENTS_LIMIT_BYTES = 8 * 1024
"""What clients take of trailing metadata unless they are told otherwise."""


def details(status: WireStatus) -> status_pb2.Status:
    content = dict(status.metadata)[DETAILS_KEY]
    assert isinstance(content, bytes)
    return status_pb2.Status.FromString(content)


def size_bytes(status: WireStatus) -> int:
    """The size of the trailers on the wire, as HTTP/2 counts a list of headers."""
    headers = [("grpc-status", "3"), ("grpc-message", quote(status.message))]
    for key, content in status.metadata:
        headers.append((key, base64.b64encode(content).decode() if isinstance(content, bytes) else content))
    return sum(len(key) + len(content) + 32 for key, content in headers)


def catalog_refusal(path: str, description: str, count: int) -> OpportuneError:
    return OpportuneError(
        ErrorReason.INVALID_CATALOG,
        f"the catalog has {count} problems; the first: {path}: {description}",
        {"problems": str(count)},
        [Violation(path, description)] * count,
    )


def bad_request(status: WireStatus) -> list[str]:
    message = error_details_pb2.BadRequest()
    assert any(detail.Unpack(message) for detail in details(status).details)
    return [violation.field for violation in message.field_violations]


def test_reasons_of_domain_and_proto_have_the_same_names() -> None:
    declared = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name}

    assert {reason.name for reason in ErrorReason} == declared - {"UNSPECIFIED"}


@pytest.mark.parametrize("reason", ErrorReason)
def test_every_reason_is_of_a_kind_that_is_a_canonical_code(reason: ErrorReason) -> None:
    status = wire_status(OpportuneError(reason, "why"))

    assert reason.kind in Kind
    assert status.code is grpc.StatusCode[reason.kind.name]
    assert details(status).code == status.code.value[0]


@pytest.mark.parametrize("reason", ErrorReason)
def test_kind_of_every_reason_is_the_code_that_its_proto_comment_promises(reason: ErrorReason) -> None:
    comment = PROTO_COMMENTS[f"ERROR_REASON_{reason.name}"]

    assert comment.partition(".")[0] == reason.kind.name


def test_reasons_of_one_kind_are_told_apart() -> None:
    assert len(set(ErrorReason)) == len(ErrorReason.__members__)


def test_status_carries_reason_domain_and_metadata() -> None:
    status = wire_status(OpportuneError(ErrorReason.ETAG_MISMATCH, "stale", {"etag": "abc"}))

    info = error_details_pb2.ErrorInfo()
    assert details(status).details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == ("ETAG_MISMATCH", "opportune", {"etag": "abc"})
    assert (status.message, details(status).message) == ("stale", "stale")
    assert len(details(status).details) == 1


def test_violations_become_a_bad_request() -> None:
    assert bad_request(wire_status(invalid_field("max_offers", "must not be negative"))) == ["max_offers"]


def test_time_to_retry_becomes_retry_info_and_pushback() -> None:
    status = wire_status(OpportuneError(ErrorReason.PROFILE_BEHIND, "behind", retry_after_ms=50))

    retry = error_details_pb2.RetryInfo()
    assert details(status).details[-1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 50
    assert ("grpc-retry-pushback-ms", "50") in status.metadata


def test_time_to_retry_may_be_longer_than_a_second() -> None:
    status = wire_status(OpportuneError(ErrorReason.PROFILE_BEHIND, "behind", retry_after_ms=2_500))

    retry = error_details_pb2.RetryInfo()
    assert details(status).details[-1].Unpack(retry)
    assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (2, 500_000_000)


def test_status_within_an_answer_is_the_one_of_the_call() -> None:
    error = invalid_field("filter", "does not compile")

    assert rpc_status(error) == details(wire_status(error))


@pytest.mark.parametrize("length", [10, 100, 1_000])
def test_long_lists_of_violations_are_cut_below_what_clients_take(length: int) -> None:
    status = wire_status(catalog_refusal("offers[1].eligible", "x" * length, 2_000))

    assert bad_request(status)
    assert size_bytes(status) < CLIENTS_LIMIT_BYTES


def test_long_lists_of_violations_in_another_script_are_cut_below_what_clients_take() -> None:
    status = wire_status(catalog_refusal("offers[1].eligible", "大" * 1_000, 2_000))

    assert size_bytes(status) < CLIENTS_LIMIT_BYTES


def test_violation_that_is_too_long_alone_is_still_named() -> None:
    status = wire_status(catalog_refusal("offers[1].eligible", "x" * 5_000, 1))

    assert bad_request(status) == ["offers[1].eligible"]


def test_internal_error_says_one_fixed_sentence_and_logs_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise KeyError("loyalty:4711")
    except KeyError:
        error = internal("/service/Method")

    assert error.reason is ErrorReason.INTERNAL
    assert "4711" not in error.message + str(error.metadata)
    assert error.metadata["error_id"] in caplog.text
    assert "KeyError" in caplog.text
    assert "/service/Method" in caplog.text


def _proto_comments() -> dict[str, str]:
    from tests.unit.wire.proto_sources import comments

    return comments("opportune/v1/error_reason.proto")


PROTO_COMMENTS = _proto_comments()
