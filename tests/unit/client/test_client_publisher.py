"""What a caller gets from a publisher while the server behaves."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc import aio
from opportune.client import (
    Acknowledgement,
    Publisher,
    PublisherClosedError,
    PublishError,
    Rejection,
    SourceConflictError,
    Ticket,
)
from opportune.v1 import profile_pb2

from tests.support.fake_profile_service import FakeProfileService, FakeStream, deltas, polite, rejected, serving
from tests.unit.client.publishing import TIMEOUT_S, publishing, turns


async def test_first_message_asks_where_the_source_left_off() -> None:
    service = FakeProfileService()
    service.applied["crm"] = [(41, ("before",))]

    async with publishing(service) as publisher:
        assert publisher.acknowledged_sequence == 41
        ticket = await publisher.publish(deltas("a"))

        assert ticket.sequence == 42
        assert await ticket == Acknowledgement(42, profile_version=142)

    assert service.streams[0].source == "crm"
    assert service.applied["crm"] == [(41, ("before",)), (42, ("a",))]


async def test_messages_arrive_whole_and_in_the_order_of_the_calls() -> None:
    service = FakeProfileService()

    async with publishing(service) as publisher:
        calls = [publisher.publish(deltas(f"{number}.a", f"{number}.b")) for number in range(200)]
        tickets = await asyncio.gather(*calls)
        await publisher.flush()

        assert all(ticket.done() for ticket in tickets)
        assert publisher.outstanding == 0
        assert publisher.acknowledged_sequence == 200
        assert publisher.profile_version == 300

    assert service.applied["crm"] == [(n + 1, (f"{n}.a", f"{n}.b")) for n in range(200)]
    assert service.sequences == [list(range(1, 201))]


async def test_late_and_coalesced_acknowledgement_settles_all_it_covers() -> None:
    service = FakeProfileService(coalescing := Held(3))

    async with publishing(service) as publisher:
        tickets = [await publisher.publish(deltas(name)) for name in "abc"]
        await coalescing.received.wait()
        await turns()
        assert not any(ticket.done() for ticket in tickets)
        coalescing.release.set()

        assert await asyncio.gather(*tickets) == [Acknowledgement(n, profile_version=103) for n in (1, 2, 3)]


async def test_leaving_the_block_waits_for_everything() -> None:
    service = FakeProfileService(held := Held(3))

    async with publishing(service) as publisher:
        tickets = [await publisher.publish(deltas(name)) for name in "abc"]
        asyncio.get_running_loop().call_soon(held.release.set)

    assert all(ticket.done() for ticket in tickets)
    assert [(await ticket).sequence for ticket in tickets] == [1, 2, 3]


async def test_leaving_the_block_with_an_exception_does_not_wait() -> None:
    service = FakeProfileService(Held(1))
    tickets: list[Ticket] = []

    with pytest.raises(ZeroDivisionError):
        async with publishing(service) as publisher:
            tickets.append(await publisher.publish(deltas("a")))
            raise ZeroDivisionError

    with pytest.raises(PublisherClosedError):
        await tickets[0]


@pytest.mark.parametrize(
    ("own", "server", "window"), [(None, 2, 2), (5, 2, 2), (2, 5, 2), (3, 0, 3), (1, 9, 1), (None, 0, 64)]
)
async def test_no_more_than_the_smaller_limit_is_outstanding(own: int | None, server: int, window: int) -> None:
    held = Held(window, max_outstanding=server)
    service = FakeProfileService(held)

    async with publishing(service, max_outstanding=own) as publisher:
        for number in range(window):
            await publisher.publish(deltas(str(number)))
        waiting = asyncio.create_task(publisher.publish(deltas("one more")))
        await held.received.wait()
        await turns()
        assert not waiting.done()
        assert publisher.outstanding == window
        assert service.sequences == [list(range(1, window + 1))]
        held.release.set()

        assert (await (await waiting)).sequence == window + 1

    assert service.most_outstanding == window


async def test_limit_may_change_while_the_stream_goes_on() -> None:
    raised = asyncio.Event()

    async def script(stream: FakeStream) -> None:
        await stream.open(max_outstanding=1)
        await stream.take()
        await stream.acknowledge(0, max_outstanding=3)
        await stream.take(2)
        raised.set()
        await stream.acknowledge(max_outstanding=1)
        while (message := await stream.receive()) is not None:
            assert stream.outstanding == 1
            stream.apply(message)
            await stream.acknowledge()

    service = FakeProfileService(script)

    async with publishing(service) as publisher:
        for number in range(3):
            await publisher.publish(deltas(str(number)))
        await raised.wait()
        for number in range(3, 10):
            await publisher.publish(deltas(str(number)))

    assert service.sequences == [list(range(1, 11))]


async def test_rejected_deltas_come_with_their_ticket_and_to_the_callback() -> None:
    async def script(stream: FakeStream) -> None:
        await stream.open()
        await stream.take(3)
        unknown = rejected(9, 0), rejected(2, 99)
        await stream.acknowledge(rejected=[rejected(2, 2, "NO_VAULT"), rejected(2, 0), rejected(3, 0), *unknown])

    seen: list[Rejection] = []
    service = FakeProfileService(script)

    async with publishing(service, on_rejected=seen.append) as publisher:
        tickets = [await publisher.publish(deltas(f"{name}1", f"{name}2", f"{name}3")) for name in "abc"]
        acknowledgements = [await ticket for ticket in tickets]

        told = [[(r.index, r.delta.customer_id, r.reason) for r in a.rejected] for a in acknowledgements]
        assert told == [[], [(0, "b1", "INVALID_FIELD"), (2, "b3", "NO_VAULT")], [(0, "c1", "INVALID_FIELD")]]
        assert seen == [r for a in acknowledgements for r in a.rejected]
        assert seen[0].status.message == "scripted INVALID_ARGUMENT"
        assert all(a.rejections_known for a in acknowledgements)


async def test_rejections_may_come_before_their_acknowledgement() -> None:
    async def script(stream: FakeStream) -> None:
        await stream.open()
        await stream.take()
        await stream.acknowledge(0, rejected=[rejected(1, 0)])
        await stream.acknowledge()

    async with publishing(FakeProfileService(script)) as publisher:
        acknowledgement = await (await publisher.publish(deltas("a")))

    assert [rejection.sequence for rejection in acknowledgement.rejected] == [1]


async def test_failing_callback_is_logged_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def script(stream: FakeStream) -> None:
        await stream.open()
        await stream.take(2)
        await stream.acknowledge(rejected=[rejected(1, 0), rejected(2, 0)])

    def fail(rejection: Rejection) -> None:
        raise ValueError(rejection.delta.customer_id)

    async with publishing(FakeProfileService(script), on_rejected=fail) as publisher:
        tickets = [await publisher.publish(deltas(name)) for name in "ab"]
        assert [len((await ticket).rejected) for ticket in tickets] == [1, 1]

    failures = [record for record in caplog.records if "on_rejected failed" in record.message]
    assert len(failures) == 2


async def test_own_sequences_may_leave_gaps_and_resolve_at_once_when_applied_before() -> None:
    service = FakeProfileService(held := Held(1))
    service.applied["crm"] = [(500, ("before",))]

    async with publishing(service, max_outstanding=1) as publisher:
        outstanding = await publisher.publish(deltas("b"), sequence=700)
        waiting = asyncio.create_task(publisher.publish(deltas("c"), sequence=701))
        await turns()
        # Neither the full window nor those who wait for it hold it up.
        again = await publisher.publish(deltas("a"), sequence=500)
        assert again.done()
        assert await again == Acknowledgement(500, profile_version=600, rejections_known=False)
        held.release.set()
        assert (await outstanding).sequence == 700
        assert (await (await waiting)).sequence == 701
        assert (await publisher.publish(deltas("d"))).sequence == 702

    assert service.applied["crm"] == [(500, ("before",)), (700, ("b",)), (701, ("c",)), (702, ("d",))]


async def test_impossible_messages_are_refused_and_use_up_no_sequence() -> None:
    service = FakeProfileService(held := Held(1))
    large = profile_pb2.ProfileDelta(customer_id="x" * 1024 * 1024)
    wrong: Any = ["not a delta"]

    async with publishing(service) as publisher:
        await publisher.publish(deltas("a"), sequence=10)
        for bad in ([], deltas(*["x"] * 1_001), [large]):
            with pytest.raises(ValueError, match="a message has"):
                await publisher.publish(bad)
        with pytest.raises(TypeError):
            await publisher.publish(wrong)
        for sequence in (-1, 0, 9, 10, 2**63):
            with pytest.raises(ValueError, match="sequences increase"):
                await publisher.publish(deltas("b"), sequence=sequence)
        held.release.set()
        await publisher.publish(deltas(*["x"] * 1_000))

    assert service.sequences == [[10, 11]]
    with pytest.raises(ValueError, match="at least 1"):
        Publisher("127.0.0.1:1", source="crm", max_outstanding=0)


async def test_deltas_may_be_changed_after_they_were_published() -> None:
    service = FakeProfileService()
    batch = deltas("before")

    async with publishing(service) as publisher:
        await publisher.publish(batch)
        batch[0].customer_id = "after"

    assert service.applied["crm"] == [(1, ("before",))]


async def test_cancelled_publish_takes_its_message_back_whole() -> None:
    service = FakeProfileService(held := Held(1))

    async with publishing(service, max_outstanding=1) as publisher:
        await publisher.publish(deltas("a"))
        calls = [asyncio.create_task(publisher.publish(deltas(name))) for name in "bcd"]
        await turns()
        # One that waits for room, and one that waits for its turn.
        assert calls[0].cancel() and calls[2].cancel()
        await turns()
        held.release.set()
        assert (await calls[1]).sequence == 2

    assert calls[0].cancelled() and calls[2].cancelled()
    assert service.applied["crm"] == [(1, ("a",)), (2, ("c",))]


async def test_cancelling_who_waits_for_a_ticket_leaves_it_to_the_others() -> None:
    service = FakeProfileService(held := Held(1))

    async with publishing(service) as publisher:
        ticket = await publisher.publish(deltas("a"))
        impatient, patient = (asyncio.ensure_future(ticket) for _ in range(2))
        await turns()
        impatient.cancel()
        await turns()
        held.release.set()

        assert (await patient).sequence == 1
    assert impatient.cancelled()
    assert (await ticket).sequence == 1


async def test_acknowledgement_of_what_was_never_sent_means_another_publisher() -> None:
    async def script(stream: FakeStream) -> None:
        await stream.open()
        await stream.take()
        await stream.acknowledge(5)

    with pytest.raises(SourceConflictError, match="another publisher uses the source crm: sequence 5") as caught:
        async with publishing(FakeProfileService(script)) as publisher:
            await (await publisher.publish(deltas("a")))

    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.ABORTED, "SOURCE_CONFLICT")


async def test_own_sequences_may_be_overtaken_by_another_publisher_of_the_same_log() -> None:
    async def script(stream: FakeStream) -> None:
        await stream.open()
        await stream.take()
        await stream.acknowledge(5)

    async with publishing(FakeProfileService(script)) as publisher:
        await (await publisher.publish(deltas("a"), sequence=1))
        assert (await publisher.publish(deltas("b"), sequence=5)).done()


async def test_message_that_another_publisher_got_through_meanwhile_needs_no_place() -> None:
    async def script(stream: FakeStream) -> None:
        await stream.open(max_outstanding=1)
        await stream.take()
        await overtake.wait()
        await stream.acknowledge(5)

    overtake = asyncio.Event()
    service = FakeProfileService(script)

    async with publishing(service) as publisher:
        await publisher.publish(deltas("a"), sequence=1)
        waiting = asyncio.create_task(publisher.publish(deltas("b"), sequence=5))
        await turns()
        overtake.set()
        assert (await waiting).done()

    assert service.sequences == [[1]]


async def test_own_channel_is_closed_with_the_publisher() -> None:
    async with publishing(FakeProfileService()) as publisher:
        channel = publisher._channel
        assert channel is not None

    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN


async def test_given_channel_stays_open_and_closing_it_ends_publishing() -> None:
    service = FakeProfileService(polite, Held(1))

    async with asyncio.timeout(TIMEOUT_S), serving(service) as address, aio.insecure_channel(address) as channel:
        async with Publisher(channel, source="crm") as publisher:
            await publisher.publish(deltas("a"))
        with pytest.raises(PublisherClosedError):
            async with Publisher(channel, source="other") as publisher:
                ticket = await publisher.publish(deltas("b"))
                await channel.close()
                await ticket


async def test_publisher_is_used_inside_its_block_and_once() -> None:
    service = FakeProfileService()

    async with asyncio.timeout(TIMEOUT_S), serving(service) as address:
        publisher = Publisher(address, source="crm")
        with pytest.raises(RuntimeError, match="enter"):
            await publisher.publish(deltas("a"))
        async with publisher:
            pass
        with pytest.raises(PublisherClosedError):
            await publisher.publish(deltas("a"))
        with pytest.raises(PublishError):
            await publisher.flush()
        with pytest.raises(RuntimeError, match="once"):
            await publisher.__aenter__()


class Held:
    """A script that receives some messages, then holds their acknowledgement until it is released."""

    def __init__(self, count: int, **fields: Any) -> None:
        self._count, self._fields = count, fields
        self.received, self.release = asyncio.Event(), asyncio.Event()

    async def __call__(self, stream: FakeStream) -> None:
        await stream.open(**self._fields)
        await stream.take(self._count)
        self.received.set()
        await self.release.wait()
        await stream.acknowledge()
        while (message := await stream.receive()) is not None:
            stream.apply(message)
            await stream.acknowledge()
