"""The writer: the one way by which anything changes. Log first, then apply, then tell.

Entries are committed in groups: a group is whatever arrived while the one before was committed, at most 1,024 entries.
Nothing waits for company: with an idle journal an entry is committed at once.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import NamedTuple

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import (
    DeltasReceived,
    DeltasRejected,
    Entry,
    Journal,
    Record,
    Rejection,
    journal_failed,
)
from server.domain.outcome import AttributedOutcome
from server.domain.profile import RejectedDelta
from server.domain.vault import SealedText, Vault
from server.execution.state import State
from server.execution.write_watch import WriteWatch

MAX_GROUP = 1_024
MAX_GROUP_WEIGHT = 65_536
"""Deltas and customers in a group at most, so that the memory of a group is bounded."""

MAX_MESSAGE = 512
"""Characters of a refusal's message that are written down."""

TURN_S = 0.001
"""How long entries are applied before rankings have their turn."""

_LOG = logging.getLogger(__name__)


class Written(NamedTuple):
    """An entry that is durable and visible: its offset, and what its sender is told."""

    offset: int
    refused: Sequence[RejectedDelta] = ()
    attributed: Sequence[AttributedOutcome] = ()


class _Waiting(NamedTuple):
    entry: Entry
    weight: int
    compiled: object
    sealed: Sequence[SealedText]
    future: "asyncio.Future[Written]"
    since_s: float = 0.0


class Writer:
    """Commits entries to the journal in groups, and applies them to the state in their order."""

    def __init__(self, journal: Journal, state: State, vault: Vault | None) -> None:
        self._journal = journal
        self._state = state
        self._vault = vault
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.watch = WriteWatch()
        self.failure = asyncio.Event()
        """Set when nothing can be written any more until the server is started again."""
        self.ahead: Callable[[], None] = lambda: None
        """Called before each entry is taken, to write what comes before it."""

    def __len__(self) -> int:
        """How many entries are not yet durable and visible."""
        return len(self._waiting)

    def start(self) -> None:
        """Starts committing, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="writer")

    async def settle(self) -> None:
        """Returns when what came before the call is durable and visible, or refused, or its caller has left."""
        self.ahead()
        if self._waiting:
            await asyncio.wait([waiting.future for waiting in self._waiting])

    async def close(self) -> None:
        """Commits what is waiting, and stops."""
        self.ahead()
        while self._waiting:
            await asyncio.wait([self._waiting[-1].future])
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def write(
        self,
        entry: Entry,
        compiled: object = None,
        sealed: Sequence[SealedText] = (),
        weight: int = 1,
    ) -> "asyncio.Future[Written]":
        """Takes an entry; the future is done when it is durable and visible. Entries keep the order of these calls.

        Args:
            compiled: What the caller has compiled of it already: deltas, or a catalog.
            sealed: Encrypted texts of the entry; they are durable before it is.
            weight: How many deltas or customers it has.

        Raises, in the future:
            OpportuneError: JOURNAL_FULL or JOURNAL_FAILED, and the entry is not written; nor is any that waited.
        """
        self.ahead()
        future: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        if self.failure.is_set():
            future.set_exception(journal_failed())
            # Whoever does not wait for it need not hear of it either.
            future.exception()
            return future
        self._waiting.append(_Waiting(entry, weight, compiled, sealed, future, perf_counter()))
        self._wake.set()
        return future

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while group := self._group():
                    await self._commit(group)
            except Exception:
                # What is durable and cannot be applied would leave a hole in what is known: nothing follows it.
                _LOG.exception("an entry could not be applied; nothing more is written")
                self.failure.set()
                self._refuse_all(journal_failed())

    def _group(self) -> list[_Waiting]:
        """The entries to commit next. They stay in the queue until they are durable."""
        group: list[_Waiting] = []
        weight = 0
        for waiting in self._waiting:
            weight += waiting.weight
            if group and (len(group) == MAX_GROUP or weight > MAX_GROUP_WEIGHT):
                break
            group.append(waiting)
        return group

    async def _commit(self, group: list[_Waiting]) -> None:
        began_s = perf_counter()
        try:
            sealed = [text for waiting in group for text in waiting.sealed]
            if sealed and self._vault is not None:
                await self._vault.put(sealed)
            await self._journal.append([waiting.entry for waiting in group])
        except OpportuneError as error:
            if error.reason is ErrorReason.JOURNAL_FAILED:
                self.failure.set()
            self.watch.failed()
            self._refuse_all(error)
            return
        except Exception:
            _LOG.exception("the journal failed in a way that nobody foresaw; nothing more is written")
            self.failure.set()
            self.watch.failed()
            self._refuse_all(journal_failed())
            return
        self.watch.committed(len(group), perf_counter() - began_s)
        await self._apply(group)

    async def _apply(self, group: list[_Waiting]) -> None:
        turn_ends = perf_counter() + TURN_S
        for waiting in group:
            record = Record(self._state.facts.offset + 1, waiting.entry)
            written = Written(record.offset, *self._state.apply(record, waiting.compiled))
            self._waiting.popleft()
            if written.refused:
                self._record(waiting, written)
            elif not waiting.future.done():
                waiting.future.set_result(written)
            now_s = perf_counter()
            self.watch.applied(waiting.entry, written.refused, now_s - waiting.since_s)
            if now_s > turn_ends:
                await asyncio.sleep(0)
                turn_ends = perf_counter() + TURN_S

    def _record(self, waiting: _Waiting, written: Written) -> None:
        """Writes down what turned out to be refused, whoever still waits, and tells the caller when that is durable."""

        def tell(_: object) -> None:
            if not waiting.future.done():
                waiting.future.set_result(written)

        entry = waiting.entry
        source, sequence = (entry.source, entry.sequence) if isinstance(entry, DeltasReceived) else ("", 0)
        rejected = DeltasRejected(entry.time_us, source, sequence, rejections_of(written.refused))
        self.write(rejected).add_done_callback(tell)

    def _refuse_all(self, error: OpportuneError) -> None:
        """Refuses everything that waits: what came later may build on what is lost."""
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.done():
                future.set_exception(error)
                # Its caller may have gone; then nobody asks.
                future.exception()


def rejections_of(rejected: Iterable[RejectedDelta]) -> tuple[Rejection, ...]:
    """What is written down of refused deltas."""
    return tuple(Rejection(each.index, each.error.reason.name, each.error.message[:MAX_MESSAGE]) for each in rejected)
