"""Redaction: an entry of the journal without anything about those who were erased.

An entry keeps its place, its time, and the sequence of its source: a message that was acknowledged stays acknowledged,
so that no producer sends an erased customer's data again.
"""

from collections.abc import Callable, Iterable, Set

import numpy as np
from numpy.typing import NDArray

from server.domain.journal import (
    DecisionMade,
    DecisionsMade,
    DeltasReceived,
    Entry,
    IdentifiersLinked,
    IdentifierUnlinked,
    OutcomesReported,
    ProfilesLoaded,
    Record,
    Redacted,
)
from server.domain.load import ColumnBatch, LoadColumn
from server.domain.outcome import Outcome
from server.domain.profile import ProfileDelta

Erased = Callable[[str, int], bool]
"""Whether what was received of an identifier at a time is erased."""


def redacted(record: Record, erased: Erased) -> Record:
    """The record without anything about erased identifiers; the very same record if there is nothing."""
    entry = record.entry
    kept: Entry
    match entry:
        case DeltasReceived():
            kept = _without_deltas(entry, erased)
        case ProfilesLoaded():
            kept = _without_rows(entry, erased)
        case DecisionsMade():
            kept = _without_customers(entry, erased)
        case OutcomesReported():
            kept = _without_reporters(entry, erased)
        case IdentifiersLinked(time_us, identifier, other) | IdentifierUnlinked(time_us, identifier, other):
            # What a link says of the one it says of the other.
            about = erased(identifier, time_us) or (bool(other) and erased(other, time_us))
            kept = Redacted(time_us) if about else entry
        case _:
            return record
    return record if kept is entry else Record(record.offset, kept)


def without_decisions(record: Record, identifiers: Set[str], last: int) -> Record:
    """The record without whose the decisions up to a number were; the very same if there are none of these customers.

    Decisions are written a little after they were made, so that those of an erased customer may be behind the erasure.
    """
    entry = record.entry
    if not isinstance(entry, DecisionsMade) or all(made.number > last for made in entry.decisions):
        return record
    decisions = tuple(
        _nobodys(made) if made.number <= last and made.customer_id in identifiers else made for made in entry.decisions
    )
    if all(map(_is, decisions, entry.decisions)):
        return record
    return Record(record.offset, entry._replace(decisions=decisions))


def _without_deltas(entry: DeltasReceived, erased: Erased) -> DeltasReceived | Redacted:
    time_us = entry.time_us
    deltas = tuple(
        _without_links(delta, erased, time_us) for delta in entry.deltas if not erased(delta.customer_id, time_us)
    )
    # What is unchanged is the same object, which makes this comparison a quick one.
    if len(deltas) == len(entry.deltas) and all(map(_is, deltas, entry.deltas)):
        return entry
    return entry._replace(deltas=deltas) if deltas or entry.sequence else Redacted(time_us)


def _without_customers(entry: DecisionsMade, erased: Erased) -> DecisionsMade:
    """Decisions are numbered and hold what everybody shares, so they stay, and are nobody's."""

    def kept(made: DecisionMade) -> DecisionMade:
        gone = made.customer_id and erased(made.customer_id, entry.time_us)
        return _nobodys(made) if gone else made

    decisions = tuple(map(kept, entry.decisions))
    return entry if all(map(_is, decisions, entry.decisions)) else entry._replace(decisions=decisions)


def _nobodys(made: DecisionMade) -> DecisionMade:
    return made._replace(customer_id="", household="")


def _without_reporters(entry: OutcomesReported, erased: Erased) -> OutcomesReported:
    """Outcomes stay, as each is entered once; one that names an erased customer names nobody."""

    def kept(outcome: Outcome) -> Outcome:
        gone = outcome.customer_id and erased(outcome.customer_id, entry.time_us)
        return outcome._replace(customer_id="") if gone else outcome

    outcomes = tuple(map(kept, entry.outcomes))
    return entry if all(map(_is, outcomes, entry.outcomes)) else entry._replace(outcomes=outcomes)


def _without_links(delta: ProfileDelta, erased: Erased, time_us: int) -> ProfileDelta:
    """Somebody else's delta that named an erased identifier; it stays even if it did nothing but link.

    It still says that its own customer is known, and since when.
    """
    others = delta.other_ids
    if not others:
        return delta
    kept = tuple(other_id for other_id in others if not erased(other_id, time_us))
    return delta if len(kept) == len(others) else delta._replace(other_ids=kept)


def _is(left: object, right: object) -> bool:
    return left is right


def _without_rows(entry: ProfilesLoaded, erased: Erased) -> ProfilesLoaded:
    batch, time_us = entry.batch, entry.time_us
    keep = np.fromiter((not erased(identifier, time_us) for identifier in batch.customer_ids), np.bool_)
    if keep.all():
        return entry
    identifiers = _where(keep, batch.customer_ids)
    columns = tuple(_column(column, keep) for column in batch.columns) if identifiers else ()
    return entry._replace(batch=ColumnBatch(identifiers, batch.event_times_us[keep], columns))


def _column(column: LoadColumn, keep: NDArray[np.bool_]) -> LoadColumn:
    """A column without the values of some customers, and without the texts that only they had."""
    name, values, texts, lengths = column
    if len(lengths):
        values = values[np.repeat(keep, np.maximum(lengths, 0))]
        lengths = lengths[keep]
    else:
        values = values[keep]
    if not texts:
        return LoadColumn(name, values, texts, lengths)
    present = ~np.isnan(values)
    used = np.unique(values[present])
    renumbered = values.copy()
    renumbered[present] = np.searchsorted(used, values[present])
    return LoadColumn(name, renumbered, tuple(texts[int(place)] for place in used), lengths)


def _where(keep: NDArray[np.bool_], texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for text, kept in zip(texts, keep.tolist(), strict=True) if kept)
