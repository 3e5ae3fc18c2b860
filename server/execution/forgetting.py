"""Forgetting: what takes erased customers out of facts, journal and vault, while serving and at start.

At start nobody knows whom to look for, as the ledger has only hashes. So everything is read that may be about somebody
who was erased; while serving, the journal finds the entries that mention the identifiers.
"""

import logging
from collections.abc import Iterable
from typing import Protocol

from server.domain.clock import microseconds_of
from server.domain.decision_log import DecisionLog
from server.domain.erasure import Cut, ErasureLedger
from server.domain.journal import Journal
from server.domain.vault import Vault, everything_of
from server.execution.facts import Facts
from server.execution.redaction import redacted
from server.execution.state import Clock

READ_AT_ONCE = 64
"""An entry may be a load of a thousand customers, or a thousand deltas."""

HOLDINGS_AT_ONCE = 10_000
_LAST_NUMBER = 2**63 - 1
_LOG = logging.getLogger(__name__)


class Snapshots(Protocol):
    """The saved states of a server, as erasures need them."""

    async def renew(self) -> int:
        """Takes a snapshot of now and removes all others, also one that is being written; returns how many.

        Raises:
            OSError: it cannot be written; the others are still there.
        """
        ...


def forget(facts: Facts, identifiers: Iterable[str]) -> int:
    """Forgets identifiers with everything that is known of them; how many were known.

    A customer who shares a group with one of them is parted from it before, and keeps what is theirs.
    """
    profiles = facts.profiles
    rows = [row for identifier in identifiers if (row := profiles.find(identifier)) >= 0]
    gone = set(rows)
    for row in rows:
        if not gone.issuperset(profiles.graph.members(row)):
            profiles.unlink(row, None, facts.offset)
    if rows:
        facts.contacts.part(rows)
        profiles.forget(rows)
        facts.matches.forget(rows)
    return len(rows)


def forget_erased(facts: Facts, ledger: ErasureLedger, snapshot_time_us: int) -> int:
    """Takes those who were erased since out of the facts of a snapshot; how many identifiers that were.

    Args:
        snapshot_time_us: When the snapshot was captured.
    """
    if snapshot_time_us > ledger.newest_us:
        return 0
    profiles = facts.profiles
    named = [profiles.name(row) for row in profiles.identifiers.named()]
    return forget(facts, [name for name in named if ledger.covers_stored(name, snapshot_time_us)])


async def redact_journal(journal: Journal, ledger: ErasureLedger) -> int:
    """Rewrites every entry that has something of those who were erased since; how many entries that were.

    Raises:
        OpportuneError: JOURNAL_FULL or JOURNAL_FAILED; what was rewritten stays so.
        JournalDamagedError, NewerEntryError: an entry cannot be read.
    """
    rewritten = 0
    after = journal.first - 1
    while records := await journal.read(after, READ_AT_ONCE):
        after = records[-1].offset
        changed = [kept for record in records if (kept := redacted(record, ledger.covers)) is not record]
        if changed:
            await journal.rewrite(changed)
        rewritten += len(changed)
    return rewritten


async def erase_from_vault(vault: Vault, ledger: ErasureLedger) -> int:
    """Takes back every text of those who were erased since; of how many identifiers.

    Raises:
        OpportuneError: JOURNAL_FULL or JOURNAL_FAILED.
    """
    erased = 0
    after = ""
    while holdings := await vault.holdings(after, HOLDINGS_AT_ONCE):
        after = holdings[-1].identifier
        gone = [identifier for identifier, stored_us in holdings if ledger.covers_stored(identifier, stored_us)]
        if gone:
            await vault.put([everything_of(identifier) for identifier in gone])
        erased += len(gone)
    return erased


async def erase_from_log(log: DecisionLog, ledger: ErasureLedger) -> int:
    """Removes the records of those who were erased since; how many records.

    Raises:
        JournalDamagedError, NewerEntryError, OSError: some may be left.
    """
    gone: dict[str, None] = {}
    after = 0
    while records := await log.stored(after + 1, _LAST_NUMBER, READ_AT_ONCE * 16):
        after = records[-1][0].number
        for record, stored_us in records:
            # One that was decided for a time to come is no newer than when it was stored.
            if ledger.covers_stored(record.query.customer_id, min(record.time_us, stored_us)):
                gone[record.query.customer_id] = None
    return await log.erase(list(gone)) if gone else 0


async def finish_erasures(  # noqa: PLR0917  # everything that may hold a customer
    found: int,
    journal: Journal,
    vault: Vault | None,
    ledger: ErasureLedger,
    snapshots: Snapshots,
    clock: Clock,
    *,
    decisions: DecisionLog,
) -> int:
    """Finishes what an earlier server has begun, and takes away what a backup has brought back.

    Call it when the facts are already without the erased, and before anything is received.

    Args:
        found: How many rows and entries recovery has found of customers who had been erased.

    Returns:
        How many entries, identifiers of the vault and records of decisions were erased.

    Raises:
        OpportuneError: JOURNAL_FULL or JOURNAL_FAILED; the next start goes on.
        OSError: no snapshot could be written.
    """
    if not len(ledger):
        return 0
    is_old = journal.head < ledger.offset or (vault is not None and vault.scrubbed_us < ledger.newest_us)
    if not (found or is_old or ledger.unfinished):
        return 0
    _LOG.info("finishing erasures: everything is searched for customers who were erased")
    now_us = microseconds_of(clock())
    removed = await redact_journal(journal, ledger)
    if vault is not None:
        removed += await erase_from_vault(vault, ledger)
        await vault.scrub(now_us)
    removed += await erase_from_log(decisions, ledger)
    await snapshots.renew()
    # What is received from now on, in this very microsecond too, is a new customer's.
    await ledger.finish(Cut(journal.head, now_us - 1, now_us - 1))
    _LOG.info("finished erasures: %d entries, identifiers and records had something left", removed)
    return removed
