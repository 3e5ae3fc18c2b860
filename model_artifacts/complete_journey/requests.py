"""The data set as requests to a server: what a producer of deltas would send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from opportune.v1 import profile_pb2, profile_service_pb2, value_pb2

from model_artifacts.complete_journey.deltas import Delta, Value

SOURCE = "complete-journey"
PURPOSE = "personalization"
_REQUEST_BYTES = 512 * 1024


def apply_requests(rows: Iterable[Delta], day: date) -> Iterator[profile_service_pb2.ApplyProfileDeltasRequest]:
    """Requests that make the profiles, half a MiB each at most, with increasing sequences from 1.

    The households of a panel have agreed to the use of their data, so each one's consent comes first.
    """
    moment = _timestamp(datetime.combine(day, datetime.min.time(), tzinfo=UTC))
    sequence, size = 1, 0
    request = profile_service_pb2.ApplyProfileDeltasRequest(source=SOURCE, sequence=sequence)
    for customer, values in rows:
        consent = profile_pb2.ConsentUpdate(purpose=PURPOSE, granted=True, source="panel")
        request.deltas.add(customer_id=customer, event_time=moment, consent=consent)
        delta = request.deltas.add(customer_id=customer, event_time=moment)
        _set_all(delta.attributes, values)
        size += delta.ByteSize()
        if size > _REQUEST_BYTES or len(request.deltas) >= 1_000:
            yield request
            sequence, size = sequence + 1, 0
            request = profile_service_pb2.ApplyProfileDeltasRequest(source=SOURCE, sequence=sequence)
    if request.deltas:
        yield request


def _set_all(updates: profile_pb2.AttributeUpdates, values: Mapping[str, Value]) -> None:
    for name, value in values.items():
        target = updates.set[name]
        match value:
            case str():
                target.string_value = value
            case datetime():
                target.timestamp_value.CopyFrom(_timestamp(value))
            case list():
                target.list_value.CopyFrom(value_pb2.StringList(values=value))
            case _:
                target.number_value = value


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
