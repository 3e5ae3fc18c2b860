"""LinkIdentifiers and UnlinkIdentifier over both transports, and what aggregates do to rankings."""

import grpc
import pytest
from opportune.v1 import profile_service_pb2 as pb
from opportune.v1.profile_pb2 import Profile, ProfileDelta

from tests.integration.connection import TIMEOUT_S, Connection, delta, refusal
from tests.integration.delta_streams import DeltaStream, purchase, visit
from tests.integration.test_grpc_profiles import values


async def link(server: Connection, customer_id: str, other_id: str) -> Profile:
    request = pb.LinkIdentifiersRequest(customer_id=customer_id, other_id=other_id)
    profile: Profile = await server.profiles.LinkIdentifiers(request, timeout=TIMEOUT_S)
    return profile


async def unlink(server: Connection, customer_id: str, other_id: str = "") -> pb.UnlinkIdentifierResponse:
    request = pb.UnlinkIdentifierRequest(customer_id=customer_id, other_id=other_id)
    response: pb.UnlinkIdentifierResponse = await server.profiles.UnlinkIdentifier(request, timeout=TIMEOUT_S)
    return response


async def offers(server: Connection, customer_id: str) -> set[str]:
    return {offer.offer_id for offer in (await server.rank(customer_id)).offers}


async def test_linked_identifiers_are_one_customer_whoever_asks(market_server: Connection) -> None:
    await market_server.apply_deltas(visit("web:1", 2), purchase("app:1", amount=60), purchase("web:1", amount=50))
    before = await offers(market_server, "web:1")

    profile = await link(market_server, "web:1", "app:1")

    assert list(profile.identifiers) == ["app:1", "web:1"]
    assert values(profile) == {"visits": 2.0, "purchases": 2.0, "spent_30d": 110.0}
    assert values(await market_server.profile("app:1")) == values(profile)
    assert before == {"welcome"}
    assert await offers(market_server, "app:1") == {"welcome", "regular", "spender"}


async def test_unlinked_identifiers_are_as_if_they_had_never_been_linked(market_server: Connection) -> None:
    await market_server.apply_deltas(visit("web:2", 2), visit("app:2", 3), delta("app:2", tier="gold"))
    await link(market_server, "web:2", "app:2")
    await market_server.apply_deltas(visit("app:2", 10))

    parted = await unlink(market_server, "web:2", "app:2")

    assert values(parted.profile)["visits"] == 2.0
    assert [list(other.identifiers) for other in parted.others] == [["app:2"]]
    assert values(parted.others[0])["visits"] == 13.0
    assert "tier" not in values(await market_server.profile("web:2"))


async def test_delta_links_its_other_identifiers(market_server: Connection) -> None:
    stream = DeltaStream(market_server, "linking")
    await stream.send(1, ProfileDelta(customer_id="web:3", other_ids=["app:3", "web:3"]), visit("app:3"))
    await stream.until(1)

    profile = await market_server.profile("web:3")

    assert list(profile.identifiers) == ["app:3", "web:3"]
    assert values(profile)["visits"] == 1.0


async def test_customer_of_too_many_identifiers_is_refused_and_listed(market_server: Connection) -> None:
    for other in ("a4", "b4"):
        await link(market_server, "web:4", other)

    refused = await refusal(link(market_server, "web:4", "c4"))

    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY_IDENTIFIERS")
    assert refused.metadata == {"max_identifiers": "3"}
    listed = await market_server.profiles.ListRejectedDeltas(pb.ListRejectedDeltasRequest(page_size=1_000))
    unsourced = [each.reason for each in listed.rejections if not each.source]
    assert "TOO_MANY_IDENTIFIERS" in unsourced


async def test_linking_what_is_linked_changes_nothing(market_server: Connection) -> None:
    first = await link(market_server, "web:5", "app:5")
    again = await link(market_server, "app:5", "web:5")

    assert values(first) == values(again)
    assert list(first.identifiers) == list(again.identifiers)


@pytest.mark.parametrize(("customer_id", "other_id"), [("never:1", ""), ("never:1", "never:2"), ("web:6", "app:6")])
async def test_parting_what_is_not_linked_is_refused(
    market_server: Connection, customer_id: str, other_id: str
) -> None:
    await market_server.apply_deltas(visit("web:6"), visit("app:6"))

    refused = await refusal(unlink(market_server, customer_id, other_id))

    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_LINKED")


@pytest.mark.parametrize(("customer_id", "other_id", "field"), [("a b", "c", "customer_id"), ("c", "c", "other_id")])
async def test_identifiers_to_link_must_be_two(
    market_server: Connection, customer_id: str, other_id: str, field: str
) -> None:
    refused = await refusal(link(market_server, customer_id, other_id))

    assert list(refused.violations) == [field]


async def test_events_open_the_offers_whose_conditions_count_and_sum_them(market_server: Connection) -> None:
    stream = DeltaStream(market_server, "aggregates")
    seen = []
    for sequence, amount in enumerate([30, 40, 50], 1):
        await stream.send(sequence, purchase("buyer:1", amount=amount))
        await stream.until(sequence)
        seen.append(await offers(market_server, "buyer:1"))

    assert seen == [{"welcome"}, {"welcome", "regular"}, {"welcome", "regular", "spender"}]


async def test_event_outside_of_the_window_counts_only_where_there_is_none(market_server: Connection) -> None:
    old = purchase("buyer:2", amount=500)
    old.event_time.seconds = 1_700_000_000

    await market_server.apply_deltas(old, purchase("buyer:2", amount=20))

    found = values(await market_server.profile("buyer:2"))
    assert (found["purchases"], found["spent_30d"]) == (2.0, 20.0)
    assert await offers(market_server, "buyer:2") == {"welcome", "regular"}
