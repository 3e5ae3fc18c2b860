"""Entries of the journal: any of them for property tests, plain ones for others, and a comparison that is exact."""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from server.domain.aggregate import Aggregate, Operation
from server.domain.attribute import Attribute, AttributeType, MergeRule, Schema
from server.domain.contact import ContactKind, ContactPolicy, ContactSubject, Draw
from server.domain.identity import IdentityPolicy
from server.domain.journal import (
    CatalogPublished,
    DecisionMade,
    DecisionsMade,
    DeltasReceived,
    DeltasRejected,
    Entry,
    IdentifiersLinked,
    IdentifierUnlinked,
    OutcomesReported,
    ProfileErased,
    ProfilesLoaded,
    Redacted,
    Rejection,
)
from server.domain.load import ColumnBatch, LoadColumn
from server.domain.matching import Form, MatchPart, MatchRule
from server.domain.outcome import DecisionRef, Outcome
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta

TIME_US = 1_795_348_800_000_000


def visits(customer_id: str, count: float, time_us: int = TIME_US) -> ProfileDelta:
    """A delta that sets a number."""
    return ProfileDelta(customer_id, time_us, AttributeUpdates(set={"visits": count}))


def received(number: int, *customer_ids: str, source: str = "web") -> DeltasReceived:
    """An entry that is like no other with another number."""
    deltas = tuple(visits(customer_id, float(number)) for customer_id in customer_ids or (f"cookie:{number}",))
    return DeltasReceived(TIME_US + number, source, number, deltas)


def rejected(number: int, source: str = "web") -> DeltasRejected:
    """An entry about one delta that was refused."""
    return DeltasRejected(TIME_US + number, source, number, (Rejection(0, "INVALID_FIELD", f"refused {number}"),))


def exact(value: Any) -> Any:
    """Something that is equal for two values only if they are the same, with the same types throughout."""
    match value:
        case np.ndarray():
            parts: Any = (value.dtype.str, value.shape, value.tobytes())
        case Mapping():
            return {key: exact(item) for key, item in value.items()}
        case tuple():
            parts = [exact(item) for item in value]
        case float():
            parts = value.hex()
        case datetime():
            parts = (value, value.utcoffset())
        case _ if dataclasses.is_dataclass(value):
            parts = [exact(getattr(value, part.name)) for part in dataclasses.fields(value) if part.init]
        case _:
            parts = value
    return (type(value), parts)


# Strategies. Half a surrogate pair is no text; everything else is.

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
times_us = st.integers(-(2**62), 2**62)
sequences = st.integers(0, 2**63 - 1)
small = st.integers(0, 2**31)


def tuples(elements: st.SearchStrategy[Any], max_size: int = 4) -> st.SearchStrategy[tuple[Any, ...]]:
    """Tuples of any of the elements."""
    return st.lists(elements, max_size=max_size).map(tuple)


def mappings(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Dicts of a few of the values."""
    return st.dictionaries(texts, values, max_size=3)


numbers = st.floats()
values = st.one_of(numbers, texts, st.booleans(), st.datetimes(timezones=st.just(UTC)), tuples(texts))
updates = st.builds(
    AttributeUpdates,
    set=mappings(values),
    increment=mappings(numbers),
    append=mappings(tuples(texts)),
    remove=mappings(tuples(texts)),
)
changes = st.one_of(
    st.none(),
    st.just(AttributeUpdates()),
    updates,
    texts.map(Event),
    st.builds(Event, texts, mappings(values)),
    st.builds(ConsentUpdate, texts, st.booleans(), texts, texts),
)
deltas = st.builds(ProfileDelta, texts, times_us, changes, tuples(texts), tuples(st.binary(max_size=20)))
deltas_received = st.builds(DeltasReceived, times_us, texts, sequences, tuples(deltas))

rejections = st.builds(Rejection, small, texts, texts)
deltas_rejected = st.builds(DeltasRejected, times_us, texts, sequences, tuples(rejections))


def vectors(dtype: type[np.generic]) -> st.SearchStrategy[NDArray[Any]]:
    """Short vectors of a type."""
    return arrays.arrays(np.dtype(dtype), st.integers(0, 5))


columns = st.builds(LoadColumn, texts, vectors(np.float64), tuples(texts), vectors(np.int32))
batches = st.builds(ColumnBatch, tuples(texts), vectors(np.int64), tuples(columns))
profiles_loaded = st.builds(ProfilesLoaded, times_us, texts, sequences, batches)

aggregates = st.builds(Aggregate, texts, st.sampled_from(Operation), texts, small, numbers)
attributes = st.builds(
    Attribute,
    id=texts,
    type=st.sampled_from(AttributeType),
    values=tuples(texts),
    by=st.none() | texts,
    keys=tuples(texts),
    purpose=st.none() | texts,
    merge=st.sampled_from(MergeRule),
    aggregate=st.none() | aggregates,
)
match_parts = st.builds(MatchPart, texts, st.sampled_from(Form), st.none() | small)
match_rules = st.builds(MatchRule, texts, tuples(match_parts))
policies = st.builds(IdentityPolicy, small, tuples(match_rules))
catalogs_published = st.builds(
    CatalogPublished,
    times_us,
    sequences,
    texts,
    texts,
    schema=st.builds(Schema, tuples(attributes)),
    identity=policies,
    contacts=st.builds(ContactPolicy, times_us, times_us, times_us),
)

kinds = st.sampled_from(ContactKind)
draws = st.builds(Draw, texts, kinds, times_us, times_us)
subjects = st.builds(ContactSubject, texts, texts, texts, texts, texts, tuples(draws, 2))
tags = st.integers(0, 2**64 - 1)
decisions = st.builds(
    DecisionMade,
    sequences,
    tags,
    times_us,
    sequences,
    texts,
    household=texts,
    until_us=times_us,
    shown=tuples(small),
)
decisions_made = st.builds(DecisionsMade, times_us, tuples(subjects, 2), tuples(decisions, 3))
outcomes = st.builds(
    Outcome,
    texts,
    kinds,
    times_us,
    st.none() | st.builds(DecisionRef, sequences, tags, small),
    texts,
    offer_id=texts,
    placement_id=texts,
    revenue=numbers,
    profit=numbers,
)
outcomes_reported = st.builds(
    lambda time_us, pairs: OutcomesReported(
        time_us, tuple(one for one, _ in pairs), tuple(about for _, about in pairs)
    ),
    times_us,
    st.lists(st.tuples(outcomes, st.none() | subjects), max_size=3),
)

entries: st.SearchStrategy[Entry] = st.one_of(
    catalogs_published,
    deltas_received,
    deltas_rejected,
    profiles_loaded,
    decisions_made,
    outcomes_reported,
    st.builds(IdentifiersLinked, times_us, texts, texts),
    st.builds(IdentifierUnlinked, times_us, texts, texts),
    st.builds(ProfileErased, times_us, small),
    st.builds(Redacted, times_us),
)
"""Entries of every kind."""

elsewhere = st.integers(-12, 12).map(lambda hours: timezone(timedelta(hours=hours)))
"""Time zones other than UTC."""
