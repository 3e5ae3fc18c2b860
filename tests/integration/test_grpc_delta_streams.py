"""StreamProfileDeltas over both transports: acknowledgements, resuming, and deltas that are poison."""

import asyncio

import grpc
import pytest
from grpc import aio
from opportune.client import Publisher
from opportune.v1 import profile_service_pb2 as pb
from opportune.v1.profile_pb2 import AttributeUpdates, ConsentUpdate, ProfileDelta
from opportune.v1.value_pb2 import StringList

from tests.integration.connection import TIMEOUT_S, Connection, delta, refusal, refusal_in, refusal_of
from tests.integration.delta_streams import DeltaStream, at, purchase, rejections, visit
from tests.integration.test_grpc_profiles import values


async def visits(server: Connection, customer_id: str) -> object:
    return values(await server.profile(customer_id)).get("visits")


async def test_unknown_source_left_off_nowhere(market_server: Connection) -> None:
    answer = await DeltaStream(market_server, "nobody").ask()

    assert (answer.acknowledged_sequence, answer.max_outstanding) == (0, 64)
    assert not answer.HasField("closing")


async def test_source_left_off_at_what_was_acknowledged(market_server: Connection) -> None:
    first = DeltaStream(market_server, "left-off")
    await first.send(41, visit("left:1"))
    await first.until(41)
    first.call.cancel()

    answer = await DeltaStream(market_server, "left-off").ask()

    assert answer.acknowledged_sequence == 41


async def test_acknowledgement_is_cumulative_and_the_call_ends_with_ok(market_server: Connection) -> None:
    stream = DeltaStream(market_server, "cumulative")
    for sequence in range(1, 201):
        await stream.send(sequence, visit("cumulative:1"))
    await stream.call.done_writing()

    responses = await stream.end()

    acknowledged = [response.acknowledged_sequence for response in responses]
    assert acknowledged == sorted(acknowledged)
    assert acknowledged[-1] == 200
    assert await stream.call.code() is grpc.StatusCode.OK
    assert await visits(market_server, "cumulative:1") == 200.0


async def test_what_is_sent_again_is_acknowledged_again_and_not_applied_twice(market_server: Connection) -> None:
    first = DeltaStream(market_server, "again")
    for sequence in (1, 2, 3):
        await first.send(sequence, visit("again:1"))
    await first.until(3)

    second = DeltaStream(market_server, "again")
    for sequence in (1, 2, 3, 4):
        await second.send(sequence, visit("again:1"))
    await second.until(4)

    assert await visits(market_server, "again:1") == 4.0


async def test_two_streams_of_one_source_apply_each_message_once(market_server: Connection) -> None:
    streams = [DeltaStream(market_server, "twins") for _ in range(2)]

    async def send_all(stream: DeltaStream) -> None:
        for sequence in range(1, 101):
            await stream.send(sequence, visit("twins:1"))
        await stream.call.done_writing()
        await stream.end()

    await asyncio.gather(*[send_all(stream) for stream in streams])

    assert await visits(market_server, "twins:1") == 100.0
    assert [stream.responses[-1].acknowledged_sequence for stream in streams] == [100, 100]


async def test_events_out_of_order_leave_what_is_latest_and_add_up(market_server: Connection) -> None:
    stream = DeltaStream(market_server, "order")
    for sequence, (second, tier) in enumerate([(200, "silver"), (300, "gold"), (100, "basic")], 1):
        await stream.send(sequence, at(delta("order:1", tier=tier), second), at(visit("order:1"), second))
    await stream.until(3)

    found = values(await market_server.profile("order:1"))
    assert (found["tier"], found["visits"]) == ("gold", 3.0)


async def test_version_of_an_acknowledgement_reads_what_was_written(market_server: Connection) -> None:
    stream = DeltaStream(market_server, "read-your-writes")
    for sequence in range(1, 11):
        customer_id = f"reads:{sequence}"
        await stream.send(sequence, visit(customer_id, 5.0))
        version = (await stream.until(sequence)).profile_version

        decision = await market_server.rank(customer_id, min_profile_version=version)

        assert decision.profile_version >= version
        assert "frequent" in [offer.offer_id for offer in decision.offers]


async def test_version_that_is_not_reached_is_unavailable(market_server: Connection) -> None:
    refused = await refusal(market_server.rank("somebody", min_profile_version=1 << 40))

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "PROFILE_BEHIND")


async def test_publisher_delivers_everything_once(market_server: Connection) -> None:
    async with Publisher(market_server.address, source="published") as publisher:
        for _ in range(300):
            await publisher.publish([visit("published:1")])

    assert publisher.acknowledged_sequence == 300
    assert await visits(market_server, "published:1") == 300.0


async def test_stream_before_the_first_catalog_is_a_failed_precondition(bare_server: Connection) -> None:
    stream = DeltaStream(bare_server, "early")
    await stream.send(1, visit("early:1"))

    with pytest.raises(aio.AioRpcError) as refused:
        await stream.response()

    assert refusal_of(refused.value).reason == "NO_CATALOG"
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


# Poison


