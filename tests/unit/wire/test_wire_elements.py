"""Elements are counted as protobuf itself sees them, and no further than the limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opportune.v1.decision_service_pb2 import BatchRankOffersRequest, RankOffersRequest

from server.domain.errors import OpportuneError
from server.wire.elements import MAX_ELEMENTS, require_few_elements

PATH = "/opportune.v1.DecisionService/BatchRankOffers"


def is_refused(payload: bytes, limit: int) -> bool:
    try:
        require_few_elements(PATH, payload, limit)
    except OpportuneError as error:
        assert (error.reason.name, error.metadata) == ("REQUEST_TOO_LARGE", {"limit_elements": str(limit)})
        return True
    return False


@given(st.lists(st.text(max_size=300), max_size=40), st.integers(1, 40))
def test_request_with_more_elements_than_the_limit_is_refused(customers: list[str], limit: int) -> None:
    batch = BatchRankOffersRequest(requests=[RankOffersRequest(customer_id=customer) for customer in customers])

    assert is_refused(batch.SerializeToString(), limit) == (len(customers) > limit)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 100))
def test_fields_of_every_kind_count(numbers: int, unknown: int, limit: int) -> None:
    # A number, eight bytes, four bytes and a text, all of them unknown to the message.
    kinds = [b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x11" + b"\0" * 8, b"\x1d" + b"\0" * 4, b"\x7a\x03abc"]
    fields = [kinds[number % 4] for number in range(numbers)] + [b"\xfa\x01\x00"] * unknown

    assert is_refused(b"".join(fields), limit) == (numbers + unknown > limit)


def test_groups_hide_no_elements() -> None:
    # An empty group of an unknown field, which protobuf skips.
    payload = b"\xc3\x3e\xc4\x3e" + b"\x0a\x00" * 5_000

    assert len(BatchRankOffersRequest.FromString(payload).requests) == 5_000
    assert is_refused(payload, MAX_ELEMENTS["BatchRankOffers"])


@given(st.binary(max_size=2_000))
def test_bytes_that_are_no_message_break_nothing(payload: bytes) -> None:
    is_refused(payload, 10)


@pytest.mark.parametrize("payload", [b"\xff" * 400, b"\x0a" * 401, b"\x0e" * 400, b"\x0a\xff\xff\xff\xff\x0f" * 100])
def test_bytes_that_are_no_message_are_left_to_the_parser(payload: bytes) -> None:
    assert not is_refused(payload, 100)


def test_no_more_than_the_limit_is_looked_at() -> None:
    class Counting(bytes):
        """Counts how often a byte is looked at."""

        looked = 0

        def __getitem__(self, place: object) -> int:  # type: ignore[override]
            Counting.looked += 1
            return super().__getitem__(place)  # type: ignore[no-any-return, call-overload]

    assert is_refused(Counting(b"\x0a\x00" * 1_000_000), 50)
    assert Counting.looked == 100


def test_limits_are_those_of_methods() -> None:
    from server.service import SERVICES

    assert {*MAX_ELEMENTS} <= {method.name for service in SERVICES for method in service.methods}
