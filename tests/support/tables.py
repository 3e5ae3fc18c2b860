"""Profile tables in a few words: changes of any kind by identifier, and what a table says afterwards."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from server.domain.attribute import Attribute, FloatRow, IntRow, Schema, Value, days_since_epoch
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event
from server.execution.profiles import attributes_of
from server.input.deltas import compile_updates
from server.input.profiles import ProfileRow, ProfileTable
from tests.support.clock import NOON, NOON_US

Anything = AttributeUpdates | ConsentUpdate | Event | None


def table(*attributes: Attribute) -> ProfileTable:
    """An empty table for these attributes."""
    return ProfileTable(Schema(attributes))


def change(
    profiles: ProfileTable,
    customer_id: str,
    what: Anything,
    time_us: int = NOON_US,
    *,
    version: int = 1,
    received_us: int = NOON_US,
) -> None:
    """Applies one change to an identifier, as a delta would, and nothing else of a delta."""
    row = profiles.ensure(customer_id)
    if isinstance(what, ConsentUpdate):
        profiles.record_consent(row, what.purpose, what.granted, time_us, version)
    else:
        changes = []
        if isinstance(what, AttributeUpdates):
            changes = compile_updates(what, profiles.schema)
        elif isinstance(what, Event):
            changes = profiles.aggregates.compile(what, time_us)
        profiles.update(row, changes, time_us, version, received_us)
    profiles.refresh(version)


def put(
    profiles: ProfileTable, customer_id: str, values: Mapping[str, Value], time_us: int = NOON_US, version: int = 1
) -> None:
    """Sets attributes of an identifier."""
    change(profiles, customer_id, AttributeUpdates(set=values), time_us, version=version)


def link(profiles: ProfileTable, left: str, right: str, ruled: bool = False) -> None:
    """Joins two identifiers."""
    profiles.link(profiles.ensure(left), profiles.ensure(right), ruled, 1)


def unlink(profiles: ProfileTable, left: str, right: str | None = None) -> list[set[str]]:
    """Parts identifiers; tells who is left with whom."""
    parts = profiles.unlink(profiles.find(left), None if right is None else profiles.find(right), 1)
    return [{profiles.name(row) for row in part} for part in parts]


def row_of(profiles: ProfileTable, customer_id: str) -> ProfileRow:
    """What a decision reads of a customer that is known."""
    row = profiles.read(customer_id)
    assert row is not None
    return row


def values_of(profiles: ProfileTable, customer_id: str) -> list[float]:
    """The columns of a customer's row."""
    return [float(value) for value in row_of(profiles, customer_id).values]


def unreadable_of(profiles: ProfileTable, customer_id: str) -> list[int]:
    """The columns that a decision may not read."""
    columns: IntRow = row_of(profiles, customer_id).unreadable
    return [int(column) for column in columns]


def attributes(profiles: ProfileTable, customer_id: str, now: datetime = NOON) -> dict[str, Value]:
    """The attributes of a customer at a time, as `GetProfile` shows them."""
    row = row_of(profiles, customer_id)
    values: FloatRow = np.array(row.values)
    profiles.aggregates.read(values, row.buckets, days_since_epoch(now))
    return dict(attributes_of(values, profiles.schema))