def change(customer_id: str = "poison:1", **fields: object) -> ProfileDelta:
    updates = AttributeUpdates(**fields)  # type: ignore[arg-type]
    return ProfileDelta(customer_id=customer_id, attributes=updates)


POISON = {
    "NaN": (delta("poison:1", visits=float("nan")), 'attributes.set["visits"]'),
    "NaN increment": (visit("poison:1", float("nan")), 'attributes.increment["visits"]'),
    "unknown attribute": (delta("poison:1", vists=1), 'attributes.set["vists"]'),
    "bad id": (visit("poison 1"), "customer_id"),
    "long id": (visit("p" * 129), "customer_id"),
    "bad other id": (ProfileDelta(customer_id="poison:1", other_ids=["x", "y z"]), "other_ids[1]"),
    "wrong type": (delta("poison:1", tier=3), 'attributes.set["tier"]'),
    "undeclared value": (delta("poison:1", tier="bronze"), 'attributes.set["tier"]'),
    "long text": (delta("poison:1", tier="t" * 257), 'attributes.set["tier"]'),
    "undeclared member": (change(append={"topics": StringList(values=["x"])}), 'attributes.append["topics"][0]'),
    "aggregate": (delta("poison:1", purchases=3), 'attributes.set["purchases"]'),
    "event without property": (purchase("poison:1"), 'event.properties["amount"]'),
    "event with NaN": (purchase("poison:1", amount=float("nan")), 'event.properties["amount"]'),
    "no purpose": (ProfileDelta(customer_id="poison:1", consent=ConsentUpdate(purpose="x")), "consent.purpose"),
    "nothing": (ProfileDelta(customer_id="poison:1"), "change"),
    "time before 1970": (at(visit("poison:1"), -1), "event_time"),
}


@pytest.mark.parametrize("problem", POISON)
async def test_poison_is_told_and_recorded_with_its_place_and_all_others_are_applied(
    market_server: Connection, problem: str
) -> None:
    bad, field = POISON[problem]
    customer_id, source = f"healthy:{problem.replace(' ', '-')}", f"poison:{problem.replace(' ', '-')}"
    stream = DeltaStream(market_server, source)

    await stream.send(5, visit(customer_id), bad, visit(customer_id))
    await stream.send(6, visit(customer_id))
    await stream.until(6)

    assert stream.rejected == [(5, 1)]
    (rejected,) = [rejected for response in stream.responses for rejected in response.rejected]
    refused = refusal_in(rejected.status)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert list(refused.violations) == [field]
    assert "poison" not in refused.everything
    assert await visits(market_server, customer_id) == 3.0
    assert await rejections(market_server, source) == [[(5, 1, "INVALID_FIELD")]]
    assert (await refusal(market_server.profile("poison:1"))).reason == "PROFILE_NOT_FOUND"


async def test_join_that_makes_a_customer_too_large_is_told_and_recorded(market_server: Connection) -> None:
    stream = DeltaStream(market_server, "joins")
    await stream.send(1, visit("large:1"), ProfileDelta(customer_id="large:2", other_ids=["a1", "a2", "a3"]))
    await stream.until(1)

    assert stream.rejected == [(1, 1)]
    assert await rejections(market_server, "joins") == [[(1, 1, "TOO_MANY_IDENTIFIERS")]]
    assert await visits(market_server, "large:1") == 1.0


async def test_message_that_is_sent_again_is_not_recorded_again(market_server: Connection) -> None:
    for _ in range(2):
        stream = DeltaStream(market_server, "poison-again")
        await stream.send(3, visit("again x"))
        await stream.until(3)

    assert await rejections(market_server, "poison-again") == [[(3, 0, "INVALID_FIELD")]]


async def test_refused_deltas_are_listed_over_pages_in_their_order(market_server: Connection) -> None:
    stream = DeltaStream(market_server, "pages")
    for sequence in (1, 2, 3, 4):
        await stream.send(sequence, visit("x y"), visit("pages:1"), visit("x z"))
    await stream.until(4)
    expected = [(sequence, index, "INVALID_FIELD") for sequence in (1, 2, 3, 4) for index in (0, 2)]

    for size in (1, 2, 3, 7, 8, 0):
        pages = await rejections(market_server, "pages", size)

        assert [each for page in pages for each in page] == expected
        assert all(len(page) == size for page in pages[:-1])
        assert all(pages)
    assert await rejections(market_server, "pages-of-nobody") == [[]]


async def test_refused_names_of_any_length_are_listed_in_few_words(market_server: Connection) -> None:
    stream = DeltaStream(market_server, "wordy")
    for sequence in range(1, 7):
        await stream.send(sequence, delta("wordy:1", **{"v" * 900_000: 1}))
        await stream.until(sequence)

    request = pb.ListRejectedDeltasRequest(source="wordy")
    page = await market_server.profiles.ListRejectedDeltas(request, timeout=TIMEOUT_S)

    assert len(page.rejections) == 6
    assert max(len(each.message) for each in page.rejections) < 1_000


