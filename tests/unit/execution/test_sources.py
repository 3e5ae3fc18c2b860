import asyncio
from collections.abc import Sequence

import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import Entry, Record, journal_full
from server.domain.vault import SealedText
from server.execution.sources import Accepted, Sources
from server.execution.state import State
from server.execution.writer import Writer, Written
from server.storage.memory_journal import MemoryJournal
from tests.support.folds import received


class SlowWriter(Writer):
    """A writer whose entries are on their way until the test says what becomes of them."""

    def __init__(self, state: State) -> None:
        super().__init__(MemoryJournal(), state, None)
        self.state = state
        self.waiting: list[tuple[Entry, asyncio.Future[Written]]] = []

    def write(
        self, entry: Entry, compiled: object = None, sealed: Sequence[SealedText] = (), weight: int = 1
    ) -> "asyncio.Future[Written]":
        future: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self.waiting.append((entry, future))
        return future

    def commit(self, count: int = 1) -> None:
        """Applies the next entries."""
        for entry, future in self.waiting[:count]:
            record = Record(self.state.facts.offset + 1, entry)
            future.set_result(Written(record.offset, *self.state.apply(record)))
        del self.waiting[:count]

    def lose(self) -> None:
        """Loses everything that waits, as a full disk does."""
        for _, future in self.waiting:
            future.set_exception(journal_full())
            future.exception()
        self.waiting.clear()


@pytest.fixture
def writer() -> SlowWriter:
    return SlowWriter(State({}))


@pytest.fixture
def sources(writer: SlowWriter) -> Sources:
    return Sources(writer.state, writer)


def send(sources: Sources, sequence: int, source: str = "crm") -> Accepted:
    """Sends a message as a use case does."""
    known = sources.known(source, sequence, empty=False)
    if known is not None:
        return known
    written = sources.write(source, sequence, received(source=source, sequence=sequence))
    return Accepted(source, sequence, sequence, written)


