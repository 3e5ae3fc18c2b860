"""EraseProfile: takes a customer away, from everywhere and for good.

The order is such that the server may be killed between any two steps:

1. The ledger notes whom. From now on a start erases everything of them.
2. The entry `ProfileErased` is written. It takes its turn behind whatever was received before, and with it the vault
   takes the texts back.
3. When it is applied, memory forgets them. Whatever is applied later starts a new customer.
4. The ledger notes where that was. From now on a start erases what is older, and keeps what is newer.
5. Journal and vault are rewritten, a new snapshot replaces all others (`removal.py`); several erasures share this.
6. The ledger notes that it is complete.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Set
from functools import partial
from typing import Any, TypeVar

from server.domain.clock import microseconds_of
from server.domain.decision_log import DecisionLog
from server.domain.erasure import Cut, ErasureLedger, ErasureReceipt
from server.domain.errors import OpportuneError
from server.domain.identifier import require_identifier
from server.domain.journal import Journal, ProfileErased
from server.domain.vault import Vault, everything_of
from server.execution.finishing import finish
from server.execution.forgetting import Snapshots, finish_erasures, forget, forget_erased
from server.execution.profiles import profile_not_found
from server.execution.redaction import redacted
from server.execution.removal import Erased, Removal, together
from server.execution.state import Clock, State
from server.execution.writer import MAX_GROUP_WEIGHT, Writer, Written

__all__ = ["EraseProfile", "Snapshots", "finish_erasures", "forget_erased"]

_SEARCHED_AT_ONCE = 16
_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class EraseProfile:
    """Erases a customer with all identifiers."""

    def __init__(  # noqa: PLR0917  # everything that may hold a customer
        self,
        state: State,
        writer: Writer,
        journal: Journal,
        vault: Vault | None,
        ledger: ErasureLedger,
        snapshots: Snapshots,
        clock: Clock,
        *,
        decisions: DecisionLog,
        forget_answers: Callable[[Set[str]], None] = lambda identifiers: None,
    ) -> None:
        """`forget_answers` takes identifiers out of what is remembered of answers."""
        self._state = state
        self._writer = writer
        self._journal = journal
        self._vault = vault
        self._ledger = ledger
        self._clock = clock
        self._forget_answers = forget_answers
        self._removal = Removal(journal, vault, ledger, snapshots, clock, decisions=decisions)
        self._refused: list[frozenset[str]] = []
        self._running: set[asyncio.Task[Any]] = set()
        self._latest_us = 0

    async def __call__(self, customer_id: str) -> ErasureReceipt:
        """Erases the customer of an identifier; when it returns, nothing is left.

        It goes on to its end even if its caller leaves.

        Raises:
            OpportuneError: INVALID_FIELD; PROFILE_NOT_FOUND if nothing is held; JOURNAL_FULL or JOURNAL_FAILED, then it
                is finished by calling again or by the next start.
        """
        require_identifier("customer_id", customer_id)
        return await self._finish(self._erase(customer_id))

    async def close(self) -> None:
        """Stops the erasures that are under way; the next start finishes them."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _erase(self, customer_id: str) -> ErasureReceipt:
        decisions = 0
        if self._state.profiles.find(customer_id) < 0:
            interrupted = self._removal.waiting(customer_id)
            if interrupted is not None:
                return await self._remove(interrupted)
            if not await self._is_held(customer_id):
                # A decision that shows nothing is in no row and no entry, only in a record and among the answers.
                decisions = await self._forget_decisions(customer_id)
        erased = await self._take(customer_id)
        erased.decisions += decisions
        return await self._remove(erased)

    async def _forget_decisions(self, customer_id: str) -> int:
        """Removes the records and answers of somebody of whom nothing else is held; raises if there are no records."""
        self._forget_answers(frozenset([customer_id]))
        removed = await self._removal.erase_decisions([customer_id])
        if not removed:
            raise profile_not_found()
        return removed

    async def _take(self, customer_id: str) -> Erased:
        """Takes the customer out of memory, and texts out of the vault's rows."""
        identifiers, texts = await self._begin(customer_id)
        erased = Erased(identifiers, texts)
        # After a kill, what is older than the entry is told by its time: decisions that wait are written before it.
        self._writer.ahead()
        # From here to the entry's place in the queue nothing else has a turn, so that these are all identifiers but
        # those that join by what is in the queue before it; `_forget` sees these.
        entry = ProfileErased(self._now_us(), len(identifiers))
        sealed = [everything_of(identifier) for identifier in sorted(identifiers)]
        # An entry of this weight is committed alone: memory forgets before anything behind it is applied.
        written = self._writer.write(entry, sealed=sealed, weight=MAX_GROUP_WEIGHT)
        written.add_done_callback(partial(self._forget, erased, entry))
        try:
            await written
        except OpportuneError:
            self._refused.append(identifiers)
            raise
        self._forget(erased, entry, written)
        # Decisions that were made until then may be behind the entry, and the round must find them in the journal.
        await self._writer.settle()
        await self._removal.cut(erased)
        return erased

    async def _remove(self, erased: Erased) -> ErasureReceipt:
        """Removes a customer whom memory has forgotten, with those who joined too late to be forgotten with them."""
        taken, late = [erased], list(erased.late)
        while late:
            identifier = late.pop()
            # Whoever was taken with another one, or when this was tried before, is not known any more.
            if self._state.profiles.find(identifier) >= 0:
                taken.append(await self._take(identifier))
                late += taken[-1].late
        return together([await self._removal(each) for each in taken])

    async def _begin(self, customer_id: str) -> tuple[frozenset[str], int]:
        """Notes all identifiers in the ledger, also those that join the customer while the disk works.

        Returns:
            The identifiers, and how many texts they have.
        """
        begun: frozenset[str] = frozenset()
        texts = 0
        while new := self._identifiers(customer_id) - begun:
            await self._ledger.begin(sorted(new), self._now_us())
            texts += await self._count_texts(new)
            begun |= new
        self._refused = [before for before in self._refused if not before <= begun]
        return begun, texts

    def _identifiers(self, customer_id: str) -> frozenset[str]:
        """Those of the customer, and those that an erasure was begun with that the journal refused."""
        refused = [before for before in self._refused if customer_id in before]
        return self._members([customer_id]).union([customer_id], *refused)

    def _members(self, identifiers: Iterable[str]) -> frozenset[str]:
        """All identifiers of those customers of these whom memory knows."""
        profiles = self._state.profiles
        rows = [row for identifier in identifiers if (row := profiles.find(identifier)) >= 0]
        return frozenset([profiles.name(member) for row in rows for member in profiles.graph.members(row)])

    def _forget(self, erased: Erased, entry: ProfileErased, written: "asyncio.Future[Written]") -> None:
        """Runs as soon as the entry is applied, and does nothing when it runs again."""
        if written.cancelled() or written.exception() is not None or erased.cut is not None:
            return
        facts = self._state.facts
        erased.late = self._members(erased.identifiers) - erased.identifiers
        erased.rows = forget(facts, erased.identifiers)
        for identifier in erased.identifiers:
            self._state.cached.forget(identifier)
        self._forget_answers(erased.identifiers)
        erased.offset = written.result().offset
        erased.decided = facts.contacts.decided
        # With a journal in memory, entries behind it may have been applied in the same turn; they go with it.
        erased.cut = Cut(facts.offset, entry.time_us, self._now_us())

    async def _count_texts(self, identifiers: frozenset[str]) -> int:
        return 0 if self._vault is None else await self._vault.count(sorted(identifiers))

    async def _is_held(self, customer_id: str) -> bool:
        """Whether journal or vault have anything of an identifier that memory does not know."""
        if await self._count_texts(frozenset([customer_id])):
            return True
        after = 0
        while records := await self._journal.mentioning([customer_id], after, _SEARCHED_AT_ONCE):
            after = records[-1].offset
            if any(redacted(record, lambda name, _: name == customer_id) is not record for record in records):
                return True
        return False

    def _now_us(self) -> int:
        """The time, which for erasures never goes back: a cut must not lie before its beginning."""
        self._latest_us = max(self._latest_us, microseconds_of(self._clock()))
        return self._latest_us

    async def _finish(self, work: Coroutine[Any, Any, _T]) -> _T:
        task = asyncio.create_task(work, name="erasure")
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await finish(task)

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OpportuneError):
            # Its caller may have left, and then nobody else would say so. Nothing of the customer is in the message.
            _LOG.error("an erasure failed and is finished at the next start: %s", type(error).__name__)
