"""Redaction: nothing of the erased is left in an entry, and nothing of others is lost."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.attribute import Schema
from server.domain.contact import ContactKind, ContactSubject
from server.domain.identity import IdentityPolicy
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
from server.domain.outcome import DecisionRef, Outcome
from server.domain.profile import AttributeUpdates, ProfileDelta
from server.execution.facts import Facts
from server.execution.redaction import redacted
from server.storage.codec import encode
from tests.support import entries as any_of
from tests.support.catalogs import number
from tests.support.clock import NOON_US
from tests.support.entries import exact, visits
from tests.support.folds import apply, profiles_of, published
from tests.support.shared_histories import SCHEMA, histories, people

NAN = float("nan")


def without(entry: Entry, *gone: str) -> Entry:
    return redacted(Record(5, entry), lambda identifier, _: identifier in gone).entry


def received(*deltas: ProfileDelta, sequence: int = 0) -> DeltasReceived:
    return DeltasReceived(10, "web", sequence, deltas)


@given(any_of.entries)
def test_record_without_anything_is_the_very_same(entry: Entry) -> None:
    record = Record(3, entry)

    assert redacted(record, lambda identifier, time_us: False) is record


def test_time_that_is_asked_about_is_the_entrys() -> None:
    asked: list[tuple[str, int]] = []
    entry = received(ProfileDelta("c:1", 99, None, ("c:2",)))

    def ask(identifier: str, time_us: int) -> bool:
        asked.append((identifier, time_us))
        return False

    redacted(Record(1, entry), ask)

    assert asked == [("c:1", 10), ("c:2", 10)]


def test_deltas_of_others_stay_and_are_the_same_objects() -> None:
    entry = received(visits("c:1", 1.0), visits("c:2", 2.0), visits("c:1", 3.0), sequence=4)

    kept = without(entry, "c:1")

    assert kept == entry._replace(deltas=(entry.deltas[1],))
    assert isinstance(kept, DeltasReceived)
    assert kept.deltas[0] is entry.deltas[1]


def test_request_about_the_erased_alone_keeps_its_sequence_or_else_nothing() -> None:
    assert without(received(visits("c:1", 1.0)), "c:1") == Redacted(10)
    assert without(received(visits("c:1", 1.0), sequence=4), "c:1") == DeltasReceived(10, "web", 4, ())


def test_links_of_others_to_the_erased_are_taken_out_and_their_changes_stay() -> None:
    changing = ProfileDelta("c:2", 1, AttributeUpdates(set={"visits": 1.0}), ("c:1", "c:3"))
    linking = ProfileDelta("c:2", 1, None, ("c:1",))

    assert without(received(changing), "c:1") == received(changing._replace(other_ids=("c:3",)))
    assert without(received(linking), "c:1") == received(linking._replace(other_ids=()))


def test_link_that_names_the_erased_says_nothing_any_more() -> None:
    for entry in (IdentifiersLinked(10, "c:1", "c:2"), IdentifierUnlinked(10, "c:1", "c:2")):
        assert without(entry, "c:1") == without(entry, "c:2") == Redacted(10)
        assert without(entry, "c:3") is entry
    assert without(IdentifierUnlinked(10, "c:1", ""), "") == IdentifierUnlinked(10, "c:1", "")


def load(*customer_ids: str) -> ProfilesLoaded:
    columns = (
        LoadColumn("visits", np.array([1.0, NAN, 3.0])),
        LoadColumn("tier", np.array([2.0, NAN, 0.0]), ("basic", "silver", "gold")),
        LoadColumn("tags", np.array([1.0, 0.0, 1.0]), ("vegan", "parent"), np.array([2, -1, 1], np.int32)),
    )
    return ProfilesLoaded(10, "bulk", 3, ColumnBatch(customer_ids, np.array([1, 2, 3], np.int64), columns))


def test_rows_of_the_erased_leave_every_column_of_a_load() -> None:
    kept = without(load("c:1", "c:2", "c:3"), "c:1")

    columns = (
        LoadColumn("visits", np.array([NAN, 3.0])),
        LoadColumn("tier", np.array([NAN, 0.0]), ("basic",)),
        LoadColumn("tags", np.array([0.0]), ("parent",), np.array([-1, 1], np.int32)),
    )
    batch = ColumnBatch(("c:2", "c:3"), np.array([2, 3], np.int64), columns)
    assert exact(kept) == exact(ProfilesLoaded(10, "bulk", 3, batch))


def test_load_of_the_erased_alone_keeps_its_sequence() -> None:
    kept = without(load("c:1", "c:2", "c:3"), "c:1", "c:2", "c:3")

    assert isinstance(kept, ProfilesLoaded)
    assert (kept.source, kept.sequence, kept.batch.customer_ids, kept.batch.columns) == ("bulk", 3, (), ())
    facts = Facts()
    apply(facts, published(Schema((number("visits"),))), kept)
    assert facts.sources == {"bulk": 3}


# Any history, with some customers erased


@given(histories(links=True), st.sets(people, min_size=1))
def test_nothing_of_the_erased_is_left_in_the_bytes(history: list[Entry], gone: set[str]) -> None:
    for entry in history:
        kept = without(entry, *gone)

        body = encode(kept).body
        assert not [identifier for identifier in gone if identifier.encode() in body]
        assert without(kept, *gone) is kept


@settings(max_examples=40)
@given(histories(links=False), st.sets(people, min_size=1))
def test_others_are_as_if_the_erased_had_never_been(history: list[Entry], gone: set[str]) -> None:
    whole, without_them = Facts(), Facts()
    catalog = published(SCHEMA, IdentityPolicy())
    apply(whole, catalog, *history)
    apply(without_them, catalog, *(without(entry, *gone) for entry in history))

    named = {whole.profiles.name(row) for row in whole.profiles.identifiers.named()}
    left = {without_them.profiles.name(row) for row in without_them.profiles.identifiers.named()}
    assert left == named - gone
    assert profiles_of(without_them, sorted(left)) == profiles_of(whole, sorted(left))
    assert without_them.sources == whole.sources
    assert without_them.offset == whole.offset


def test_decisions_of_the_erased_stay_and_are_nobodys() -> None:
    made = [DecisionMade(n, 7, NOON_US, 0, name, "h1", NOON_US, (0,)) for n, name in ((1, "gone"), (2, "kept"))]
    entry = DecisionsMade(NOON_US, (ContactSubject("a"),), tuple(made))

    found = without(entry, "gone")

    assert found == entry._replace(decisions=(made[0]._replace(customer_id="", household=""), made[1]))
    assert without(entry, "other") is entry


def test_outcomes_of_the_erased_stay_and_name_nobody() -> None:
    by_token = Outcome("o1", ContactKind.CLICK, NOON_US, DecisionRef(1, 7, 0))
    by_name = [Outcome(name, ContactKind.CLICK, NOON_US, customer_id=name, offer_id="a") for name in ("gone", "kept")]
    entry = OutcomesReported(NOON_US, (by_token, *by_name), (None, ContactSubject("a"), ContactSubject("a")))

    found = without(entry, "gone")

    assert found == entry._replace(outcomes=(by_token, by_name[0]._replace(customer_id=""), by_name[1]))
    assert without(entry, "other") is entry
