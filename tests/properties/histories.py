"""Histories of customers: any deltas, links, loads and catalogs, as entries of the journal.

Amounts are small multiples of a quarter and events of the decayed sum are whole half-lives apart, so that every sum is
exact in a float32 and two histories that mean the same come to the same bits.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from server.domain.attribute import Schema
from server.domain.clock import EPOCH_DAYS, MICROSECONDS_PER_DAY, time_of
from server.domain.identity import IdentityPolicy
from server.domain.journal import CatalogPublished, DeltasReceived, Entry, ProfilesLoaded
from server.domain.load import ColumnBatch, LoadColumn
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta
from tests.support.catalogs import Document, catalog_document, compiled_catalog
from tests.support.clock import NOON_US, TODAY
from tests.support.folds import linked, published, received, unlinked

CUSTOMERS = ("a", "b", "c", "d", "e")
TAGS = [f"tag{number}" for number in range(26)]
"""More than one column holds."""

HALF_LIFE_DAYS = 5

ATTRIBUTES: list[Document] = [
    {"id": "visits", "type": "number"},
    {"id": "level", "type": "number", "merge": "max"},
    {"id": "points", "type": "number", "merge": "sum"},
    {"id": "member", "type": "boolean"},
    {"id": "tier", "type": "category", "values": ["basic", "silver", "gold"]},
    {"id": "tags", "type": "set", "values": TAGS},
    {"id": "labels", "type": "set", "values": ["x", "y", "z"], "merge": "latest"},
    {"id": "last_visit", "type": "timestamp_age", "merge": "max"},
    {"id": "income", "type": "number", "purpose": "personalization"},
    {"id": "distance", "type": "number", "purpose": "location"},
    {"id": "spend", "type": "number", "by": "department", "keys": ["grocery", "floral"]},
]
AGGREGATES: list[Document] = [
    {"id": "purchases", "event": "purchase", "op": "count"},
    {"id": "revenue", "event": "purchase", "op": "sum", "property": "amount"},
    {"id": "last_purchase", "event": "purchase", "op": "last"},
    {"id": "revenue_7d", "event": "purchase", "op": "sum", "property": "amount", "window": "7d"},
    {
        "id": "bought_30d", "event": "purchase", "op": "count", "window": "30d",
        "by": "department", "keys": ["grocery", "floral"],
    },
    {
        "id": "affinity", "event": "view", "op": "decayed_sum", "property": "weight", "half_life": "5d",
        "by": "department", "keys": ["grocery", "floral"], "purpose": "personalization",
    },
]  # fmt: skip
DOCUMENT = catalog_document(attributes=ATTRIBUTES, aggregates=AGGREGATES)
SCHEMA: Schema = compiled_catalog(DOCUMENT).customer

OTHER_ATTRIBUTES: list[Document] = [
    {"id": "labels", "type": "set", "values": ["z", "x", "new"], "merge": "latest"},
    {"id": "tier", "type": "category", "values": ["platinum", "gold", "basic"]},
    {"id": "visits", "type": "category", "values": ["many"]},
    {"id": "income", "type": "number", "purpose": "location"},
    {"id": "spend", "type": "number", "by": "department", "keys": ["tools", "floral"]},
    {"id": "points", "type": "number", "merge": "sum"},
]
OTHER_AGGREGATES: list[Document] = [
    {"id": "revenue_7d", "event": "purchase", "op": "sum", "property": "amount", "window": "14d"},
    {"id": "purchases", "event": "view", "op": "count"},
    {
        "id": "bought_30d", "event": "purchase", "op": "count", "window": "30d",
        "by": "department", "keys": ["floral", "tools"],
    },
]  # fmt: skip
OTHER_SCHEMA: Schema = compiled_catalog(
    catalog_document(attributes=OTHER_ATTRIBUTES, aggregates=OTHER_AGGREGATES)
).customer

_LANDMARK_US = (TODAY // HALF_LIFE_DAYS * HALF_LIFE_DAYS + EPOCH_DAYS) * MICROSECONDS_PER_DAY

amounts = st.integers(-8, 8).map(lambda quarters: quarters / 4)
departments = st.sampled_from(["grocery", "floral", "tools"])
hours_ago = st.integers(0, 45 * 24)
half_lives_ago = st.integers(0, 8)
customer_ids = st.sampled_from(CUSTOMERS)
pairs = st.lists(customer_ids, min_size=2, max_size=2, unique=True).map(tuple)


def _optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


settable = _optional(
    **{
        "visits": amounts,
        "level": amounts,
        "member": st.booleans(),
        "tier": st.sampled_from(["basic", "silver", "gold"]),
        "last_visit": hours_ago.map(lambda hours: time_of(NOON_US - hours * 3_600_000_000)),
        "income": amounts,
        "distance": amounts,
        "spend.floral": amounts,
    }
)
removed = st.lists(st.sampled_from(["visits", "tier", "income", "spend.floral"]), max_size=2, unique=True)
tags = st.lists(st.sampled_from([TAGS[0], TAGS[1], TAGS[24], TAGS[25]]), max_size=3, unique=True).map(tuple)
labels = st.sampled_from([("x",), ("y",), ("z",), ("x", "y")])


@st.composite
def updates(draw: st.DrawFn, alone: bool) -> AttributeUpdates:
    """Updates of which those by several sources commute; `alone` also such as do not."""
    sets = draw(settable)
    removes: dict[str, tuple[str, ...]] = {name: () for name in draw(removed) if name not in sets}
    appends = draw(_optional(tags=tags))
    if alone:
        appends |= draw(_optional(labels=labels))
        if "labels" not in appends:
            removes |= draw(_optional(labels=labels))
    increments = draw(_optional(**{"points": amounts, "spend.grocery": amounts}))
    return AttributeUpdates(sets, increments, appends, removes)


purchases = st.builds(
    lambda amount, department: Event("purchase", {"amount": amount, "department": department}), amounts, departments
)
views = st.builds(
    lambda weight, department: Event("view", {"weight": weight, "department": department}), amounts, departments
)
consents = st.builds(
    ConsentUpdate,
    st.sampled_from(["personalization", "location"]),
    st.booleans(),
    st.sampled_from(["", "web-banner"]),
    st.sampled_from(["", "2"]),
)


@st.composite
def deltas(draw: st.DrawFn, parity: int = 0, alone: bool = True, joining: bool = False) -> ProfileDelta:
    """Any delta that `SCHEMA` takes.

    Args:
        parity: Attributes are set in even or odd seconds, so that two sources never set one at the same time.
        alone: Whether the source may do what does not commute with what others do.
        joining: Whether it may name other identifiers and have match keys.
    """
    customer_id = draw(customer_ids)
    change = draw(st.one_of(updates(alone), updates(alone), purchases, purchases, views, consents))
    if isinstance(change, Event) and change.type == "view":
        time_us = _LANDMARK_US - draw(half_lives_ago) * HALF_LIFE_DAYS * MICROSECONDS_PER_DAY
    else:
        time_us = NOON_US - draw(hours_ago) * 3_600_000_000
    if isinstance(change, AttributeUpdates):
        time_us += parity * 1_000_000
    if not joining:
        return ProfileDelta(customer_id, time_us, change)
    others = draw(st.one_of(st.just(()), st.just(()), customer_ids.map(lambda other: (other,))))
    keys = draw(st.one_of(st.just(()), st.just(()), st.sampled_from([(b"k" * 16,), (b"l" * 16,)])))
    return ProfileDelta(customer_id, time_us, change, others, keys)


@st.composite
def loads(draw: st.DrawFn) -> ProfilesLoaded:
    """A bulk load of numbers and categories."""
    loaded = draw(st.lists(customer_ids, unique=True, min_size=1))
    size = len(loaded)
    times = [NOON_US - hours * 3_600_000_000 for hours in draw(st.lists(hours_ago, min_size=size, max_size=size))]
    maybe = st.lists(st.one_of(st.just(float("nan")), amounts), min_size=size, max_size=size)
    places = st.lists(st.sampled_from([float("nan"), 0.0, 1.0]), min_size=size, max_size=size)
    columns = (
        LoadColumn("visits", np.array(draw(maybe))),
        LoadColumn("spend.floral", np.array(draw(maybe))),
        LoadColumn("tier", np.array(draw(places)), ("gold", "basic")),
    )
    return ProfilesLoaded(NOON_US, "bulk", 0, ColumnBatch(tuple(loaded), np.array(times, np.int64), columns))


requests: st.SearchStrategy[DeltasReceived] = st.lists(deltas(joining=True), max_size=4).map(lambda d: received(*d))
plain_requests: st.SearchStrategy[DeltasReceived] = st.lists(deltas(), max_size=4).map(lambda some: received(*some))
links = pairs.map(lambda pair: linked(*pair))
unlinks = st.one_of(pairs.map(lambda pair: unlinked(*pair)), customer_ids.map(unlinked))
policies = st.sampled_from([IdentityPolicy(), IdentityPolicy(max_identifiers=3)])
catalogs: st.SearchStrategy[CatalogPublished] = st.builds(published, st.sampled_from([SCHEMA, OTHER_SCHEMA]), policies)

FIRST = published(SCHEMA)
anything: st.SearchStrategy[Entry] = st.one_of(requests, requests, loads(), links, unlinks, catalogs)


def known(customers: Sequence[str] = CUSTOMERS) -> DeltasReceived:
    """The entry that makes customers known of whom nothing is known but that."""
    return received(*(ProfileDelta(customer_id, 0, AttributeUpdates()) for customer_id in customers))
