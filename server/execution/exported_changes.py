"""What the journal's entries say of one customer, without what they say of others."""

import math
from collections.abc import Iterator, Set
from datetime import datetime
from typing import NamedTuple

import numpy as np

from server.domain.attribute import AttributeType, Schema
from server.domain.clock import time_of
from server.domain.journal import DeltasReceived, Entry, IdentifiersLinked, IdentifierUnlinked, ProfilesLoaded
from server.domain.load import ColumnBatch, LoadColumn
from server.domain.profile import ProfileDelta

_SOMEBODY = "another identifier"


class ExportedChange(NamedTuple):
    """One change that was made: a delta, or what happened in words."""

    source: str
    sequence: int
    receive_time: datetime
    delta: ProfileDelta | None
    description: str


def changes_of(entry: Entry, identifiers: Set[str], schema: Schema) -> Iterator[ExportedChange]:
    """What an entry says of a customer's identifiers; nothing if it only seemed to be about them."""
    time = time_of(entry.time_us)
    match entry:
        case DeltasReceived(_, source, sequence, deltas):
            for delta in deltas:
                yield from _of_delta(delta, identifiers, ExportedChange(source, sequence, time, None, ""))
        case ProfilesLoaded(_, source, sequence, batch):
            for place, identifier in enumerate(batch.customer_ids):
                if identifier in identifiers:
                    words = f"{identifier} was loaded: {_loaded(batch, place, schema)}"
                    yield ExportedChange(source, sequence, time, None, words)
        case IdentifiersLinked(_, identifier, other) if identifier in identifiers or other in identifiers:
            words = f"{_name(identifier, identifiers)} and {_name(other, identifiers)} were joined"
            yield ExportedChange("", 0, time, None, words)
        case IdentifierUnlinked(_, identifier, other) if identifier in identifiers or other in identifiers:
            others = _name(other, identifiers) if other else "every other identifier"
            yield ExportedChange("", 0, time, None, f"{_name(identifier, identifiers)} was parted from {others}")


def _of_delta(delta: ProfileDelta, identifiers: Set[str], change: ExportedChange) -> Iterator[ExportedChange]:
    named = tuple(other_id for other_id in delta.other_ids if other_id in identifiers)
    if delta.customer_id in identifiers:
        # An identifier that has been parted since is somebody else's.
        yield change._replace(delta=delta._replace(other_ids=named, match_keys=()))
    elif named:
        yield change._replace(description=f"{', '.join(named)} and {_SOMEBODY} were joined")


def _name(identifier: str, identifiers: Set[str]) -> str:
    return identifier if identifier in identifiers else _SOMEBODY


def _loaded(batch: ColumnBatch, place: int, schema: Schema) -> str:
    """The values of one customer of a load, as `name = value`."""
    values = ((column.name, _cell(column, place, schema)) for column in batch.columns)
    words = [f"{name} = {value}" for name, value in values if value is not None]
    at = time_of(int(batch.event_times_us[place])).isoformat()
    return f"{', '.join(words) or 'no values'} (as of {at})"


def _cell(column: LoadColumn, place: int, schema: Schema) -> str | None:
    if len(column.lengths):
        return _members(column, place)
    value = float(column.values[place])
    if math.isnan(value):
        return None
    if column.texts:
        return column.texts[int(value)]
    known = schema.columns.get(column.name)
    attribute_type = None if known is None else schema.attribute_of_column[known].type
    match attribute_type:
        case AttributeType.BOOLEAN:
            return "true" if value else "false"
        case AttributeType.TIMESTAMP_AGE:
            return time_of(int(value)).isoformat()
    return f"{value:.15g}"


def _members(column: LoadColumn, place: int) -> str | None:
    length = int(column.lengths[place])
    if length < 0:
        return None
    start = int(np.maximum(column.lengths[:place], 0).sum())
    return f"[{', '.join(column.texts[int(member)] for member in column.values[start : start + length])}]"
