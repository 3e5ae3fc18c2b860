"""Streams of numbered messages: what is read, when it is acknowledged, and how a call ends."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from opportune.v1 import profile_service_pb2 as pb

from server.domain.caller import Caller
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import DeltasRejected, journal_failed, journal_full
from server.wire.caller import CALLER, WATCH
from tests.support.gated_journal import turns
from tests.support.streams import Ingest, bad, ingesting, message, question, refusal, visit

MALFORMED = OpportuneError(ErrorReason.MALFORMED_REQUEST, "the bytes are not a message")


@pytest_asyncio.fixture
async def ingest() -> AsyncIterator[Ingest]:
    async with ingesting() as begun:
        yield begun


async def test_question_is_answered_with_the_watermark_and_the_window(ingest: Ingest) -> None:
    first, _ = ingest.stream()
    first.put(message(7))
    await first.response()
    second, _ = ingest.stream(max_outstanding=9)

    second.put(question())
    answer = await second.response()

    assert (answer.acknowledged_sequence, answer.max_outstanding) == (7, 9)
    assert answer.profile_version == ingest.state.profile_version
    assert not answer.HasField("closing")


async def test_message_is_acknowledged_when_it_is_durable_and_visible_and_not_before(ingest: Ingest) -> None:
    stream, _ = ingest.stream()
    ingest.journal.gate.clear()
    stream.put(message(1))
    await turns()
    assert stream.sent == []

    ingest.journal.gate.set()
    answer = await stream.response()

    assert answer.acknowledged_sequence == 1
    assert answer.profile_version == ingest.journal.head == 2
    assert ingest.visits("c") == 1.0


async def test_messages_are_read_on_while_the_first_is_written_and_acknowledged_at_once(ingest: Ingest) -> None:
    stream, _ = ingest.stream()
    ingest.journal.gate.clear()
    stream.put(*[message(number) for number in range(1, 6)])
    await turns()
    assert stream.taken == 5

    ingest.journal.gate.set()
    while not stream.acknowledged or stream.acknowledged[-1] < 5:
        await stream.response()

    # The first has a group of its own; all others arrived meanwhile.
    assert len(ingest.journal.groups) <= 3
    assert len(stream.acknowledged) <= 2
    assert ingest.visits("c") == 5.0


@pytest.mark.parametrize("window", [1, 3])
async def test_no_more_is_read_than_may_be_outstanding(ingest: Ingest, window: int) -> None:
    stream, _ = ingest.stream(max_outstanding=window)
    ingest.journal.gate.clear()
    stream.put(*[message(number) for number in range(1, 11)])
    await turns(50)
    assert stream.taken == window

    ingest.journal.gate.set()
    while (await stream.response()).acknowledged_sequence < 10:
        pass

    assert stream.taken == 10


async def test_caller_who_takes_no_acknowledgements_is_read_no_further(ingest: Ingest) -> None:
    stream, _ = ingest.stream(max_outstanding=2)
    stream.takes_more.clear()
    stream.put(*[message(number) for number in range(1, 11)])
    await turns(100)
    assert stream.taken < 8

    stream.takes_more.set()
    while (await stream.response()).acknowledged_sequence < 10:
        pass

    assert ingest.visits("c") == 10.0


async def test_what_was_applied_is_acknowledged_again_and_not_applied_twice(ingest: Ingest) -> None:
    stream, _ = ingest.stream()
    stream.put(message(1), message(2), message(3))
    while (await stream.response()).acknowledged_sequence < 3:
        pass

    stream.put(message(2))
    again = await stream.response()

    assert again.acknowledged_sequence == 3
    assert ingest.visits("c") == 3.0
    assert ingest.journal.head == 4


async def test_what_is_on_its_way_is_not_written_twice_and_acknowledged_when_it_is_durable(ingest: Ingest) -> None:
    first, _ = ingest.stream()
    second, _ = ingest.stream()
    ingest.journal.gate.clear()
    first.put(message(1), message(2))
    await turns()
    second.put(message(1), message(2))
    await turns()
    assert (first.sent, second.sent) == ([], [])

    ingest.journal.gate.set()
    while (await first.response()).acknowledged_sequence < 2:
        pass
    while (await second.response()).acknowledged_sequence < 2:
        pass

    assert ingest.visits("c") == 2.0
    assert ingest.journal.head == 3


@pytest.mark.parametrize("last", [question(), message(1)], ids=["question", "resend"])
async def test_acknowledgements_never_go_back(ingest: Ingest, last: pb.StreamProfileDeltasRequest) -> None:
    stream, call = ingest.stream()
    ingest.journal.gate.clear()
    stream.put(message(1), message(2), message(3), last, None)
    await turns()

    ingest.journal.gate.set()
    await asyncio.wait_for(call, 5)

    assert stream.acknowledged == sorted(stream.acknowledged)
    assert stream.acknowledged[-1] == 3


async def test_end_of_requests_ends_the_call_when_all_are_acknowledged(ingest: Ingest) -> None:
    stream, call = ingest.stream()
    stream.put(message(1), message(2), None)

    await asyncio.wait_for(call, 5)

    assert stream.acknowledged[-1] == 2


async def test_refused_deltas_are_told_with_message_and_place_and_the_others_applied(ingest: Ingest) -> None:
    stream, call = ingest.stream()
    ingest.journal.gate.clear()
    stream.put(message(3, visit(), bad(), visit()), message(5, bad(), visit()), None)
    await turns()

    ingest.journal.gate.set()
    await asyncio.wait_for(call, 5)

    told = [(each.sequence, each.index) for response in stream.sent for each in response.rejected]
    recorded = [entry for group in ingest.journal.groups for entry in group if isinstance(entry, DeltasRejected)]
    assert told == [(3, 1), (5, 0)]
    assert [(entry.sequence, entry.rejections[0].place) for entry in recorded] == told
    assert ingest.visits("c") == 3.0


async def test_message_of_refused_deltas_alone_advances_the_watermark(ingest: Ingest) -> None:
    stream, _ = ingest.stream()
    stream.put(message(4, bad()))

    answer = await stream.response()

    assert (answer.acknowledged_sequence, len(answer.rejected)) == (4, 1)
    assert ingest.sources.watermark("crm") == 4


@pytest.mark.parametrize(
    ("poison", "reason", "field"),
    [
        (MALFORMED, ErrorReason.MALFORMED_REQUEST, None),
        (OpportuneError(ErrorReason.REQUEST_TOO_LARGE, "too large"), ErrorReason.REQUEST_TOO_LARGE, None),
        (message(3, *[visit()] * 1_001), ErrorReason.INVALID_FIELD, "deltas"),
        (message(0), ErrorReason.INVALID_FIELD, "sequence"),
        (message(-3), ErrorReason.INVALID_FIELD, "sequence"),
        (message(3, source="shop"), ErrorReason.INVALID_FIELD, "source"),
    ],
    ids=["malformed", "too large", "1001 deltas", "sequence 0", "negative sequence", "another source"],
)
async def test_message_that_is_none_ends_the_call_behind_the_acknowledgements(
    ingest: Ingest, poison: pb.StreamProfileDeltasRequest | OpportuneError, reason: ErrorReason, field: str | None
) -> None:
    stream, call = ingest.stream()
    ingest.journal.gate.clear()
    stream.put(message(1), message(2), poison, message(9))
    await turns()
    assert not call.done()

    ingest.journal.gate.set()
    refused = await refusal(call)

    assert refused.reason is reason
    assert [violation.field for violation in refused.violations] == ([field] if field else [])
    assert stream.acknowledged[-1] == 2
    assert ingest.visits("c") == 2.0
    assert ingest.sources.watermark("crm") == 2


@pytest.mark.parametrize("source", ["", "a b", "s" * 129])
async def test_first_message_must_name_a_source(ingest: Ingest, source: str) -> None:
    stream, call = ingest.stream()
    stream.put(message(1, source=source))

    refused = await refusal(call)

    assert refused.reason is ErrorReason.INVALID_FIELD
    assert refused.violations[0].field == "source"
    assert stream.sent == []


async def test_later_messages_need_not_name_the_source(ingest: Ingest) -> None:
    stream, call = ingest.stream()
    stream.put(message(1), message(2, source=""), message(3), None)

    await asyncio.wait_for(call, 5)

    assert ingest.sources.watermark("crm") == 3


async def test_too_many_refused_deltas_end_the_call_with_a_time_to_wait() -> None:
    async with ingesting(rejected_per_minute=3) as ingest:
        stream, call = ingest.stream()
        stream.put(message(1, bad(), bad(), visit()), message(2, bad(), bad(), visit()), message(3))

        refused = await refusal(call)

        assert refused.reason is ErrorReason.TOO_MANY_REJECTED
        assert refused.metadata == {"rejected_per_minute": "3"}
        assert refused.retry_after_ms is not None
        assert 59_000 < refused.retry_after_ms <= 60_001
        assert stream.acknowledged[-1] == 2
        ingest.clock.advance(milliseconds=refused.retry_after_ms)
        again, _ = ingest.stream()
        again.put(message(3))
        assert (await again.response()).acknowledged_sequence == 3


async def test_as_many_refused_deltas_as_are_allowed_are_allowed() -> None:
    async with ingesting(rejected_per_minute=2) as ingest:
        stream, call = ingest.stream()
        stream.put(message(1, bad(), bad()), message(2), None)

        await asyncio.wait_for(call, 5)


async def test_full_journal_ends_the_call_and_a_new_one_resumes_behind_what_was_acknowledged(ingest: Ingest) -> None:
    stream, call = ingest.stream()
    stream.put(message(1))
    await stream.response()
    ingest.journal.gate.clear()
    ingest.journal.failures = [journal_full()]
    stream.put(message(2), message(3))
    await turns()

    ingest.journal.gate.set()
    refused = await refusal(call)
    again, _ = ingest.stream()
    again.put(question())
    answer = await again.response()
    again.put(message(2), message(3))
    while (await again.response()).acknowledged_sequence < 3:
        pass

    assert refused.reason is ErrorReason.JOURNAL_FULL
    assert stream.acknowledged == [1]
    assert answer.acknowledged_sequence == 1
    assert ingest.visits("c") == 3.0


async def test_message_behind_a_lost_one_is_refused_until_that_was_sent_again(ingest: Ingest) -> None:
    stream, call = ingest.stream()
    ingest.journal.failures = [journal_full()]
    stream.put(message(1))
    await refusal(call)

    hasty, hasty_call = ingest.stream()
    hasty.put(message(2))

    assert (await refusal(hasty_call)).reason is ErrorReason.JOURNAL_FULL
    assert ingest.sources.watermark("crm") == 0


async def test_source_that_asks_after_a_loss_may_go_on_with_other_numbers(ingest: Ingest) -> None:
    stream, call = ingest.stream()
    ingest.journal.failures = [journal_full()]
    stream.put(message(1))
    await refusal(call)

    # A producer that was started anew may put more into a message, and number it by the last of that.
    again, _ = ingest.stream()
    again.put(question())
    answer = await again.response()
    again.put(message(2, visit(), visit()))

    assert answer.acknowledged_sequence == 0
    assert (await again.response()).acknowledged_sequence == 2
    assert ingest.visits("c") == 2.0


async def test_failed_journal_ends_every_call(ingest: Ingest) -> None:
    stream, call = ingest.stream()
    ingest.journal.failures = [journal_failed()]
    stream.put(message(1))
    assert (await refusal(call)).reason is ErrorReason.JOURNAL_FAILED

    again, again_call = ingest.stream()
    again.put(question(), message(1))

    assert (await refusal(again_call)).reason is ErrorReason.JOURNAL_FAILED
    assert again.acknowledged == [0]


async def test_closing_acknowledges_what_was_received_and_says_so_last(ingest: Ingest) -> None:
    stream, call = ingest.stream()
    ingest.journal.gate.clear()
    stream.put(message(1), message(2))
    await turns()
    ingest.closing.set()
    await turns()
    assert not call.done()

    ingest.journal.gate.set()
    await asyncio.wait_for(call, 5)

    last = stream.sent[-1]
    assert last.acknowledged_sequence == last.closing.acknowledged_sequence == 2
    assert last.closing.reason
    assert not any(response.HasField("closing") for response in stream.sent[:-1])
    assert stream.acknowledged[-2] == 2


async def test_closing_ends_a_call_that_waits_for_its_caller(ingest: Ingest) -> None:
    stream, call = ingest.stream()
    stream.put(message(5))
    await stream.response()

    ingest.closing.set()
    await asyncio.wait_for(call, 5)

    assert stream.sent[-1].closing.acknowledged_sequence == 5


async def test_call_whose_credentials_have_expired_meanwhile_leaves_no_task_behind(ingest: Ingest) -> None:
    before = asyncio.all_tasks()
    CALLER.set(Caller("till", frozenset(), expires_s=1.0))
    try:
        _, call = ingest.stream()
    finally:
        CALLER.set(None)

    assert (await refusal(call)).reason is ErrorReason.CREDENTIALS_EXPIRED
    assert asyncio.all_tasks() - {call} <= before


async def test_call_whose_credentials_are_withdrawn_ends_behind_the_acknowledgements(ingest: Ingest) -> None:
    watched: list[Callable[[], object]] = []

    def watch(withdraw: Callable[[], object]) -> Callable[[], object]:
        watched.append(withdraw)
        return watched.clear

    WATCH.set(watch)
    try:
        stream, call = ingest.stream()
    finally:
        WATCH.set(None)
    ingest.journal.gate.clear()
    stream.put(message(1), message(2))
    await turns()
    watched[0]()
    await turns()
    assert not call.done()

    ingest.journal.gate.set()

    assert (await refusal(call)).reason is ErrorReason.CREDENTIALS_EXPIRED
    assert stream.acknowledged[-1] == 2
    assert not watched


async def test_fault_of_ours_while_reading_ends_the_call(ingest: Ingest) -> None:
    stream, call = ingest.stream()
    stream.put(RuntimeError("a fault of ours"))

    done, _ = await asyncio.wait([call], timeout=0.5)

    assert done
    assert isinstance(call.exception(), RuntimeError)


async def test_cancelled_call_leaves_no_task_behind_and_its_messages_stay_on_their_way(ingest: Ingest) -> None:
    before = asyncio.all_tasks()
    stream, call = ingest.stream()
    ingest.journal.gate.clear()
    stream.put(message(1))
    await turns()

    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert asyncio.all_tasks() <= before

    ingest.journal.gate.set()
    again, _ = ingest.stream()
    again.put(message(1))
    assert (await again.response()).acknowledged_sequence == 1
    assert ingest.visits("c") == 1.0


# Bulk loads


def batch(sequence: int, *customer_ids: str, **columns: list[float]) -> pb.LoadProfilesRequest:
    request = pb.LoadProfilesRequest(source="load", sequence=sequence, customer_ids=customer_ids)
    for name, values in columns.items():
        request.columns.add(name=name, values=values)
    return request


async def test_load_is_acknowledged_when_it_is_visible_and_can_be_resumed(ingest: Ingest) -> None:
    stream, call = ingest.loading()
    stream.put(batch(0), batch(1, "a", "b", visits=[1, 2]), batch(2, "c", visits=[3]), None)
    await asyncio.wait_for(call, 5)
    again, _ = ingest.loading()
    again.put(batch(0), batch(2, "c", visits=[9]))

    answer = await again.response()

    assert stream.acknowledged[-1] == answer.acknowledged_sequence == 2
    assert [ingest.visits(customer) for customer in "abc"] == [1.0, 2.0, 3.0]


async def test_batch_with_anything_wrong_ends_the_load_and_nothing_of_it_is_applied(ingest: Ingest) -> None:
    stream, call = ingest.loading()
    stream.put(batch(1, "a", visits=[1]), batch(2, "b", "c", visits=[2, float("inf")]))

    refused = await refusal(call)

    assert refused.violations[0].field == "columns[0]"
    assert stream.acknowledged == [1]
    assert ingest.visits("b") is None


async def test_no_more_batches_are_read_than_may_be_outstanding(ingest: Ingest) -> None:
    stream, _ = ingest.loading(max_outstanding=2)
    ingest.journal.gate.clear()
    stream.put(*[batch(number, "a", visits=[number]) for number in range(1, 7)])
    await turns(50)

    assert stream.taken == 2


async def test_closing_ends_a_load_in_band(ingest: Ingest) -> None:
    stream, call = ingest.loading()
    stream.put(batch(3, "a", visits=[1]))
    await stream.response()

    ingest.closing.set()
    await asyncio.wait_for(call, 5)

    assert stream.sent[-1].closing.acknowledged_sequence == 3


async def test_stream_that_has_lost_something_and_cannot_say_so_takes_nothing_behind_it(ingest: Ingest) -> None:
    stale, _ = ingest.stream()
    stale.takes_more.clear()
    stale.put(message(1))
    await turns()
    ingest.journal.gate.clear()
    ingest.journal.failures = [journal_full()]
    stale.put(message(2), message(3))
    await turns()
    ingest.journal.gate.set()
    await turns()

    # Its producer has connected anew, while a message that was sent before still arrives on the old connection.
    fresh, _ = ingest.stream()
    fresh.put(question())
    assert (await fresh.response()).acknowledged_sequence == 1
    stale.put(message(4))
    await turns()
    fresh.put(message(2), message(3), message(4))
    while (await fresh.response()).acknowledged_sequence < 4:
        pass

    assert ingest.visits("c") == 4.0
