"""What a publisher does when streams end: what it sends again, how long it waits, and what it gives up on."""

import asyncio
import gc
import logging
from typing import Any

import grpc
import pytest
from opportune.client import AcknowledgedDataLostError, Acknowledgement, Backoff, Publisher, PublishError
from opportune.client.outbox import Outbox

from tests.support.fake_profile_service import FakeProfileService, FakeStream, Script, deltas, polite, rejected, serving
from tests.unit.client.publishing import TIMEOUT_S, Naps, publishing, turns

TRANSIENT = [
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
]
PERMANENT = [
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.NOT_FOUND,
]


def after(count: int, then: Script, acknowledge: int | None = None, received: int = 0) -> Script:
    """Applies `count` messages, acknowledges up to a sequence, receives some without applying them, then something."""

    async def script(stream: FakeStream) -> None:
        await stream.open()
        await stream.take(count)
        if acknowledge is not None:
            await stream.acknowledge(acknowledge)
        for _ in range(received):
            await stream.receive()
        await then(stream)

    return script


async def die(stream: FakeStream) -> None:
    """Ends the stream without a word about what was applied."""
    await stream.abort()


@pytest.mark.parametrize("code", TRANSIENT)
async def test_what_was_not_acknowledged_is_sent_again_in_order_and_applied_once(code: grpc.StatusCode) -> None:
    # Of six messages, the first stream applies three, acknowledges one, and loses two that it has received.
    service = FakeProfileService(after(3, lambda stream: stream.abort(code), acknowledge=1, received=2), polite)

    async with publishing(service) as publisher:
        tickets = [await publisher.publish(deltas(name)) for name in "abcdef"]
        acknowledgements = [await ticket for ticket in tickets]

    first, second = service.sequences
    assert first in ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6])
    assert second == [4, 5, 6]
    assert service.applied["crm"] == [(n, (name,)) for n, name in enumerate("abcdef", 1)]
    assert [a.sequence for a in acknowledgements] == [1, 2, 3, 4, 5, 6]
    # The stream broke under the second to fifth, so nobody knows what was rejected of them.
    assert [a.rejections_known for a in acknowledgements[:5]] == [True, False, False, False, False]


async def test_server_without_memory_of_the_stream_gets_everything_again() -> None:
    service = FakeProfileService(after(0, die, received=3), after(0, die, received=2), polite)

    async with publishing(service) as publisher:
        for name in "abc":
            await publisher.publish(deltas(name))

    assert service.sequences[1][:2] == [1, 2]
    assert service.sequences[2] == [1, 2, 3]
    assert service.applied["crm"] == [(1, ("a",)), (2, ("b",)), (3, ("c",))]


async def test_closing_in_band_is_an_acknowledgement_and_a_reconnect() -> None:
    async def closing(stream: FakeStream) -> None:
        await stream.open()
        await stream.take(2)
        await stream.receive()
        await stream.close()
        # Even a server that does not end the stream is taken at its word.
        await stream.hang()

    naps = Naps()
    service = FakeProfileService(closing, polite)

    async with publishing(service, naps=naps) as publisher:
        tickets = [await publisher.publish(deltas(name)) for name in "abc"]
        assert [await ticket for ticket in tickets[:2]] == [Acknowledgement(n, 100) for n in (1, 2)]

    assert service.sequences == [[1, 2, 3], [3]]
    assert naps.delays_s == [0.5]


async def test_closing_before_the_first_answer_loses_nothing() -> None:
    async def closing(stream: FakeStream) -> None:
        assert await stream._context.read() is not None
        await stream.close()

    service = FakeProfileService(closing, after(1, die, acknowledge=1), closing, polite)

    async with publishing(service) as publisher:
        await (await publisher.publish(deltas("a")))
        await publisher.publish(deltas("b"))

    assert [sequences for sequences in service.sequences if sequences] in ([[1], [2]], [[1, 2], [2]])


async def test_stream_that_ends_without_a_word_is_resumed() -> None:
    async def quiet(stream: FakeStream) -> None:
        await stream.open()
        await stream.receive()

    async def silent(_: FakeStream) -> None:
        return

    service = FakeProfileService(silent, quiet, silent, polite)

    async with publishing(service) as publisher:
        await publisher.publish(deltas("a"))

    assert service.sequences == [[], [1], [], [1]]


