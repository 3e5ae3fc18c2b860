"""Histories of a few people who share messages and loads, and are joined and parted."""

import numpy as np
from hypothesis import strategies as st

from server.domain.attribute import Schema
from server.domain.journal import DeltasReceived, Entry, IdentifiersLinked, IdentifierUnlinked, ProfilesLoaded
from server.domain.load import ColumnBatch, LoadColumn
from server.domain.profile import AttributeUpdates, ProfileDelta
from tests.support.catalogs import category, keyed, number, text_set, timestamp

IDENTIFIERS = [f"cookie:person-{number}-4711" for number in range(6)]
NAN = float("nan")

SCHEMA = Schema((
    number("visits"), category("tier", "basic", "gold"), text_set("tags", "vegan", "parent"), timestamp("seen"),
    keyed("spend", "department", "grocery"),
))  # fmt: skip
people = st.sampled_from(IDENTIFIERS)
updates = st.builds(
    AttributeUpdates,
    set=st.fixed_dictionaries({}, optional={"visits": st.integers(0, 9).map(float), "tier": st.just("gold")}),
    increment=st.just({}),
    append=st.fixed_dictionaries({}, optional={"tags": st.just(("vegan",))}),
    remove=st.just({}),
)
times = st.integers(0, 50)


@st.composite
def loads(draw: st.DrawFn) -> ProfilesLoaded:
    """A bulk load of some of the people."""
    customers = draw(st.lists(people, unique=True, max_size=5))
    count = len(customers)
    numbers = draw(st.lists(st.sampled_from([NAN, 0.0, 1.0]), min_size=count, max_size=count))
    lengths = draw(st.lists(st.integers(-1, 2), min_size=count, max_size=count))
    members = [place for length in lengths for place in range(max(length, 0))]
    columns = (
        LoadColumn("visits", np.array(numbers)),
        LoadColumn("tier", np.array(numbers), ("basic", "gold")),
        LoadColumn("tags", np.array(members, np.float64), ("vegan", "parent"), np.array(lengths, np.int32)),
    )
    at = np.array(draw(st.lists(times, min_size=count, max_size=count)), np.int64)
    return ProfilesLoaded(10, "bulk", draw(st.integers(1, 9)), ColumnBatch(tuple(customers), at, columns))


def histories(links: bool) -> st.SearchStrategy[list[Entry]]:
    """Up to a dozen entries, all received at the time 10."""
    others = st.lists(people, max_size=2).map(tuple) if links else st.just(())
    deltas = st.builds(ProfileDelta, people, times, updates, others, st.just(()))
    requests = st.builds(
        DeltasReceived, st.just(10), st.just("web"), st.integers(0, 9), st.lists(deltas, max_size=3).map(tuple)
    )
    kinds: list[st.SearchStrategy[Entry]] = [requests, loads()]
    if links:
        kinds += [st.builds(IdentifiersLinked, st.just(10), people, people).filter(lambda link: link[1] != link[2])]
        kinds += [st.builds(IdentifierUnlinked, st.just(10), people, people | st.just(""))]
    return st.lists(st.one_of(kinds), max_size=12)