@pytest.mark.parametrize(("page_size", "token", "field"), [(-1, "", "page_size"), (0, "x", "page_token")])
async def test_list_refuses_page_sizes_and_tokens_that_are_none(
    market_server: Connection, page_size: int, token: str, field: str
) -> None:
    request = pb.ListRejectedDeltasRequest(page_size=page_size, page_token=token)

    refused = await refusal(market_server.profiles.ListRejectedDeltas(request, timeout=TIMEOUT_S))

    assert list(refused.violations) == [field]


async def test_too_many_refused_deltas_stop_the_stream_and_say_when_to_come_back(market_server: Connection) -> None:
    stream = DeltaStream(market_server, "broken")
    await stream.send(1, *[visit("x y")] * 21, visit("broken:1"))
    await stream.until(1)
    await stream.send(2, visit("broken:1"))

    with pytest.raises(aio.AioRpcError) as refused:
        await stream.response()

    stopped = refusal_of(refused.value)
    assert (stopped.code, stopped.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REJECTED")
    assert stopped.metadata == {"rejected_per_minute": "20"}
    assert stopped.retry_delay_ms is not None
    assert 0 < stopped.retry_delay_ms <= 60_001
    assert (await DeltaStream(market_server, "broken").ask()).acknowledged_sequence == 1
    assert len((await rejections(market_server, "broken"))[0]) == 21
    assert await visits(market_server, "broken:1") == 1.0


async def test_source_that_is_stopped_does_not_stop_others(market_server: Connection) -> None:
    stream = DeltaStream(market_server, "stopped")
    await stream.send(1, *[visit("x y")] * 21)
    await stream.until(1)
    other = DeltaStream(market_server, "goes-on")
    await other.send(1, visit("goes-on:1"))

    assert (await other.until(1)).acknowledged_sequence == 1


ENDS = {
    "1001 deltas": (pb.StreamProfileDeltasRequest(sequence=3, deltas=[visit("ends:2")] * 1_001), "deltas"),
    "sequence 0": (pb.StreamProfileDeltasRequest(deltas=[visit("ends:2")]), "sequence"),
    "negative sequence": (pb.StreamProfileDeltasRequest(sequence=-1, deltas=[visit("ends:2")]), "sequence"),
    "changed source": (pb.StreamProfileDeltasRequest(source="x", sequence=3, deltas=[visit("ends:2")]), "source"),
}


@pytest.mark.parametrize("problem", ENDS)
async def test_message_that_is_none_ends_the_stream_behind_acknowledgements_of_all_before(
    market_server: Connection, problem: str
) -> None:
    request, field = ENDS[problem]
    stream = DeltaStream(market_server, f"ends:{problem.replace(' ', '-')}")
    await stream.send(1, visit("ends:1"))
    await stream.send(2, visit("ends:1"))
    await stream.call.write(request)

    with pytest.raises(aio.AioRpcError) as refused:
        await stream.until(9)

    assert refusal_of(refused.value).reason == "INVALID_FIELD"
    assert list(refusal_of(refused.value).violations) == [field]
    assert stream.responses[-1].acknowledged_sequence == 2
    assert (await refusal(market_server.profile("ends:2"))).reason == "PROFILE_NOT_FOUND"


@pytest.mark.parametrize(
    ("payload", "reason", "code"),
    [
        (b"\x0a\xff\xff\xff\xff\x0f", "MALFORMED_REQUEST", grpc.StatusCode.INVALID_ARGUMENT),
        (bytes(2 * 1024 * 1024), "REQUEST_TOO_LARGE", grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["bad bytes", "2 MiB"],
)
async def test_bytes_that_are_no_message_end_the_stream_behind_acknowledgements_of_all_before(
    market_server: Connection, payload: bytes, reason: str, code: grpc.StatusCode
) -> None:
    call = market_server.channel.stream_stream("/opportune.v1.ProfileService/StreamProfileDeltas")(timeout=TIMEOUT_S)
    source = f"bytes:{reason}"
    good = pb.StreamProfileDeltasRequest(source=source, sequence=1, deltas=[visit(source)])
    await call.write(good.SerializeToString())
    await call.write(payload)

    responses: list[bytes] = []
    with pytest.raises(aio.AioRpcError) as refused:
        while True:
            responses.append(await call.read())

    assert refusal_of(refused.value).reason == reason
    assert refused.value.code() is code
    assert pb.StreamProfileDeltasResponse.FromString(responses[-1]).acknowledged_sequence == 1
    assert await visits(market_server, source) == 1.0


async def test_message_of_1000_deltas_is_taken(market_server: Connection) -> None:
    stream = DeltaStream(market_server, "large")
    await stream.send(1, *[visit(f"large:{number}") for number in range(1_000)])

    assert (await stream.until(1)).acknowledged_sequence == 1
    assert stream.rejected == []


@pytest.mark.parametrize("source", ["", "a b", "s" * 129])
async def test_first_message_must_name_a_source(market_server: Connection, source: str) -> None:
    stream = DeltaStream(market_server, source)

    with pytest.raises(aio.AioRpcError) as refused:
        await stream.ask()

    assert list(refusal_of(refused.value).violations) == ["source"]
