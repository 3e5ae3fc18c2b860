"""Values and times."""

from collections.abc import Mapping
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from opportune.v1 import value_pb2

from server.domain.attribute import Value
from server.domain.clock import LATEST_US, time_of
from server.domain.errors import invalid_field
from server.domain.identifier import shown_name

MAX_TEXT_BYTES = 256
MAX_LIST = 1_024

_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


def values_from(messages: Mapping[str, value_pb2.Value], field: str) -> dict[str, Value]:
    """The values of a map, by key.

    Raises:
        OpportuneError: INVALID_FIELD if one has no value, or one that is too long or out of range.
    """
    values: dict[str, Value] = {}
    # Protobuf's maps have no quick way to their items: `items()` is a generator in Python that looks each key up.
    for name in messages:
        message = messages[name]
        kind = message.WhichOneof("kind")
        # These cannot be wrong here, so the field's path need not be made.
        if kind == "number_value":
            values[name] = message.number_value
        elif kind == "bool_value":
            values[name] = message.bool_value
        else:
            values[name] = _checked(message, kind, f'{field}["{shown_name(name)}"]')
    return values


def texts_from(message: value_pb2.StringList, field: str) -> tuple[str, ...]:
    """The texts of a list, each once."""
    if len(message.values) > MAX_LIST:
        raise invalid_field(field, f"has more than {MAX_LIST:,} values")
    return tuple(dict.fromkeys(_text(text, field) for text in message.values))


def time_from(message: Timestamp, field: str) -> datetime:
    """The time of a timestamp in the years 1970 to 2200, to the microsecond."""
    return time_of(microseconds_from(message, field))


def microseconds_from(message: Timestamp, field: str) -> int:
    """The time of a timestamp in the years 1970 to 2200, in microseconds since 1970."""
    seconds, nanos = message.seconds, message.nanos
    if not 0 <= seconds < LATEST_US // 1_000_000 or not 0 <= nanos < 1_000_000_000:
        raise invalid_field(field, "is outside the years 1970 to 2200")
    return seconds * 1_000_000 + nanos // 1_000


def time_to(time: datetime) -> Timestamp:
    """The timestamp of a time with time zone."""
    since = time - _UNIX
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def set_time(message: Timestamp, time: datetime) -> None:
    """Sets a timestamp to a time with time zone."""
    since = time - _UNIX
    message.seconds = since.days * 86_400 + since.seconds
    message.nanos = since.microseconds * 1_000


def value_to(value: Value) -> value_pb2.Value:
    """The message that carries a value."""
    match value:
        case bool():
            return value_pb2.Value(bool_value=value)
        case str():
            return value_pb2.Value(string_value=value)
        case datetime():
            return value_pb2.Value(timestamp_value=time_to(value))
        case tuple():
            return value_pb2.Value(list_value=value_pb2.StringList(values=value))
    return value_pb2.Value(number_value=value)


def _checked(message: value_pb2.Value, kind: str | None, field: str) -> Value:
    match kind:
        case "string_value":
            return _text(message.string_value, field)
        case "timestamp_value":
            return time_from(message.timestamp_value, field)
        case "list_value":
            return texts_from(message.list_value, field)
    raise invalid_field(field, "has no value")


def _text(text: str, field: str) -> str:
    if len(text) > MAX_TEXT_BYTES or len(text.encode()) > MAX_TEXT_BYTES:
        raise invalid_field(field, f"is longer than {MAX_TEXT_BYTES} bytes")
    return text
