"""Deltas mean the same however they are cut into requests, and a rejected one means nothing."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta
from server.execution.deltas import DeltasApplied
from tests.support.catalogs import catalog_document
from tests.support.clock import NOON, us_ago
from tests.support.folds import digest, profiles_of
from tests.support.service import SOURCE, Service

CUSTOMERS = ("a", "b", "c")
DOCUMENT = catalog_document(aggregates=[{"id": "purchases", "event": "purchase", "op": "count", "window": "30d"}])

numbers = st.integers(-8, 8).map(lambda quarters: quarters / 4)
members = st.lists(st.sampled_from(["vegan", "parent", "student"]), max_size=3).map(tuple)
wrong_members = st.just(("vegan", "zen"))
updates = st.builds(
    AttributeUpdates,
    set=st.fixed_dictionaries(
        {},
        optional={
            "visits": st.one_of(numbers, st.just("many"), st.just(float("nan"))),
            "tier": st.sampled_from(["basic", "gold", "platinum"]),
            "member": st.booleans(),
            "spend.floral": numbers,
            "last_visit": st.integers(0, 100).map(lambda days: NOON - timedelta(days=days)),
        },
    ),
    increment=st.fixed_dictionaries({}, optional={"spend.grocery": numbers, "income": numbers}),
    append=st.fixed_dictionaries({}, optional={"tags": st.one_of(members, members, wrong_members)}),
    remove=st.one_of(st.just({}), st.sampled_from([{"tags": ("vegan",)}, {"tier": ()}, {"spend.grocery": ()}])),
)
changes = st.one_of(
    updates,
    updates,
    st.builds(
        ConsentUpdate,
        st.sampled_from(["personalization", "advertising"]),
        st.booleans(),
        st.just("web-banner"),
        st.just("2"),
    ),
    st.sampled_from([Event("purchase"), Event("view")]),
)
deltas = st.builds(
    ProfileDelta,
    st.sampled_from((*CUSTOMERS, "not an id")),
    st.integers(0, 100).map(lambda hours: us_ago(hours=hours)),
    changes,
)
sequences = st.lists(deltas, max_size=20)


def rows(service: Service) -> tuple[object, ...]:
    """All that is known, but for versions, which count entries."""
    facts = service.state.facts
    known = [customer_id for customer_id in CUSTOMERS if facts.profiles.find(customer_id) >= 0]
    return digest(facts), profiles_of(facts, known)


def portions(sequence: Sequence[ProfileDelta], cuts: Sequence[int]) -> list[Sequence[ProfileDelta]]:
    """The sequence cut at these places; equal places give empty portions."""
    bounds = [0, *sorted(cut % (len(sequence) + 1) for cut in cuts), len(sequence)]
    return [sequence[start:end] for start, end in pairwise(bounds)]


def apply_one_after_another(service: Service, requests: Sequence[Sequence[ProfileDelta]]) -> list[DeltasApplied]:
    """Each request with the next sequence number, and each sent twice, as after a lost answer."""
    applied = []
    for number, request in enumerate(requests, start=1):
        applied.append(service.apply_deltas(SOURCE, number, request))
        service.apply_deltas(SOURCE, number, request)
    return applied


@given(sequences, st.lists(st.integers(0, 20), max_size=5))
def test_rows_do_not_depend_on_how_the_deltas_were_cut(sequence: list[ProfileDelta], cuts: list[int]) -> None:
    at_once, in_portions = Service(DOCUMENT), Service(DOCUMENT)

    whole = at_once.apply_deltas(SOURCE, 1, sequence)
    parts = apply_one_after_another(in_portions, portions(sequence, cuts))

    assert rows(in_portions) == rows(at_once)
    assert sum(len(part.rejected) for part in parts) == len(whole.rejected)
    assert in_portions.state.profile_version == len(in_portions.writer.entries)


@given(sequences)
def test_rejected_deltas_change_nothing(sequence: list[ProfileDelta]) -> None:
    everything, accepted_alone = Service(DOCUMENT), Service(DOCUMENT)

    rejected = {each.index for each in everything.apply_deltas(SOURCE, 1, sequence).rejected}
    accepted = [delta for place, delta in enumerate(sequence) if place not in rejected]
    again = accepted_alone.apply_deltas(SOURCE, 1, accepted)

    assert not again.rejected
    assert rows(accepted_alone) == rows(everything)


@given(sequences)
def test_profiles_are_finite_and_can_be_read_back(sequence: list[ProfileDelta]) -> None:
    service = Service(DOCUMENT)

    service.apply_deltas(SOURCE, 1, sequence)

    for customer_id in CUSTOMERS:
        row = service.state.profiles.read(customer_id)
        if row is not None:
            assert not np.isinf(row.values).any()
            service.get_profile(customer_id)
