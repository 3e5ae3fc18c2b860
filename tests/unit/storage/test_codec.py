from datetime import UTC, datetime
from types import MappingProxyType
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    JournalDamagedError,
    NewerEntryError,
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
from server.storage.codec import Encoded, decode, encode
from tests.support.entries import elsewhere, entries, exact, received, visits

MEMBERS = Attribute(
    "tags",
    AttributeType.SET,
    ("a", "b"),
    purpose="ads",
    merge=MergeRule.UNION,
    aggregate=Aggregate("buy", Operation.SUM),
)
POLICY = IdentityPolicy(8, (MatchRule("mail", (MatchPart("email", Form.EMAIL, 3),)),))
CHANGES = (
    None,
    AttributeUpdates({"n": 1.5, "s": ("a",)}, {"n": 2.0}, {"s": ("b",)}, {"s": ()}),
    Event("buy", {"paid": True}),
    ConsentUpdate("ads", False, "web", "2"),
)
DELTAS = tuple(ProfileDelta("c:1", 7, change, ("c:2",), (b"\x01",)) for change in CHANGES)
BATCH = ColumnBatch(
    ("c:1",), np.array([7], np.int64), (LoadColumn("s", np.array([0.0]), ("a",), np.array([1], np.int32)),)
)

CATALOG = CatalogPublished(1, 2, "e", "text", Schema((MEMBERS,), ("mail",)), POLICY, ContactPolicy(10, 20, 30))
SUBJECT = ContactSubject("a", "home", "web", "discount", "g", (Draw("budget:b", ContactKind.ACCEPTED, 9, 1_000_000),))

# What released servers have written. A line here is never changed: a new layout adds one with the next version.
WRITTEN: list[tuple[Entry, int, int, str]] = [
    (
        CatalogPublished(1, 2, "e", "text", Schema((MEMBERS,)), POLICY),
        1,
        1,
        "970102a165a4746578749198a474616773a373657492a161a162c090a3616473a5756e696f6e95a3627579a373756da000cb"
        "0000000000000000089192a46d61696c9193a5656d61696ca5656d61696c03",
    ),
    (
        DeltasReceived(1, "web", 2, DELTAS),
        2,
        1,
        "9901a37765620294a3633a31a3633a31a3633a31a3633a319407070707c4040001020394c09482a16ecb3ff8000000000000"
        "a17391a16181a16ecb400000000000000081a17391a16281a1739092a362757981a470616964c394a3616473c2a3776562a1"
        "329491a3633a3291a3633a3291a3633a3291a3633a329491c4010191c4010191c4010191c40101",
    ),
    (DeltasRejected(1, "web", 2, (Rejection(3, "R", "why"),)), 3, 1, "9401a377656202919303a152a3776879"),
    (
        ProfilesLoaded(1, "file", 2, BATCH),
        4,
        1,
        "9601a466696c650291a3633a3192a33c6938c40807000000000000009194a17392a33c6638c408000000000000000091a161"
        "92a33c6934c40401000000",
    ),
    (IdentifiersLinked(1, "c:1", "c:2"), 5, 1, "9301a3633a31a3633a32"),
    (IdentifierUnlinked(1, "c:1", ""), 6, 1, "9301a3633a31a0"),
    (ProfileErased(1, 2), 7, 1, "920102"),
    (Redacted(1), 8, 1, "9101"),
    (
        CATALOG,
        1,
        2,
        "990102a165a4746578749198a474616773a373657492a161a162c090a3616473a5756e696f6e95a3627579a373756da000cb"
        "0000000000000000089192a46d61696c9193a5656d61696ca5656d61696c03930a141e91a46d61696c",
    ),
    (
        DecisionsMade(1, (SUBJECT,), (DecisionMade(7, 2**63, 2, 3, "c:1", "h", 4, (0, 0)),)),
        9,
        1,
        "93019196a161a4686f6d65a3776562a8646973636f756e74a1679194a86275646765743a620309ce000f4240919807cf8000"
        "0000000000000203a3633a31a16804920000",
    ),
    (
        OutcomesReported(
            1,
            (
                Outcome("o-1", ContactKind.CONVERTED, 5, DecisionRef(7, 2**63, 1), revenue=1.5),
                Outcome("o-2", ContactKind.CLICK, 5, None, "c:1", "a", "home"),
            ),
            (None, SUBJECT),
        ),
        10,
        1,
        "93019299a36f2d3105059307cf800000000000000001a0a0a0cb3ff8000000000000cb000000000000000099a36f2d320205"
        "c0a3633a31a161a4686f6d65cb0000000000000000cb000000000000000092c096a161a4686f6d65a3776562a8646973636f"
        "756e74a1679194a86275646765743a620309ce000f4240",
    ),
]


