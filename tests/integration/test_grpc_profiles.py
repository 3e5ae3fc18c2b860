"""ApplyProfileDeltas and GetProfile over both transports."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from opportune.v1.profile_pb2 import AttributeUpdates, ConsentUpdate, Event, Profile, ProfileDelta
from opportune.v1.value_pb2 import StringList

from tests.integration.catalogs import TOPICS
from tests.integration.connection import Connection, consent, delta, refusal, refusal_in, value

MOMENT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def timestamp(moment: datetime = MOMENT) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def values(profile: Profile) -> dict[str, object]:
    """The attributes of a profile as plain values; lists sorted, as sets have no order."""
    plain: dict[str, object] = {}
    for name, message in profile.attributes.items():
        kind = str(message.WhichOneof("kind"))
        content = getattr(message, kind)
        plain[name] = sorted(content.values) if kind == "list_value" else content
    return plain


async def test_delta_is_visible_to_the_next_ranking(server: Connection) -> None:
    before = await server.rank("profile:visible")
    await server.apply_deltas(delta("profile:visible", visits=5, tier="gold"))
    after = await server.rank("profile:visible")

    assert "gold-only" not in [offer.offer_id for offer in before.offers]
    assert "gold-only" in [offer.offer_id for offer in after.offers]
    assert after.profile_version > before.profile_version


async def test_every_type_of_attribute_comes_back_as_it_was_set(server: Connection) -> None:
    chosen = [TOPICS[0], TOPICS[23], TOPICS[24], TOPICS[29]]
    change = delta(
        "profile:types", visits=0.7, tier="silver", subscribed=True, interests=chosen, last_visit=value(timestamp())
    )
    change.attributes.set["affinity.toys"].number_value = -2.5

    await server.apply_deltas(change)
    profile = await server.profile("profile:types")

    found = values(profile)
    last_visit = found.pop("last_visit")
    assert isinstance(last_visit, Timestamp)
    assert abs(last_visit.ToDatetime(UTC) - MOMENT) <= timedelta(seconds=30)
    assert found == {
        "visits": 0.7,
        "tier": "silver",
        "subscribed": True,
        "interests": sorted(chosen),
        "affinity.toys": -2.5,
    }


async def test_false_zero_and_the_empty_list_are_present_and_not_missing(server: Connection) -> None:
    await server.apply_deltas(delta("profile:nothing", visits=0, subscribed=False, interests=[], tier="basic"))

    profile = await server.profile("profile:nothing")

    assert values(profile) == {"visits": 0.0, "subscribed": False, "interests": [], "tier": "basic"}


async def test_profile_names_customer_version_consents_and_time_of_its_last_change(server: Connection) -> None:
    change = delta("profile:whole", visits=1)
    change.event_time.CopyFrom(timestamp())
    granted = consent("profile:whole", True)
    granted.event_time.CopyFrom(timestamp(MOMENT + timedelta(days=1)))

    applied = await server.apply_deltas(change, granted)
    profile = await server.profile("profile:whole")

    assert profile.customer_id == "profile:whole"
    assert profile.profile_version == applied.profile_version
    assert dict(profile.consents) == {"personalization": True}
    assert profile.update_time == timestamp(MOMENT + timedelta(days=1))


async def test_withdrawn_consent_is_recorded_as_withdrawn(server: Connection) -> None:
    await server.apply_deltas(consent("profile:no", True), consent("profile:no", False))

    assert dict((await server.profile("profile:no")).consents) == {"personalization": False}


async def test_increment_append_and_remove_change_what_is_there(server: Connection) -> None:
    await server.apply_deltas(delta("profile:change", visits=2, interests=TOPICS[:3], tier="gold"))
    updates = AttributeUpdates(
        increment={"visits": 3.5},
        append={"interests": StringList(values=[TOPICS[28]])},
        remove={"tier": StringList()},
    )

    await server.apply_deltas(ProfileDelta(customer_id="profile:change", attributes=updates))
    removal = AttributeUpdates(remove={"interests": StringList(values=[TOPICS[0]])})
    await server.apply_deltas(ProfileDelta(customer_id="profile:change", attributes=removal))

    profile = await server.profile("profile:change")
    assert values(profile) == {"visits": 5.5, "interests": sorted([TOPICS[1], TOPICS[2], TOPICS[28]])}


async def test_bad_delta_is_refused_alone_with_its_index_and_field(server: Connection) -> None:
    good, bad = delta("profile:good", visits=1), delta("profile:bad", visits=1, teir="gold")

    applied = await server.apply_deltas(good, bad, delta("profile:good", tier="gold"), source="mixed", sequence=7)

    assert [(rejected.sequence, rejected.index) for rejected in applied.rejected] == [(7, 1)]
    refused = refusal_in(applied.rejected[0].status)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert list(refused.violations) == ['attributes.set["teir"]']
    assert "did you mean tier" in refused.violations['attributes.set["teir"]']
    assert values(await server.profile("profile:good")) == {"visits": 1.0, "tier": "gold"}
    assert (await refusal(server.profile("profile:bad"))).reason == "PROFILE_NOT_FOUND"


CUSTOMER = "loyalty:4711"
BAD_DELTAS = {
    "no customer": (delta("", visits=1), "customer_id"),
    "customer too long": (delta("c" * 129, visits=1), "customer_id"),
    "customer with bad characters": (delta(f"{CUSTOMER} x", visits=1), "customer_id"),
    "no change": (ProfileDelta(customer_id=CUSTOMER), "change"),
    "unknown attribute": (delta(CUSTOMER, nothing=1), 'attributes.set["nothing"]'),
    "NaN": (delta(CUSTOMER, visits=float("nan")), 'attributes.set["visits"]'),
    "infinity": (delta(CUSTOMER, visits=float("inf")), 'attributes.set["visits"]'),
    "minus infinity": (delta(CUSTOMER, visits=float("-inf")), 'attributes.set["visits"]'),
    "number beyond 32 bits": (delta(CUSTOMER, visits=1e39), 'attributes.set["visits"]'),
    "text for a number": (delta(CUSTOMER, visits="1"), 'attributes.set["visits"]'),
    "truth value for a number": (delta(CUSTOMER, visits=True), 'attributes.set["visits"]'),
    "number for a truth value": (delta(CUSTOMER, subscribed=1), 'attributes.set["subscribed"]'),
    "number for a category": (delta(CUSTOMER, tier=1), 'attributes.set["tier"]'),
    "text for a set": (delta(CUSTOMER, interests=TOPICS[0]), 'attributes.set["interests"]'),
    "number for a time": (delta(CUSTOMER, last_visit=1), 'attributes.set["last_visit"]'),
    "time for a number": (delta(CUSTOMER, visits=value(timestamp())), 'attributes.set["visits"]'),
    "category that is not declared": (delta(CUSTOMER, tier="platinum"), 'attributes.set["tier"]'),
    "member that is not declared": (delta(CUSTOMER, interests=["topic-0", "x"]), 'attributes.set["interests"][1]'),
    "keyed attribute without key": (delta(CUSTOMER, affinity=1), 'attributes.set["affinity"]'),
    "unknown key": (delta(CUSTOMER, **{"affinity.books": 1}), 'attributes.set["affinity.books"]'),
    "time before 1970": (delta(CUSTOMER, last_visit=value(Timestamp(seconds=-1))), 'attributes.set["last_visit"]'),
    "time after 2200": (
        delta(CUSTOMER, last_visit=value(Timestamp(seconds=1 << 40))),
        'attributes.set["last_visit"]',
    ),
    "value without a kind": (
        ProfileDelta(customer_id=CUSTOMER, attributes=AttributeUpdates(set={"visits": value(1).__class__()})),
        'attributes.set["visits"]',
    ),
    "increment of a category": (
        ProfileDelta(customer_id=CUSTOMER, attributes=AttributeUpdates(increment={"tier": 1})),
        'attributes.increment["tier"]',
    ),
    "NaN increment": (
        ProfileDelta(customer_id=CUSTOMER, attributes=AttributeUpdates(increment={"visits": float("nan")})),
        'attributes.increment["visits"]',
    ),
    "append to a number": (
        ProfileDelta(customer_id=CUSTOMER, attributes=AttributeUpdates(append={"visits": StringList(values=["x"])})),
        'attributes.append["visits"]',
    ),
    "removal of what is not declared": (
        ProfileDelta(customer_id=CUSTOMER, attributes=AttributeUpdates(remove={"interests": StringList(values=["x"])})),
        'attributes.remove["interests"][0]',
    ),
    "two changes of one attribute": (
        ProfileDelta(
            customer_id=CUSTOMER, attributes=AttributeUpdates(set={"visits": value(1)}, increment={"visits": 1})
        ),
        'attributes.increment["visits"]',
    ),
    "unknown purpose": (consent(CUSTOMER, True, purpose="sale"), "consent.purpose"),
    "no purpose": (consent(CUSTOMER, True, purpose=""), "consent.purpose"),
    "long consent source": (
        ProfileDelta(
            customer_id=CUSTOMER, consent=ConsentUpdate(purpose="personalization", granted=True, source="s" * 129)
        ),
        "consent.source",
    ),
    "unknown event": (ProfileDelta(customer_id=CUSTOMER, event=Event(type="purchase")), "event.type"),
    "event time out of range": (
        ProfileDelta(customer_id=CUSTOMER, event_time=Timestamp(seconds=-1), consent=ConsentUpdate(purpose="x")),
        "event_time",
    ),
}


@pytest.mark.parametrize("problem", BAD_DELTAS)
async def test_bad_delta_names_its_field_changes_nothing_and_does_not_name_its_customer(
    server: Connection, problem: str
) -> None:
    bad, field = BAD_DELTAS[problem]

    applied = await server.apply_deltas(bad)

    assert len(applied.rejected) == 1
    refused = refusal_in(applied.rejected[0].status)
    assert (refused.code, refused.reason, refused.domain) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "opportune",
    )
    assert list(refused.violations) == [field]
    assert "4711" not in refused.everything
    assert (await refusal(server.profile(CUSTOMER))).reason == "PROFILE_NOT_FOUND"


async def test_delta_is_applied_whole_or_not_at_all(server: Connection) -> None:
    await server.apply_deltas(delta("profile:atomic", visits=1))

    await server.apply_deltas(delta("profile:atomic", visits=2, tier="platinum"))

    assert values(await server.profile("profile:atomic")) == {"visits": 1.0}


async def test_sequence_at_or_below_the_watermark_is_acknowledged_and_not_applied_again(server: Connection) -> None:
    once = ProfileDelta(customer_id="profile:once", attributes=AttributeUpdates(increment={"visits": 1}))

    first = await server.apply_deltas(once, source="counter", sequence=5)
    again = await server.apply_deltas(once, source="counter", sequence=5)
    older = await server.apply_deltas(once, source="counter", sequence=4)

    assert [answer.acknowledged_sequence for answer in (first, again, older)] == [5, 5, 5]
    assert values(await server.profile("profile:once")) == {"visits": 1.0}


async def test_sequences_count_per_source_and_zero_counts_for_nobody(server: Connection) -> None:
    once = ProfileDelta(customer_id="profile:sources", attributes=AttributeUpdates(increment={"visits": 1}))

    await server.apply_deltas(once, source="left", sequence=9)
    right = await server.apply_deltas(once, source="right", sequence=1)
    unprotected = [await server.apply_deltas(once, source="left", sequence=0) for _ in range(2)]

    assert right.acknowledged_sequence == 1
    assert [answer.acknowledged_sequence for answer in unprotected] == [9, 9]
    assert values(await server.profile("profile:sources")) == {"visits": 4.0}


async def test_empty_request_asks_where_the_source_left_off(server: Connection) -> None:
    await server.apply_deltas(delta("profile:asked", visits=1), source="asker", sequence=3)

    known = await server.apply_deltas(source="asker", sequence=11)
    unknown = await server.apply_deltas(source="never-seen")

    assert known.acknowledged_sequence == 3
    assert unknown.acknowledged_sequence == 0
    assert (await server.apply_deltas(source="asker")).acknowledged_sequence == 3


async def test_thousand_deltas_are_taken_and_one_more_is_refused_whole(server: Connection) -> None:
    deltas = [delta(f"profile:many-{number}", visits=number) for number in range(1_001)]

    taken = await server.apply_deltas(*deltas[:1_000])
    refused = await refusal(server.apply_deltas(*deltas))

    assert not taken.rejected
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert list(refused.violations) == ["deltas"]
    assert (await refusal(server.profile("profile:many-1000"))).reason == "PROFILE_NOT_FOUND"


@pytest.mark.parametrize("source", ["", "s" * 129, "a b", "a\n"])
async def test_source_must_be_an_id(server: Connection, source: str) -> None:
    refused = await refusal(server.apply_deltas(delta("profile:source", visits=1), source=source))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert list(refused.violations) == ["source"]


async def test_negative_sequence_is_refused(server: Connection) -> None:
    refused = await refusal(server.apply_deltas(delta("profile:negative", visits=1), sequence=-1))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert list(refused.violations) == ["sequence"]


async def test_customer_of_whom_nothing_is_known_has_no_profile(server: Connection) -> None:
    refused = await refusal(server.profile(CUSTOMER))

    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "PROFILE_NOT_FOUND")
    assert refused.domain == "opportune"
    assert "4711" not in refused.everything


@pytest.mark.parametrize("customer_id", ["", "4711" * 33, "4711 4711", "4711\n", "4711é"])
async def test_profile_of_what_cannot_be_an_id_is_refused(server: Connection, customer_id: str) -> None:
    refused = await refusal(server.profile(customer_id))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert list(refused.violations) == ["customer_id"]
    assert "4711" not in refused.everything
