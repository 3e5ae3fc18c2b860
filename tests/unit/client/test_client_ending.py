"""What a publisher makes of the end of a stream, whatever its details are."""

import math
import pickle

import grpc
import pytest
from grpc import aio
from hypothesis import given
from hypothesis import strategies as st
from opportune.client import AcknowledgedDataLostError, PublisherClosedError, PublishError, SourceConflictError
from opportune.client.ending import Ending, ending_of

from tests.support.fake_profile_service import status_of


def error_with(code: grpc.StatusCode, *trailing: tuple[str, str | bytes]) -> aio.AioRpcError:
    """An error as grpc raises it."""
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(*trailing), details="sentence")


def test_reason_and_delay_come_from_the_details() -> None:
    details = status_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "JOURNAL_FULL", retry_after_s=2.5).SerializeToString()

    ending = ending_of(error_with(grpc.StatusCode.RESOURCE_EXHAUSTED, ("grpc-status-details-bin", details)))

    assert ending == Ending(grpc.StatusCode.RESOURCE_EXHAUSTED, "JOURNAL_FULL", "sentence", 2.5)
    assert ending.mendable


@pytest.mark.parametrize(
    ("pushback", "delay_s"),
    [("0", 0.0), ("250", 0.25), (b"1000", 1.0), ("-1", math.inf), ("soon", math.inf), ("9" * 400, math.inf)],
)
def test_pushback_is_milliseconds_or_never(pushback: str | bytes, delay_s: float) -> None:
    ending = ending_of(error_with(grpc.StatusCode.UNAVAILABLE, ("grpc-retry-pushback-ms", pushback)))

    assert ending.retry_after_s == delay_s
    assert ending.mendable == math.isfinite(delay_s)


def test_negative_delay_is_none() -> None:
    details = status_of(grpc.StatusCode.UNAVAILABLE, "", retry_after_s=-5).SerializeToString()

    assert ending_of(error_with(grpc.StatusCode.UNAVAILABLE, ("grpc-status-details-bin", details))).retry_after_s == 0


@given(details=st.binary(max_size=200), pushback=st.one_of(st.text(max_size=10), st.binary(max_size=10)))
def test_no_details_whatever_break_it(details: bytes, pushback: str | bytes) -> None:
    trailing = ("grpc-status-details-bin", details), ("grpc-retry-pushback-ms", pushback)

    ending = ending_of(error_with(grpc.StatusCode.UNAVAILABLE, *trailing))

    assert ending.retry_after_s >= 0


@given(position=st.integers(0, 200), bit=st.integers(0, 7))
def test_no_damaged_details_break_it(position: int, bit: int) -> None:
    details = bytearray(status_of(grpc.StatusCode.UNAVAILABLE, "JOURNAL_FAILED", 1.5).SerializeToString())
    details[position % len(details)] ^= 1 << bit

    ending = ending_of(error_with(grpc.StatusCode.UNAVAILABLE, ("grpc-status-details-bin", bytes(details))))

    assert ending.retry_after_s >= 0


@pytest.mark.parametrize(
    "error",
    [
        PublishError(grpc.StatusCode.INTERNAL, "", "sentence"),
        AcknowledgedDataLostError(5, 3),
        SourceConflictError("crm", 5, 3),
        PublisherClosedError(),
    ],
)
def test_errors_survive_the_way_between_processes(error: PublishError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