async def test_window_holds_for_what_is_sent_again() -> None:
    resumed = asyncio.Event()
    early: list[bool] = []

    async def narrow(stream: FakeStream) -> None:
        await stream.open(max_outstanding=2)
        await stream.take(2)
        resumed.set()
        third = asyncio.create_task(stream.receive())
        await turns()
        early.append(third.done())
        await stream.acknowledge()
        if (message := await third) is not None:
            stream.apply(message)
            await stream.acknowledge()
        while (message := await stream.receive()) is not None:
            stream.apply(message)
            await stream.acknowledge()

    service = FakeProfileService(after(0, die, received=5), narrow)

    async with publishing(service) as publisher:
        for number in range(5):
            await publisher.publish(deltas(str(number)))
        await resumed.wait()
        waiting = asyncio.create_task(publisher.publish(deltas("5")))
        await waiting

    assert early == [False]
    assert service.sequences == [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]]
    assert [sequence for sequence, _ in service.applied["crm"]] == [1, 2, 3, 4, 5, 6]


async def test_server_may_finish_on_an_old_stream_what_the_new_one_sends_again() -> None:
    async def overtaken(stream: FakeStream) -> None:
        await stream.open()
        await stream.take(1)
        # Meanwhile the server has worked off the rest of what the first stream had brought.
        service.applied["crm"] += [(2, ("b",)), (3, ("c",))]
        await stream.acknowledge()
        # A server may acknowledge a message that it had already with just that message's sequence.
        await stream.acknowledge(1, profile_version=999)
        while (message := await stream.receive()) is not None:
            stream.apply(message)
            await stream.acknowledge()

    service = FakeProfileService(after(0, die, received=3), overtaken)

    async with publishing(service) as publisher:
        tickets = [await publisher.publish(deltas(name)) for name in "abc"]
        assert [(await ticket).sequence for ticket in tickets] == [1, 2, 3]
        while publisher.profile_version != 999:
            await asyncio.sleep(0)
        assert publisher.acknowledged_sequence == 3
        assert (await (await publisher.publish(deltas("d")))).sequence == 4

    assert [sequence for sequence, _ in service.applied["crm"]] == [1, 2, 3, 4]


@pytest.mark.parametrize("code", PERMANENT)
async def test_what_a_retry_cannot_mend_fails_every_ticket_and_every_later_call(code: grpc.StatusCode) -> None:
    service = FakeProfileService(after(1, lambda s: s.abort(code, "BECAUSE"), acknowledge=1, received=2))
    naps = Naps()

    with pytest.raises(PublishError) as caught:
        async with publishing(service, naps=naps, max_outstanding=3) as publisher:
            tickets = [await publisher.publish(deltas(name)) for name in "abc"]
            assert (await tickets[0]).sequence == 1
            await publisher.publish(deltas("d"))
            waiting = [asyncio.create_task(publisher.publish(deltas(name))) for name in "efg"]
            results = await asyncio.gather(*tickets[1:], *waiting, return_exceptions=True)
            await publisher.publish(deltas("e"))

    error = caught.value
    assert (error.code, error.reason, error.message) == (code, "BECAUSE", f"scripted {code.name}")
    assert str(error) == f"{code.name} BECAUSE: scripted {code.name}"
    # One that is let in on the way out is outstanding, so its ticket fails instead of the call.
    failures = [await _failure(result) for result in results]
    assert all(failure is error for failure in failures)
    assert publisher.outstanding == 0
    with pytest.raises(PublishError) as later:
        await publisher.publish(deltas("e"))
    assert later.value is error


async def test_ticket_that_nobody_awaits_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    service = FakeProfileService(after(0, lambda s: s.abort(grpc.StatusCode.INVALID_ARGUMENT), received=1))

    with pytest.raises(PublishError):
        async with publishing(service) as publisher:
            await publisher.publish(deltas("a"))
            # Leaving waits for this one.
            await publisher.publish(deltas("b"))
    del publisher
    gc.collect()

    assert [record.message for record in caplog.records if "never retrieved" in record.message] == []


async def _failure(result: Any) -> BaseException:
    if isinstance(result, BaseException):
        return result
    with pytest.raises(PublishError) as caught:
        await result
    return caught.value


