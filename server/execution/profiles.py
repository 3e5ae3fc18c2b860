"""GetProfile: what is known about a customer."""

import math
from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np

from server.domain.attribute import EPOCH, Attribute, AttributeType, FloatRow, Schema, Value, days_since_epoch
from server.domain.clock import time_of
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.identifier import require_identifier
from server.domain.profile import Profile
from server.execution.state import Clock, State
from server.input.event_times import NEVER
from server.input.keys import key_name
from server.input.profiles import ProfileTable


class GetProfile:
    """Returns what is known about a customer."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def __call__(self, customer_id: str) -> Profile:
        """The profile of a customer; aggregates are worth what they are worth now.

        Raises:
            OpportuneError: PROFILE_NOT_FOUND if nothing is known, INVALID_FIELD for what cannot be an id.
        """
        require_identifier("customer_id", customer_id)
        profiles = self._state.profiles
        row = profiles.find(customer_id)
        if row < 0:
            raise profile_not_found()
        customer = profiles.graph.customer(row)
        if customer == row and profiles.update_us(row) == NEVER and profiles.contacts.read(row) is not None:
            # Offers were shown, but nobody has ever said anything about this customer.
            raise profile_not_found()
        return profile_of(profiles, customer_id, customer, profiles.members(row), self._clock())


def profile_not_found() -> OpportuneError:
    """The error for a customer of whom nothing is known."""
    return OpportuneError(ErrorReason.PROFILE_NOT_FOUND, "nothing is known about this customer")


def profile_of(profiles: ProfileTable, customer_id: str, row: int, members: list[int], now: datetime) -> Profile:
    """What a row holds, for somebody to read."""
    read = profiles.read_row(row)
    values = read.values.copy()
    profiles.aggregates.read(values, read.buckets, days_since_epoch(now))
    return Profile(
        customer_id=customer_id,
        attributes=dict(attributes_of(values, profiles.schema)),
        consents=profiles.consents(row),
        version=read.version,
        update_time=time_of(max(profiles.update_us(row), 0)),
        identifiers=tuple(profiles.name(member) for member in members),
    )


def attributes_of(row: FloatRow, schema: Schema) -> Iterator[tuple[str, Value]]:
    """The attributes that are present, cells of keyed attributes as `attribute.key`."""
    for name, column in schema.columns.items():
        attribute = schema.attribute_of_column[column]
        if name.endswith("#time"):
            continue
        if attribute.type is AttributeType.SET:
            if name == attribute.id and not math.isnan(row[column]):
                yield name, _members(row, attribute, schema)
        elif attribute.type is AttributeType.KEY:
            words = [float(row[schema.columns[word]]) for word in attribute.column_names()]
            if name == attribute.id and key_name(words):
                yield name, f"key:{key_name(words)}"
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
