"""What the journal's entries say of one customer, without what they say of others."""

import math
from collections.abc import Iterator, Set
from datetime import datetime
from typing import NamedTuple

import numpy as np

from server.domain.attribute import AttributeType, Schema
from server.domain.clock import time_of
from server.domain.contact import ContactSubject
from server.domain.decision import decision_id_of
from server.domain.journal import (
    DecisionsMade,
    DeltasReceived,
    Entry,
    IdentifiersLinked,
    IdentifierUnlinked,
    OutcomesReported,
    ProfilesLoaded,
)
from server.domain.load import ColumnBatch, LoadColumn
from server.domain.outcome import Outcome
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
    change = ExportedChange("", 0, time_of(entry.time_us), None, "")
    match entry:
        case DeltasReceived(_, source, sequence, deltas):
            for delta in deltas:
                yield from _of_delta(delta, identifiers, change._replace(source=source, sequence=sequence))
        case ProfilesLoaded():
            yield from _of_load(entry, identifiers, schema, change)
        case DecisionsMade():
            yield from _of_decisions(entry, identifiers, change)
        case OutcomesReported(_, outcomes, _):
            for outcome in outcomes:
                if outcome.customer_id in identifiers:
                    yield change._replace(description=_outcome(outcome))
        case IdentifiersLinked(_, identifier, other) if identifier in identifiers or other in identifiers:
            words = f"{_name(identifier, identifiers)} and {_name(other, identifiers)} were joined"
            yield change._replace(description=words)
        case IdentifierUnlinked(_, identifier, other) if identifier in identifiers or other in identifiers:
            others = _name(other, identifiers) if other else "every other identifier"
            yield change._replace(description=f"{_name(identifier, identifiers)} was parted from {others}")


def _of_load(
    entry: ProfilesLoaded, identifiers: Set[str], schema: Schema, change: ExportedChange
) -> Iterator[ExportedChange]:
    for place, identifier in enumerate(entry.batch.customer_ids):
        if identifier in identifiers:
            words = f"{identifier} was loaded: {_loaded(entry.batch, place, schema)}"
            yield change._replace(source=entry.source, sequence=entry.sequence, description=words)


def _of_decisions(entry: DecisionsMade, identifiers: Set[str], change: ExportedChange) -> Iterator[ExportedChange]:
    for made in entry.decisions:
        if made.customer_id in identifiers:
            shown = ", ".join(_shown(entry.subjects[place]) for place in made.shown)
            decision_id = decision_id_of(made.number, made.tag)
            words = f"{made.customer_id} was shown {shown} at {time_of(made.time_us).isoformat()} in {decision_id}"
            yield change._replace(description=words)


def _shown(subject: ContactSubject) -> str:
    return f"{subject.offer_id} at {subject.placement_id} on {subject.channel}"


def _outcome(outcome: Outcome) -> str:
    worth = f", revenue {outcome.revenue:g}, profit {outcome.profit:g}" if outcome.revenue or outcome.profit else ""
    return f"{outcome.kind.name.lower()} of {outcome.offer_id} was reported of {outcome.customer_id}{worth}"


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