async def test_refusal_of_the_question_is_raised_on_entering() -> None:
    async def refuse(stream: FakeStream) -> None:
        await stream.abort(grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN")

    with pytest.raises(PublishError, match="UNAUTHENTICATED NO_TOKEN"):
        async with publishing(FakeProfileService(refuse)):
            raise AssertionError


async def test_message_that_is_too_large_for_the_server_is_not_sent_for_ever() -> None:
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    service = FakeProfileService(after(0, lambda stream: stream.abort(code, "REQUEST_TOO_LARGE"), received=1))

    with pytest.raises(PublishError, match="RESOURCE_EXHAUSTED REQUEST_TOO_LARGE"):
        async with publishing(service) as publisher:
            await publisher.publish(deltas("a"))

    assert len(service.streams) == 1


async def test_server_is_left_alone_for_as_long_as_it_asks() -> None:
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    scripts = [
        after(0, lambda s: s.abort(code, "JOURNAL_FULL", retry_after_s=60.25)),
        after(0, lambda s: s.abort(code, "JOURNAL_FULL", grpc_retry_pushback_ms="1500")),
        after(0, lambda s: s.abort(code, "JOURNAL_FULL", retry_after_s=3, grpc_retry_pushback_ms="4000")),
    ]
    naps = Naps()
    service = FakeProfileService(*scripts, polite)

    async with publishing(service, naps=naps) as publisher:
        await _streams(service, 4)
        await publisher.publish(deltas("a"))

    # The jitter, half a ceiling of 1, 2 and 4 seconds, is added.
    assert naps.delays_s == [60.75, 2.5, 6.0]


@pytest.mark.parametrize("pushback", ["-1", "never"])
async def test_server_may_forbid_to_try_again(pushback: str) -> None:
    service = FakeProfileService(after(0, lambda stream: stream.abort(grpc_retry_pushback_ms=pushback)))

    with pytest.raises(PublishError, match="UNAVAILABLE"):
        async with publishing(service) as publisher:
            await publisher.publish(deltas("a"))
            await publisher.flush()

    assert len(service.streams) == 1


async def test_waits_double_up_to_the_cap_and_start_anew_after_progress() -> None:
    naps = Naps()
    service = FakeProfileService(*[after(0, die)] * 6, after(1, die, acknowledge=1), after(0, die), polite)

    async with publishing(service, naps=naps) as publisher:
        await _streams(service, 7)
        await publisher.publish(deltas("a"))
        await _streams(service, 9)

    # Half of 1, 2, 4, 8, 8, 8; the seventh stream acknowledged something.
    assert naps.delays_s == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 0.5, 1.0]


async def test_long_life_counts_as_progress() -> None:
    naps = Naps()

    async def live_long(stream: FakeStream) -> None:
        await stream.open()
        naps.now_s += 8.0
        await stream.close()

    service = FakeProfileService(*[live_long] * 4, polite)

    async with publishing(service, naps=naps):
        await _streams(service, 5)

    assert naps.delays_s == [0.5] * 4


async def test_lost_acknowledged_data_is_an_error_that_says_from_where() -> None:
    async def forget(stream: FakeStream) -> None:
        del service.applied["crm"][3:]
        await polite(stream)

    service = FakeProfileService(after(5, die, acknowledge=5, received=1), forget)

    with pytest.raises(AcknowledgedDataLostError, match="acknowledged 5 before and only 3 now") as caught:
        async with publishing(service) as publisher:
            tickets = [await publisher.publish(deltas(name)) for name in "abcdef"]

    assert (caught.value.acknowledged_sequence, caught.value.server_sequence) == (5, 3)
    assert (await tickets[4]).sequence == 5
    with pytest.raises(AcknowledgedDataLostError):
        await tickets[5]
    assert service.sequences[1] == []


async def test_publisher_goes_on_after_a_loss_if_told_to(caplog: pytest.LogCaptureFixture) -> None:
    go_on = asyncio.Event()

    async def forget(stream: FakeStream) -> None:
        del service.applied["crm"][3:]
        await stream.open()
        await stream.take()
        await go_on.wait()
        await stream.acknowledge()
        await stream.take()
        await stream.acknowledge()

    service = FakeProfileService(after(5, die, acknowledge=5, received=1), forget)

    async with publishing(service, continue_after_loss=True) as publisher:
        tickets = [await publisher.publish(deltas(name)) for name in "abcdef"]
        while len(service.sequences) < 2 or not service.sequences[1]:
            await asyncio.sleep(0)
        assert publisher.acknowledged_sequence == 3
        go_on.set()
        assert (await tickets[5]).sequence == 6
        assert (await (await publisher.publish(deltas("g")))).sequence == 7

    assert [sequence for sequence, _ in service.applied["crm"]] == [1, 2, 3, 6, 7]
    assert [r.levelno for r in caplog.records if "after a loss" in r.message] == [logging.ERROR]


async def test_rejections_are_told_once_even_if_the_server_repeats_them() -> None:
    async def reject(stream: FakeStream) -> None:
        await stream.open()
        await stream.take()
        await stream.acknowledge(0, rejected=[rejected(1, 0)])
        await stream.abort()

    async def again(stream: FakeStream) -> None:
        await stream.open()
        await stream.take()
        await stream.acknowledge(rejected=[rejected(1, 0)])

    told: list[object] = []
    service = FakeProfileService(reject, again)

    async with publishing(service, on_rejected=told.append) as publisher:
        acknowledgement = await (await publisher.publish(deltas("a")))

    assert [rejection.index for rejection in acknowledgement.rejected] == [0]
    assert len(told) == 1


