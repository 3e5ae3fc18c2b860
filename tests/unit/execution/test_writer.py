"""The writer: log first, then apply, then tell, in groups."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import Entry, Record, journal_failed, journal_full
from server.domain.vault import SealedText
from server.execution.facts import Applied
from server.execution.state import State
from server.execution.writer import MAX_GROUP, MAX_GROUP_WEIGHT, Writer
from tests.support.entries import received
from tests.support.gated_journal import GatedJournal, turns

PATIENCE_S = 1.0
"""Only a test that fails waits that long."""


class KeepingVault:
    """Keeps nothing but the order of what happened."""

    def __init__(self, journal: GatedJournal) -> None:
        self.journal = journal
        self.put_at: list[tuple[int, Sequence[SealedText]]] = []
        self.failure: Exception | None = None

    async def put(self, texts: Sequence[SealedText]) -> None:
        """Notes at which head of the journal it was called."""
        if self.failure is not None:
            raise self.failure
        self.put_at.append((self.journal.head, texts))


@pytest.fixture
def journal() -> GatedJournal:
    return GatedJournal()


@pytest.fixture
def state() -> State:
    return State({})


@pytest_asyncio.fixture
async def writer(journal: GatedJournal, state: State) -> AsyncIterator[Writer]:
    writer = Writer(journal, state, None)
    writer.start()
    yield writer
    journal.gate.set()
    await writer.close()


def sizes(journal: GatedJournal) -> list[int]:
    return [len(group) for group in journal.groups]


async def reason(future: "asyncio.Future[Any]") -> ErrorReason:
    with pytest.raises(OpportuneError) as refused:
        await asyncio.wait_for(asyncio.shield(future), PATIENCE_S)
    return refused.value.reason


async def test_entry_is_durable_and_visible_when_its_future_is_done(
    journal: GatedJournal, state: State, writer: Writer
) -> None:
    written = await writer.write(received(7))

    assert (written.offset, written.refused) == (1, [])
    assert journal.head == state.profile_version == 1
    assert state.facts.sources == {"web": 7}


async def test_entry_is_not_visible_before_it_is_durable(journal: GatedJournal, state: State, writer: Writer) -> None:
    journal.gate.clear()
    future = writer.write(received(1))
    await turns()

    assert (journal.begun, state.profile_version, future.done()) == (1, 0, False)

    journal.gate.set()
    await future
    assert state.profile_version == 1


async def test_group_is_whatever_arrived_while_the_one_before_was_committed(
    journal: GatedJournal, writer: Writer
) -> None:
    journal.gate.clear()
    futures = [writer.write(received(1))]
    await turns()
    futures += [writer.write(received(number)) for number in range(2, 6)]
    await turns()

    journal.gate.set()
    written = await asyncio.gather(*futures)

    assert journal.groups == [[received(1)], [received(number) for number in range(2, 6)]]
    assert [each.offset for each in written] == [1, 2, 3, 4, 5]


async def test_group_has_at_most_1024_entries_in_their_order(journal: GatedJournal, writer: Writer) -> None:
    futures = [writer.write(received(number)) for number in range(1, 2 * MAX_GROUP + 11)]

    await futures[-1]

    assert sizes(journal) == [MAX_GROUP, MAX_GROUP, 10]
    assert [entry for group in journal.groups for entry in group] == [received(n) for n in range(1, 2 * MAX_GROUP + 11)]
    assert all(future.done() for future in futures)


async def test_group_has_at_most_65536_deltas(journal: GatedJournal, writer: Writer) -> None:
    futures = [writer.write(received(number), weight=MAX_GROUP_WEIGHT // 2) for number in range(1, 6)]

    await asyncio.gather(*futures)

    assert sizes(journal) == [2, 2, 1]


async def test_entry_that_is_too_heavy_for_any_group_has_one_of_its_own(journal: GatedJournal, writer: Writer) -> None:
    weights = [1, 3 * MAX_GROUP_WEIGHT, 1]

    await asyncio.gather(*[writer.write(received(n), weight=weight) for n, weight in enumerate(weights, 1)])

    assert sizes(journal) == [1, 1, 1]


async def test_full_journal_refuses_all_that_waits_applies_nothing_and_takes_the_next(
    journal: GatedJournal, state: State, writer: Writer
) -> None:
    journal.gate.clear()
    journal.failures = [journal_full()]
    futures = [writer.write(received(1))]
    await turns()
    futures += [writer.write(received(number)) for number in (2, 3)]

    journal.gate.set()
    reasons = [await reason(future) for future in futures]
    written = await writer.write(received(4))

    assert reasons == [ErrorReason.JOURNAL_FULL] * 3
    assert written.offset == 1
    assert journal.groups == [[received(4)]]
    assert state.facts.sources == {"web": 4}
    assert not writer.failure.is_set()


@pytest.mark.parametrize("failure", [journal_failed(), RuntimeError("nobody foresaw this")], ids=["known", "unknown"])
async def test_failed_journal_refuses_all_that_waits_and_all_that_comes(
    journal: GatedJournal, state: State, writer: Writer, failure: Exception
) -> None:
    journal.gate.clear()
    journal.failures = [failure]
    futures = [writer.write(received(number)) for number in (1, 2)]

    journal.gate.set()
    reasons = [await reason(future) for future in futures]
    later = await reason(writer.write(received(3)))

    assert [*reasons, later] == [ErrorReason.JOURNAL_FAILED] * 3
    assert writer.failure.is_set()
    assert journal.begun == 1
    assert state.profile_version == 0


async def test_caller_who_leaves_does_not_stop_the_entry(journal: GatedJournal, state: State, writer: Writer) -> None:
    journal.gate.clear()
    first, second = writer.write(received(1)), writer.write(received(2))
    await turns()
    first.cancel()

    journal.gate.set()
    written = await second

    assert written.offset == 2
    assert state.profile_version == journal.head == 2


async def test_caller_who_left_is_not_told_of_a_refusal(journal: GatedJournal, writer: Writer) -> None:
    journal.gate.clear()
    journal.failures = [journal_full()]
    first, second = writer.write(received(1)), writer.write(received(2))
    await turns()
    first.cancel()

    journal.gate.set()

    assert await reason(second) is ErrorReason.JOURNAL_FULL
    assert first.cancelled()


async def test_others_have_their_turn_while_a_long_group_is_applied(
    journal: GatedJournal, state: State, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.execution.writer.TURN_S", -1.0)
    seen: set[int] = set()

    async def rank_on() -> None:
        while state.profile_version < 50:
            seen.add(state.profile_version)
            await asyncio.sleep(0)

    ranking = asyncio.create_task(rank_on())
    await asyncio.gather(*[writer.write(received(number)) for number in range(1, 51)])
    await ranking

    assert sizes(journal) == [50]
    assert seen >= set(range(1, 50))


async def test_entries_that_arrive_while_a_group_is_applied_are_committed_behind_it(
    journal: GatedJournal, state: State, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.execution.writer.TURN_S", -1.0)
    group = [writer.write(received(number)) for number in range(1, 11)]

    await group[0]
    late = writer.write(received(11))

    assert not group[9].done()
    assert (await late).offset == 11
    assert sizes(journal) == [10, 1]


async def test_closing_commits_what_waits(journal: GatedJournal, state: State) -> None:
    writer = Writer(journal, state, None)
    writer.start()
    journal.gate.clear()
    futures = [writer.write(received(number)) for number in range(1, 6)]
    closing = asyncio.create_task(writer.close())
    await turns()
    assert not closing.done()

    journal.gate.set()
    await closing

    assert [future.result().offset for future in futures] == [1, 2, 3, 4, 5]
    await writer.close()


async def test_closing_ends_even_if_the_last_caller_has_left(journal: GatedJournal, state: State) -> None:
    writer = Writer(journal, state, None)
    writer.start()
    journal.gate.clear()
    writer.write(received(1)).cancel()
    closing = asyncio.create_task(writer.close())
    await turns()

    journal.gate.set()
    await asyncio.wait_for(closing, PATIENCE_S)

    assert state.profile_version == 1


async def test_what_came_before_is_settled(journal: GatedJournal, writer: Writer) -> None:
    await writer.settle()
    journal.gate.clear()
    waiting = [received(1)]

    def ahead() -> None:
        if waiting:
            writer.write(waiting.pop())

    writer.ahead = ahead
    settling = asyncio.create_task(writer.settle())
    await turns()
    writer.write(received(3)).cancel()
    assert not settling.done()

    journal.gate.set()
    await settling

    assert journal.head >= 1


async def test_sealed_texts_are_durable_before_their_entries(journal: GatedJournal, state: State) -> None:
    vault: Any = KeepingVault(journal)
    writer = Writer(journal, state, vault)
    writer.start()
    texts = [SealedText("crm:1", "email", 1, b"sealed"), SealedText("crm:2", "email", 1, None)]

    await asyncio.gather(
        writer.write(received(1), sealed=texts[:1]),
        writer.write(received(2)),
        writer.write(received(3), sealed=texts[1:]),
    )
    await writer.close()

    assert vault.put_at == [(0, texts)]


async def test_entries_are_refused_if_their_texts_cannot_be_kept(journal: GatedJournal, state: State) -> None:
    vault: Any = KeepingVault(journal)
    vault.failure = journal_full()
    writer = Writer(journal, state, vault)
    writer.start()

    refused = await reason(writer.write(received(1), sealed=[SealedText("crm:1", "email", 1, b"sealed")]))
    await writer.close()

    assert refused is ErrorReason.JOURNAL_FULL
    assert journal.begun == 0


class StumblingState(State):
    """Cannot apply its second entry."""

    def apply(self, record: Record, compiled: object = None) -> Applied:
        if record.offset == 2:
            raise RuntimeError("a fault of ours")
        return super().apply(record, compiled)


async def test_entry_that_cannot_be_applied_is_a_failure_and_nobody_waits_for_ever(journal: GatedJournal) -> None:
    writer = Writer(journal, StumblingState({}), None)
    writer.start()
    entries: list[Entry] = [received(number) for number in range(1, 4)]

    futures = [writer.write(entry) for entry in entries]
    done, _ = await asyncio.wait(futures, timeout=PATIENCE_S)

    assert done == set(futures)
    assert (await futures[0]).offset == 1
    assert [await reason(future) for future in futures[1:]] == [ErrorReason.JOURNAL_FAILED] * 2
    assert writer.failure.is_set()
    await asyncio.wait_for(writer.close(), PATIENCE_S)


async def test_entry_that_is_refused_at_once_need_not_be_asked_about(journal: GatedJournal, writer: Writer) -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    journal.failures = [journal_failed()]
    await reason(writer.write(received(1)))

    writer.write(received(2))
    gc.collect()

    assert complaints == []