@given(entries)
def test_every_entry_comes_back_with_its_types(entry: Entry) -> None:
    encoded = encode(entry)

    assert exact(decode(encoded)) == exact(entry)


def test_every_kind_of_entry_has_bytes_that_stay_readable() -> None:
    assert {type(entry) for entry, *_ in WRITTEN} == set(get_args(Entry))


@pytest.mark.parametrize(("entry", "kind", "version", "body"), WRITTEN, ids=lambda part: type(part).__name__)
def test_what_was_written_once_is_read_for_ever(entry: Entry, kind: int, version: int, body: str) -> None:
    assert exact(decode(Encoded(kind, version, bytes.fromhex(body)))) == exact(entry)


NEWEST = {kind: version for _, kind, version, _ in WRITTEN}


@pytest.mark.parametrize(
    ("entry", "kind", "version", "body"),
    [line for line in WRITTEN if line[2] == NEWEST[line[1]]],
    ids=lambda part: type(part).__name__,
)
def test_no_layout_changes_without_a_new_version(entry: Entry, kind: int, version: int, body: str) -> None:
    assert encode(entry) == Encoded(kind, version, bytes.fromhex(body))


@given(st.datetimes(timezones=elsewhere, min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)))
def test_a_time_comes_back_in_utc(time: datetime) -> None:
    entry = DeltasReceived(0, "web", 1, (ProfileDelta("c:1", 7, Event("buy", {"at": time})),))

    read = decode(encode(entry))

    assert read == entry
    assert isinstance(read, DeltasReceived)
    assert isinstance(change := read.deltas[0].change, Event)
    assert isinstance(at := change.properties["at"], datetime)
    assert at.tzinfo is UTC


def test_read_only_mappings_are_written_as_mappings() -> None:
    change = Event("buy", MappingProxyType({"paid": True}))
    entry = DeltasReceived(0, "web", 1, (ProfileDelta("c:1", 7, change),))

    assert decode(encode(entry)) == entry


def test_arrays_may_be_big_endian_or_have_gaps() -> None:
    entry = ProfilesLoaded(0, "file", 1, BATCH._replace(event_times_us=np.arange(6, dtype=">i8")[::2]))

    read = decode(encode(entry))

    assert isinstance(read, ProfilesLoaded)
    assert read.batch.event_times_us.tolist() == [0, 2, 4]
    assert read.batch.event_times_us.dtype == np.int64


def test_identifiers_are_plain_in_the_bytes() -> None:
    delta = visits("cookie:ä", 1.0)._replace(other_ids=("loyalty:7",))

    for identifier in ("cookie:ä", "loyalty:7"):
        assert identifier.encode() in encode(DeltasReceived(0, "web", 1, (delta,))).body
        assert identifier.encode() in encode(IdentifiersLinked(0, "x", identifier)).body


@pytest.mark.parametrize(("kind", "version"), [(99, 1), (2, 2), (0, 1), (-1, 1)])
def test_what_a_newer_server_wrote_is_refused_with_its_kind_and_version(kind: int, version: int) -> None:
    with pytest.raises(NewerEntryError, match=rf"kind {kind}, version {version}.*newer server"):
        decode(Encoded(kind, version, b""))


@pytest.mark.parametrize("version", [0, -1])
def test_no_layout_has_a_version_below_one(version: int) -> None:
    with pytest.raises(JournalDamagedError, match=f"kind 2 has no version {version}"):
        decode(Encoded(2, version, encode(received(1)).body))


@given(entries, st.data())
def test_bytes_that_do_not_decode_are_damage(entry: Entry, data: st.DataObject) -> None:
    kind, version, body = encode(entry)
    cut = data.draw(st.integers(0, len(body) - 1))

    with pytest.raises(JournalDamagedError, match=f"kind {kind}"):
        decode(Encoded(kind, version, body[:cut]))


@given(st.sampled_from(range(1, 11)), st.binary(max_size=40))
def test_any_bytes_are_an_entry_or_damage(kind: int, body: bytes) -> None:
    try:
        decode(Encoded(kind, 1, body))
    except JournalDamagedError as error:
        assert f"kind {kind}" in str(error)


def test_a_text_that_is_none_is_refused_before_anything_is_written() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode(IdentifiersLinked(0, "cookie:\ud800", "x"))
