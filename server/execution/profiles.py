"""ApplyProfileDeltas and GetProfile."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from server.domain.attribute import EPOCH, Attribute, AttributeType, FloatRow, Schema, Value
from server.domain.errors import ErrorReason, OpportuneError, invalid_field
from server.domain.identifier import require_identifier
from server.domain.profile import (
    AttributeUpdates,
    ConsentUpdate,
    Event,
    Profile,
    ProfileDelta,
    RejectedDelta,
)
from server.execution.state import State
from server.input.deltas import compile_updates, days_of

MAX_DELTAS = 1_000
MAX_UPDATES = 4_096
MAX_TEXT_BYTES = 128


@dataclass(frozen=True, slots=True)
class DeltasApplied:
    """What became of one request: the source's watermark, the version to read it at, and what was refused."""

    acknowledged_sequence: int
    profile_version: int
    rejected: tuple[RejectedDelta, ...]


class ApplyProfileDeltas:
    """Applies the deltas of producers in their order, each request of a source once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._watermarks: dict[str, int] = {}

    def __call__(self, source: str, sequence: int, deltas: Sequence[ProfileDelta | OpportuneError]) -> DeltasApplied:
        """Applies the deltas of one request; one that could not even be read stands as its error.

        Raises:
            OpportuneError: INVALID_FIELD for the request itself, NO_CATALOG before the first catalog.
        """
        require_identifier("source", source)
        if sequence < 0:
            raise invalid_field("sequence", "must not be negative")
        if len(deltas) > MAX_DELTAS:
            raise invalid_field("deltas", f"has more than {MAX_DELTAS:,} entries")
        schema = self._state.catalog.customer
        watermark = self._watermarks.get(source, 0)
        rejected: tuple[RejectedDelta, ...] = ()
        if deltas and (sequence == 0 or sequence > watermark):
            rejected = tuple(self._apply(deltas, schema))
            if sequence:
                watermark = self._watermarks[source] = sequence
        return DeltasApplied(watermark, self._state.profile_version, rejected)

    def _apply(self, deltas: Sequence[ProfileDelta | OpportuneError], schema: Schema) -> Iterator[RejectedDelta]:
        for index, delta in enumerate(deltas):
            try:
                if isinstance(delta, OpportuneError):
                    raise delta
                self._apply_one(delta, schema)
            except OpportuneError as error:
                yield RejectedDelta(index, error)

    def _apply_one(self, delta: ProfileDelta, schema: Schema) -> None:
        """Everything that can be refused is refused before anything is changed."""
        require_identifier("customer_id", delta.customer_id)
        time_days = days_of(delta.event_time, "event_time")
        state, version = self._state, self._state.profile_version + 1
        match delta.change:
            case AttributeUpdates() as updates:
                if sum(map(len, (updates.set, updates.increment, updates.append, updates.remove))) > MAX_UPDATES:
                    raise invalid_field("attributes", f"changes more than {MAX_UPDATES:,} attributes")
                changes = compile_updates(updates, schema)
                state.profiles.update(delta.customer_id, changes, version, time_days)
            case ConsentUpdate(purpose=purpose, granted=granted):
                _check_consent(delta.change, schema)
                state.profiles.record_consent(delta.customer_id, purpose, granted, version, time_days)
            case Event():
                raise invalid_field("event.type", "no aggregate of the catalog takes events of this type")
        state.profile_version = version


class GetProfile:
    """Returns what is known about a customer."""

    def __init__(self, state: State) -> None:
        self._state = state

    def __call__(self, customer_id: str) -> Profile:
        """The profile of a customer.

        Raises:
            OpportuneError: PROFILE_NOT_FOUND if nothing is known, INVALID_FIELD for what cannot be an id.
        """
        require_identifier("customer_id", customer_id)
        profiles = self._state.profiles
        row = profiles.read(customer_id)
        if row is None:
            raise OpportuneError(ErrorReason.PROFILE_NOT_FOUND, "nothing is known about this customer")
        return Profile(
            customer_id=customer_id,
            attributes=dict(_attributes(row.values, profiles.schema)),
            consents=profiles.consents(customer_id),
            version=row.version,
            update_time=EPOCH + timedelta(seconds=round(profiles.update_days(customer_id) * 86_400)),
        )


def _check_consent(consent: ConsentUpdate, schema: Schema) -> None:
    if consent.purpose not in schema.purposes:
        raise invalid_field("consent.purpose", "is not the purpose of any attribute of the catalog")
    for name, text in (("source", consent.source), ("version", consent.version)):
        if len(text.encode()) > MAX_TEXT_BYTES:
            raise invalid_field(f"consent.{name}", f"is longer than {MAX_TEXT_BYTES} bytes")


def _attributes(row: FloatRow, schema: Schema) -> Iterator[tuple[str, Value]]:
    """The attributes that are present, cells of keyed attributes as `attribute.key`."""
    for name, column in schema.columns.items():
        attribute = schema.attribute_of_column[column]
        if attribute.type is AttributeType.SET:
            if name == attribute.id and not math.isnan(row[column]):
                yield name, _members(row, attribute, schema)
        elif not math.isnan(row[column]):
            yield name, _value(float(row[column]), attribute)


def _members(row: FloatRow, attribute: Attribute, schema: Schema) -> tuple[str, ...]:
    bits = {value: schema.member(attribute, value) for value in attribute.values}
    return tuple(
        value for value, (column, bit) in bits.items() if not math.isnan(row[column]) and int(row[column]) & bit
    )


def _value(number: float, attribute: Attribute) -> Value:
    match attribute.type:
        case AttributeType.BOOLEAN:
            return bool(number)
        case AttributeType.CATEGORY:
            return attribute.values[int(number)]
        case AttributeType.TIMESTAMP_AGE:
            return _time(number)
        case _:
            # The shortest number that is the same float32: 0.7 comes back as 0.7.
            return float(str(np.float32(number)))


def _time(days: float) -> datetime:
    """The time of a float32 count of days, which is right to a few seconds in the decades around 2020."""
    return EPOCH + timedelta(seconds=round(days * 86_400))
