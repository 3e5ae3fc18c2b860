"""Removal: what is left to do when memory has forgotten a customer. One round does it for all that wait.

A round reads and rewrites the journal, scrubs the vault and renews the snapshots, each of which takes its time however
few customers are erased. So whoever comes while a round is on its way waits for the next one, as with a group commit.
Rounds also keep two erasures from rewriting one entry at once, each with what the other has taken out of it.
"""

import asyncio
import logging
from collections.abc import Sequence

from server.domain.decision_log import DecisionLog
from server.domain.erasure import Cut, ErasedFrom, ErasureLedger, ErasureReceipt
from server.domain.journal import Journal, Record, journal_full
from server.domain.vault import Vault
from server.execution.forgetting import Snapshots
from server.execution.redaction import redacted, without_decisions
from server.execution.state import Clock

REWRITTEN_AT_ONCE = 16
"""An entry may be a load of a thousand customers, or a thousand deltas."""

_LOG = logging.getLogger(__name__)


class Erased:
    """A customer whom memory has forgotten, with what was removed so far."""

    def __init__(self, identifiers: frozenset[str], texts: int) -> None:
        self.identifiers = identifiers
        self.late = frozenset[str]()
        """Who belonged to the customer when memory forgot, and was not among the identifiers."""
        self.texts = texts
        self.rows = 0
        self.entries = 0
        self.decisions = 0
        self.offset = 0
        self.decided = 0
        """The last decision that was made before memory forgot."""
        self.cut: Cut | None = None
        self.is_cut = False
        self.receipt: ErasureReceipt | None = None

    def covers(self, identifier: str, time_us: int) -> bool:
        """Whether an identifier is the customer's; entries are told apart by their offsets."""
        return identifier in self.identifiers


class Removal:
    """Removes customers from journal, vault and snapshots, in rounds."""

    def __init__(
        self,
        journal: Journal,
        vault: Vault | None,
        ledger: ErasureLedger,
        snapshots: Snapshots,
        clock: Clock,
        *,
        decisions: DecisionLog,
    ) -> None:
        self._journal = journal
        self._vault = vault
        self._ledger = ledger
        self._snapshots = snapshots
        self._clock = clock
        self._decisions = decisions
        self._waiting: list[Erased] = []
        self._one_at_a_time = asyncio.Lock()

    def waiting(self, identifier: str) -> Erased | None:
        """The customer of an identifier whom memory has forgotten and who is not removed yet."""
        return next((erased for erased in self._waiting if identifier in erased.identifiers), None)

    async def cut(self, erased: Erased) -> None:
        """Takes on a customer, and notes in the ledger where the past of theirs ends.

        Raises:
            OpportuneError: JOURNAL_FULL or JOURNAL_FAILED; the customer is taken on, and the next round notes it.
        """
        self._waiting.append(erased)
        await self._note_cut(erased)

    async def __call__(self, erased: Erased) -> ErasureReceipt:
        """Removes a customer who was taken on.

        Raises:
            OpportuneError: JOURNAL_FULL or JOURNAL_FAILED; the customer goes on waiting for the next round.
        """
        async with self._one_at_a_time:
            if erased.receipt is None:
                await self._round(list(self._waiting))
        assert erased.receipt is not None
        return erased.receipt

    async def erase_decisions(self, identifiers: Sequence[str]) -> int:
        """Removes the records of their decisions; returns how many.

        Raises:
            OpportuneError: JOURNAL_FULL; some may be left.
        """
        try:
            return await self._decisions.erase(identifiers)
        except OSError as error:
            _LOG.error("the decision log cannot be written, so that an erasure waits: %s", error.strerror)
            raise journal_full() from error

    async def _round(self, customers: Sequence[Erased]) -> None:
        for erased in customers:
            await self._note_cut(erased)
        await self._redact(customers)
        for erased in customers:
            erased.decisions += await self.erase_decisions(sorted(erased.identifiers))
        if self._vault is not None:
            await self._vault.scrub(max(_cut(erased).stored_us for erased in customers))
        snapshots = await self._renew()
        for erased in customers:
            await self._ledger.complete(sorted(erased.identifiers), _cut(erased).received_us)
            erased.receipt = self._receipt(erased, snapshots)
            self._waiting.remove(erased)

    async def _note_cut(self, erased: Erased) -> None:
        if not erased.is_cut:
            await self._ledger.cut(sorted(erased.identifiers), _cut(erased))
            erased.is_cut = True

    async def _redact(self, customers: Sequence[Erased]) -> None:
        identifiers = sorted(frozenset[str]().union(*(erased.identifiers for erased in customers)))
        after, last = 0, self._journal.head
        while after < last:
            records = await self._journal.mentioning(identifiers, after, REWRITTEN_AT_ONCE)
            if not records:
                return
            after = records[-1].offset
            changed = [kept for record in records if (kept := _without(record, customers)) is not record]
            if changed:
                await self._journal.rewrite(changed)

    async def _renew(self) -> int:
        try:
            return await self._snapshots.renew()
        except OSError as error:
            _LOG.error("no snapshot could be taken, so that an erasure waits: %s", error.strerror)
            raise journal_full() from error

    def _receipt(self, erased: Erased, snapshots: int) -> ErasureReceipt:
        texts = "identifying texts" if self._vault is not None else "this server was started without a vault"
        return ErasureReceipt(
            offset=erased.offset,
            complete_time=self._clock(),
            identifiers=len(erased.identifiers),
            stores=(
                ErasedFrom("memory", erased.rows, "identifiers with attributes, consents, contacts and links"),
                ErasedFrom("journal", erased.entries, "entries rewritten without the customer"),
                ErasedFrom("snapshots", snapshots, "files removed; one without the customer was written before"),
                ErasedFrom("vault", erased.texts, texts),
                ErasedFrom("decision_records", erased.decisions, "records of decisions removed from the decision log"),
            ),
        )


def together(receipts: Sequence[ErasureReceipt]) -> ErasureReceipt:
    """The receipt of a customer who was removed in parts."""
    first, last = receipts[0], receipts[-1]
    if first is last:
        return first
    stores = [list(parts) for parts in zip(*(receipt.stores for receipt in receipts), strict=True)]
    return ErasureReceipt(
        offset=last.offset,
        complete_time=max(receipt.complete_time for receipt in receipts),
        identifiers=sum(receipt.identifiers for receipt in receipts),
        stores=tuple(
            # Parts that share a round share its snapshots.
            parts[0]._replace(removed=(max if parts[0].store == "snapshots" else sum)(part.removed for part in parts))
            for parts in stores
        ),
    )


def _without(record: Record, customers: Sequence[Erased]) -> Record:
    """An entry without the customers whose past it belongs to."""
    for erased in customers:
        if record.offset <= _cut(erased).offset:
            kept = redacted(record, erased.covers)
        else:
            kept = without_decisions(record, erased.identifiers, erased.decided)
        erased.entries += kept is not record
        record = kept
    return record


def _cut(erased: Erased) -> Cut:
    assert erased.cut is not None
    return erased.cut