async def callbacks() -> None:
    """Lets everything run that is ready to."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_new_message_is_written(sources: Sources, writer: SlowWriter) -> None:
    accepted = send(sources, 5)
    writer.commit()

    assert (accepted.acknowledges, sources.watermark("crm"), len(writer.waiting)) == (5, 5, 0)
    assert (await accepted.written).offset == 1  # type: ignore[misc]


async def test_message_at_or_below_the_watermark_is_acknowledged_and_not_written(
    sources: Sources, writer: SlowWriter
) -> None:
    send(sources, 5)
    writer.commit()

    assert [send(sources, sequence) for sequence in (5, 3)] == [
        Accepted("crm", 5, 5, None), Accepted("crm", 3, 5, None)
    ]  # fmt: skip
    assert writer.waiting == []


async def test_message_that_is_on_its_way_is_waited_for_and_not_written_again(
    sources: Sources, writer: SlowWriter
) -> None:
    first = send(sources, 5)

    again = send(sources, 5)

    assert again.written is first.written
    assert (first.mine, again.mine) == (True, False)
    assert len(writer.waiting) == 1


async def test_repeat_of_an_earlier_message_waits_for_everything_that_is_on_its_way(
    sources: Sources, writer: SlowWriter
) -> None:
    accepted = [send(sources, sequence) for sequence in (1, 2, 3)]

    again = send(sources, 1)
    writer.commit(1)

    assert again.written is accepted[2].written
    assert again.written is not None
    assert not again.written.done()
    assert len(writer.waiting) == 2


async def test_repeat_while_later_ones_are_on_their_way_acknowledges_no_more_than_was_asked(
    sources: Sources, writer: SlowWriter
) -> None:
    for sequence in (1, 2, 3):
        send(sources, sequence)
    writer.commit(2)

    assert send(sources, 1).acknowledges == 2


async def test_sources_do_not_wait_for_each_other(sources: Sources, writer: SlowWriter) -> None:
    send(sources, 5)

    other = send(sources, 5, source="shop")

    assert len(writer.waiting) == 2
    writer.commit()
    assert (sources.watermark("crm"), sources.watermark("shop")) == (5, 0)
    assert other.written is not None
    assert not other.written.done()


async def test_empty_message_asks_how_far_the_source_has_come(sources: Sources, writer: SlowWriter) -> None:
    send(sources, 5)
    asked_early = sources.known("crm", 0, empty=True)
    writer.commit()

    assert asked_early == Accepted("crm", 0, 0, None)
    assert sources.known("crm", 9, empty=True) == Accepted("crm", 0, 5, None)
    assert sources.known("new", 0, empty=True) == Accepted("new", 0, 0, None)


async def test_message_without_a_number_is_always_written(sources: Sources, writer: SlowWriter) -> None:
    send(sources, 5)

    for _ in range(2):
        send(sources, 0)

    assert len(writer.waiting) == 3
    writer.commit(3)
    assert sources.watermark("crm") == 5


@pytest.mark.parametrize(
    ("source", "sequence", "field"), [("", 1, "source"), ("a b", 1, "source"), ("a", -1, "sequence")]
)
def test_source_and_sequence_are_checked(sources: Sources, source: str, sequence: int, field: str) -> None:
    for empty in (True, False):
        with pytest.raises(OpportuneError) as refused:
            sources.known(source, sequence, empty)

        assert refused.value.violations[0].field == field


async def test_lost_message_blocks_later_ones_until_it_is_sent_again(sources: Sources, writer: SlowWriter) -> None:
    send(sources, 1)
    send(sources, 2)
    writer.lose()
    await callbacks()

    for later in (2, 3):
        with pytest.raises(OpportuneError) as refused:
            send(sources, later)
        assert refused.value.reason is ErrorReason.JOURNAL_FULL

    for sequence in (1, 2, 3):
        send(sources, sequence)
    writer.commit(3)
    assert sources.watermark("crm") == 3


async def test_lost_message_of_one_source_does_not_block_another(sources: Sources, writer: SlowWriter) -> None:
    send(sources, 1)
    writer.lose()
    await callbacks()

    send(sources, 1, source="shop")
    writer.commit()

    assert sources.watermark("shop") == 1


async def test_lost_message_does_not_keep_others_from_asking(sources: Sources, writer: SlowWriter) -> None:
    send(sources, 4)
    writer.commit()
    send(sources, 5)
    writer.lose()
    await callbacks()

    assert sources.known("crm", 0, empty=True) == Accepted("crm", 0, 4, None)
    again = send(sources, 4)
    assert (again.acknowledges, again.written, again.mine) == (4, None, False)


async def test_message_that_is_lost_twice_blocks_again(sources: Sources, writer: SlowWriter) -> None:
    for _ in range(2):
        send(sources, 1)
        writer.lose()
        await callbacks()

    with pytest.raises(OpportuneError):
        send(sources, 2)


async def test_lost_message_blocks_later_ones_from_the_moment_it_is_lost(sources: Sources, writer: SlowWriter) -> None:
    send(sources, 1)

    writer.lose()

    with pytest.raises(OpportuneError):
        send(sources, 2)


async def test_lost_message_that_was_refused_when_sent_again_still_blocks_later_ones(
    sources: Sources, writer: SlowWriter
) -> None:
    send(sources, 1)
    writer.lose()
    await callbacks()

    # The use case asks, and then refuses the message for another reason, such as too many refused deltas.
    assert sources.known("crm", 1, empty=False) is None

    with pytest.raises(OpportuneError):
        send(sources, 2)


async def test_message_whose_caller_has_gone_is_not_lost(sources: Sources, writer: SlowWriter) -> None:
    accepted = send(sources, 1)

    async def wait() -> None:
        assert accepted.written is not None
        await asyncio.shield(accepted.written)

    task = asyncio.create_task(wait())
    await callbacks()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    writer.commit()
    assert sources.watermark("crm") == 1
