"""Values between messages and the domain."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from opportune.v1.value_pb2 import StringList
from opportune.v1.value_pb2 import Value as Message

from server.domain.attribute import Value
from server.domain.errors import ErrorReason, OpportuneError
from server.wire.convert.value import set_time, texts_from, time_from, time_to, value_to, values_from

HERE = 'here["key"]'
LAST_SECOND = 7_258_118_399


def value_from(message: Message) -> Value:
    """The value of a message, as one entry of a map."""
    return values_from({"key": message}, "here")["key"]


def problem_of(message: Message) -> tuple[str, str]:
    """The field and the problem that a message is refused with."""
    with pytest.raises(OpportuneError) as caught:
        value_from(message)
    assert caught.value.reason is ErrorReason.INVALID_FIELD
    violation = caught.value.violations[0]
    return violation.field, violation.description


@pytest.mark.parametrize(
    "value",
    [
        0.0,
        -2.5,
        1e300,
        "",
        "gold",
        "x" * 256,
        "é" * 128,
        True,
        False,
        (),
        ("b", "a"),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2199, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_value_of_every_kind_comes_back_as_it_was(value: Value) -> None:
    found = value_from(value_to(value))

    assert found == value
    assert type(found) is type(value)


def test_value_without_a_kind_is_refused() -> None:
    assert problem_of(Message()) == (HERE, "has no value")


@pytest.mark.parametrize("text", ["x" * 257, "é" * 129])
def test_text_of_more_than_256_bytes_is_refused(text: str) -> None:
    assert problem_of(Message(string_value=text)) == (HERE, "is longer than 256 bytes")
    assert problem_of(Message(list_value=StringList(values=["a", text])))[0].startswith(HERE)


def test_list_keeps_its_order_and_drops_repeats() -> None:
    assert texts_from(StringList(values=["b", "a", "b"]), "here") == ("b", "a")


def test_list_has_at_most_1024_texts() -> None:
    texts = [str(number) for number in range(1_025)]

    assert len(texts_from(StringList(values=texts[:1_024]), "here")) == 1_024
    assert problem_of(Message(list_value=StringList(values=texts))) == (HERE, "has more than 1,024 values")


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [
        (-1, 0),
        (LAST_SECOND + 1, 0),
        (-(1 << 63), 0),
        ((1 << 63) - 1, 0),
        (0, -1),
        (0, 1_000_000_000),
        (0, (1 << 31) - 1),
    ],
)
def test_time_outside_1970_to_2200_or_with_bad_nanoseconds_is_refused(seconds: int, nanos: int) -> None:
    message = Message(timestamp_value=Timestamp(seconds=seconds, nanos=nanos))

    assert problem_of(message) == (HERE, "is outside the years 1970 to 2200")


def test_first_and_last_moment_are_taken_to_the_microsecond() -> None:
    first = time_from(Timestamp(), "here")
    last = time_from(Timestamp(seconds=LAST_SECOND, nanos=999_999_999), "here")

    assert first == datetime(1970, 1, 1, tzinfo=UTC)
    assert last == datetime(2199, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def test_time_of_any_zone_is_sent_as_the_same_moment() -> None:
    moment = datetime(2024, 3, 1, 1, 30, 0, 250, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    message = Timestamp()

    set_time(message, moment)

    assert message == time_to(moment)
    assert message.ToDatetime(UTC) == moment


def test_time_before_1970_is_sent_with_nanoseconds_that_are_not_negative() -> None:
    message = time_to(datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC))

    assert (message.seconds, message.nanos) == (-1, 500_000_000)


def test_values_of_a_map_are_named_by_their_key_unless_that_may_be_anything() -> None:
    with pytest.raises(OpportuneError) as short:
        values_from({"tier": Message()}, "attributes")
    with pytest.raises(OpportuneError) as long:
        values_from({"k" * 5_000: Message()}, "attributes")

    assert short.value.violations[0].field == 'attributes["tier"]'
    assert long.value.violations[0].field == 'attributes["…"]'