async def test_rejection_may_come_with_the_answer_of_the_next_stream() -> None:
    async def remember(stream: FakeStream) -> None:
        await stream.open(rejected=[rejected(1, 1)])

    service = FakeProfileService(after(1, die), remember)

    async with publishing(service) as publisher:
        acknowledgement = await (await publisher.publish(deltas("a", "b")))

    assert [rejection.delta.customer_id for rejection in acknowledgement.rejected] == ["b"]
    assert not acknowledgement.rejections_known


async def test_server_that_is_down_is_waited_for_and_found_again() -> None:
    first, second = FakeProfileService(), FakeProfileService()
    naps = Naps()
    backoff = Backoff(base_s=1.0, cap_s=8.0, random=lambda: 0.5)

    async with asyncio.timeout(TIMEOUT_S):
        async with serving(first) as address:
            publisher = Publisher(address, source="crm", backoff=backoff, clock=naps.clock, sleep=naps.sleep)
            await publisher.__aenter__()
            await (await publisher.publish(deltas("a")))
        ticket = await publisher.publish(deltas("b"))
        while len(naps.delays_s) < 3:
            await asyncio.sleep(0)
        second.applied = first.applied
        async with serving(second, int(address.rpartition(":")[2])):
            assert (await ticket).sequence == 2
            await publisher.__aexit__(None, None, None)

    assert second.applied["crm"] == [(1, ("a",)), (2, ("b",))]
    assert second.sequences == [[2]]


async def test_leaving_while_it_waits_to_reconnect_does_not_hang() -> None:
    asleep = asyncio.Event()

    class Asleep(Naps):
        async def sleep(self, delay_s: float) -> None:
            asleep.set()
            await asyncio.Event().wait()

    service, naps = FakeProfileService(after(0, die)), Asleep()

    with pytest.raises(ZeroDivisionError):
        async with publishing(service, naps=naps) as publisher:
            await publisher.publish(deltas("a"))
            await asleep.wait()
            raise ZeroDivisionError


async def test_entering_can_be_cancelled_while_the_server_is_down() -> None:
    naps = Naps()
    publisher = Publisher("127.0.0.1:1", source="crm", sleep=naps.sleep)
    entering = asyncio.create_task(publisher.__aenter__())
    while not naps.delays_s:
        await asyncio.sleep(0)

    entering.cancel()

    with pytest.raises(asyncio.CancelledError):
        await entering
    with pytest.raises(PublishError):
        await publisher.publish(deltas("a"))


async def test_fault_of_its_own_fails_publishing_instead_of_hanging() -> None:
    class Broken(Naps):
        async def sleep(self, delay_s: float) -> None:
            raise ZeroDivisionError("in the sleep")

    service = FakeProfileService(after(0, die))

    with pytest.raises(PublishError, match="INTERNAL PUBLISHER_FAULT: ZeroDivisionError") as caught:
        async with publishing(service, naps=Broken()) as publisher:
            await (await publisher.publish(deltas("a")))

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_fault_of_the_writer_fails_publishing_instead_of_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: Outbox) -> None:
        raise ZeroDivisionError("in the writer")

    monkeypatch.setattr(Outbox, "take", broken)

    with pytest.raises(PublishError, match="INTERNAL PUBLISHER_FAULT: ZeroDivisionError"):
        async with publishing(FakeProfileService()) as publisher:
            await (await publisher.publish(deltas("a")))


async def test_writer_that_the_network_holds_up_does_not_hold_up_the_reader() -> None:
    published, seen = asyncio.Event(), asyncio.Event()

    async def deaf(stream: FakeStream) -> None:
        await stream.open()
        await published.wait()
        await stream.acknowledge(0, profile_version=999)
        await seen.wait()
        await stream.abort()

    service = FakeProfileService(deaf, polite)
    large = "x" * 900_000

    async with publishing(service) as publisher:
        for number in range(20):
            await publisher.publish(deltas(f"{number}{large}"))
        published.set()
        while publisher.profile_version != 999:
            await asyncio.sleep(0)
        assert publisher.outstanding == 20
        seen.set()

    assert service.sequences == [[], list(range(1, 21))]


async def _streams(service: FakeProfileService, count: int) -> None:
    """Waits until so many streams have begun."""
    while len(service.streams) < count:
        await asyncio.sleep(0)
