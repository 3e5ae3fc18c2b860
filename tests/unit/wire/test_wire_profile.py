"""Deltas, profiles and loads between messages and the domain."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from opportune.v1 import profile_pb2 as pb
from opportune.v1 import profile_service_pb2 as service_pb
from opportune.v1.value_pb2 import StringList, Value

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, Profile, ProfileDelta
from server.wire.convert.load import MAX_NESTED, batch_from
from server.wire.convert.profile import delta_to, deltas_from, profile_to
from tests.support.clock import NOON, NOON_US

Change = AttributeUpdates | Event | ConsentUpdate | None


def delta_from(message: pb.ProfileDelta) -> ProfileDelta:
    (found,) = deltas_from([message], NOON)
    assert isinstance(found, ProfileDelta), found
    return found


@pytest.mark.parametrize(
    "change",
    [
        AttributeUpdates(),
        AttributeUpdates(
            set={"n": 1.5, "b": True, "c": "x", "t": datetime(2026, 1, 1, tzinfo=UTC), "s": ("x", "y"), "e": ()},
            increment={"n": -2.0},
            append={"s": ("x",)},
            remove={"s": ("y",), "n": ()},
        ),
        Event("purchase"),
        Event("purchase", {"amount": 3.0, "department": "grocery", "items": ("a",)}),
        ConsentUpdate("personalization", True, "web", "3"),
        ConsentUpdate("personalization", False),
    ],
)
def test_delta_comes_back_from_its_message(change: Change) -> None:
    delta = ProfileDelta("loyalty:42", NOON_US + 1, change, ("cookie:7", "cookie:8"))

    assert delta_from(delta_to(delta)) == delta


def test_delta_may_be_a_mere_link() -> None:
    delta = ProfileDelta("loyalty:42", NOON_US, None, ("cookie:7",))

    assert delta_from(delta_to(delta)) == delta


def test_match_keys_are_in_no_message() -> None:
    delta = ProfileDelta("a", NOON_US, AttributeUpdates(), (), (b"secret-secret-16",))

    assert b"secret" not in delta_to(delta).SerializeToString()


def test_delta_without_a_time_happened_when_it_was_received() -> None:
    message = pb.ProfileDelta(customer_id="a", event=pb.Event(type="purchase"))

    assert delta_from(message).event_time_us == NOON_US


def test_first_moment_of_1970_is_a_time() -> None:
    message = pb.ProfileDelta(customer_id="a", event=pb.Event(type="purchase"), event_time=Timestamp())

    assert delta_from(message).event_time_us == 0


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.ProfileDelta(customer_id="a"), "change"),
        (pb.ProfileDelta(event=pb.Event(type="x"), event_time=Timestamp(seconds=-1)), "event_time"),
        (pb.ProfileDelta(event=pb.Event(type="x"), event_time=Timestamp(seconds=7_258_118_400)), "event_time"),
        (pb.ProfileDelta(attributes=pb.AttributeUpdates(set={"x": Value()})), 'attributes.set["x"]'),
        (pb.ProfileDelta(event=pb.Event(type="x", properties={"p": Value()})), 'event.properties["p"]'),
        (
            pb.ProfileDelta(attributes=pb.AttributeUpdates(append={"x": StringList(values=["y" * 257])})),
            'attributes.append["x"]',
        ),
    ],
)
def test_delta_that_cannot_be_read_is_refused_alone_with_its_path(message: pb.ProfileDelta, field: str) -> None:
    fine = pb.ProfileDelta(customer_id="a", event=pb.Event(type="purchase"))

    before, refused, after = deltas_from([fine, message, fine], NOON)

    assert isinstance(refused, OpportuneError)
    assert refused.reason is ErrorReason.INVALID_FIELD
    assert refused.violations[0].field == field
    assert before == after == ProfileDelta("a", NOON_US, Event("purchase"))


def test_profile_tells_everything_that_is_known() -> None:
    profile = Profile("b", {"visits": 2.0, "tags": ("x",)}, {"p": False}, 7, NOON, ("a", "b"))

    message = profile_to(profile)

    assert (message.customer_id, message.profile_version, list(message.identifiers)) == ("b", 7, ["a", "b"])
    assert message.attributes["visits"].number_value == 2.0
    assert list(message.attributes["tags"].list_value.values) == ["x"]
    assert dict(message.consents) == {"p": False}
    assert message.update_time.ToMicroseconds() == NOON_US


def load_message(**more: Any) -> service_pb.LoadProfilesRequest:
    column = service_pb.LoadColumn(name="tags", values=[0, 1], texts=["x", "y"], lengths=[2, -1])
    return service_pb.LoadProfilesRequest(customer_ids=["a", "b"], columns=[column], **more)


def test_batch_is_read_column_by_column() -> None:
    batch = batch_from(load_message(event_times_us=[5, 6]), NOON)

    (column,) = batch.columns
    assert (batch.customer_ids, batch.event_times_us.tolist()) == (("a", "b"), [5, 6])
    assert (column.name, column.texts) == ("tags", ("x", "y"))
    assert (column.values.dtype.name, column.values.tolist()) == ("float64", [0.0, 1.0])
    assert (column.lengths.dtype.name, column.lengths.tolist()) == ("int32", [2, -1])


def test_batch_of_very_many_elements_within_its_columns_is_refused_before_they_are_looked_at() -> None:
    texts, lengths = [""] * (MAX_NESTED // 2), bytes(MAX_NESTED // 2 - 1)
    columns = [service_pb.LoadColumn(name="tags", values=[0.0], texts=texts), service_pb.LoadColumn(lengths=lengths)]
    allowed = service_pb.LoadProfilesRequest(columns=columns)
    refused = service_pb.LoadProfilesRequest(columns=columns, event_times_us=[1])

    assert [len(column.texts) for column in batch_from(allowed, NOON).columns] == [len(texts), 0]
    with pytest.raises(OpportuneError) as caught:
        batch_from(refused, NOON)
    assert (caught.value.reason, caught.value.metadata) == (
        ErrorReason.REQUEST_TOO_LARGE,
        {"limit_elements": str(MAX_NESTED)},
    )


@pytest.mark.parametrize(
    ("more", "time_us"),
    [
        (lambda: {}, NOON_US),
        (lambda: {"event_time": Timestamp(seconds=9)}, 9_000_000),
    ],
)
def test_batch_without_times_of_its_own_has_one_for_all(more: Callable[[], dict[str, object]], time_us: int) -> None:
    assert batch_from(load_message(**more()), NOON).event_times_us.tolist() == [time_us] * 2
