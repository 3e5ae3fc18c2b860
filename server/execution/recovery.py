"""Recovery: the newest good snapshot, and every entry of the journal behind it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from server.domain.erasure import ErasureLedger
from server.domain.journal import JournalDamagedError, Record
from server.execution.erase import forget_erased
from server.execution.facts import Facts
from server.execution.redaction import redacted
from server.execution.snapshot import FactsHeader, restore
from server.execution.timeline import Reader, Timeline
from server.input.pages import SavedPage

_LOG = logging.getLogger(__name__)


class JournalReader(Reader, Protocol):
    """The part of `Journal` that recovery needs."""

    @property
    def first(self) -> int:
        """The offset of the oldest entry that is kept."""
        ...

    @property
    def head(self) -> int:
        """The offset of the last entry."""
        ...


class SnapshotReader(Protocol):
    """Reads snapshots, each by its offset."""

    def offsets(self) -> list[int]:
        """The offsets of all snapshots, newest first."""
        ...

    def read(self, offset: int) -> tuple[FactsHeader, list[SavedPage]]:
        """Reads a snapshot.

        Raises:
            JournalDamagedError: it is not what was written.
            NewerEntryError: a newer version wrote it.
            OSError: it cannot be read.
        """
        ...


@dataclass(slots=True)
class Recovered:
    """What recovery has found.

    Attributes:
        facts: As of the end of the journal.
        snapshot_offset: Of the snapshot that was used, 0 if there was none.
        damaged: What was wrong with newer snapshots, which were passed over.
        entries: How many entries of the journal were applied.
        erased: How many rows and entries were about customers who had been erased, and were left out.
    """

    facts: Facts = field(default_factory=Facts)
    snapshot_offset: int = 0
    damaged: list[str] = field(default_factory=list)
    entries: int = 0
    erased: int = 0


async def recover(
    journal: JournalReader, snapshots: SnapshotReader, ledger: ErasureLedger, tell: Callable[[str], None] = _LOG.info
) -> Recovered:
    """The facts that journal and snapshots hold, without the customers that the ledger knows as erased.

    Raises:
        JournalDamagedError: the journal is damaged, or does not join onto any good snapshot.
        NewerEntryError: a newer version wrote some of it.
        OSError: a file cannot be read.
    """
    recovered = Recovered()
    for offset in snapshots.offsets():
        try:
            header, pages = snapshots.read(offset)
        except JournalDamagedError as damage:
            recovered.damaged.append(str(damage))
            _LOG.error("%s; the snapshot before it is used", damage)
            continue
        recovered.facts = restore(header, pages)
        recovered.snapshot_offset = offset
        recovered.erased = forget_erased(recovered.facts, ledger, header.time_us)
        break
    _require_joined(journal, recovered)
    await _replay(journal, ledger, recovered, tell)
    return recovered


def _require_joined(journal: JournalReader, recovered: Recovered) -> None:
    """Refuses a journal that ends before the snapshot, or begins after it."""
    offset = recovered.facts.offset
    if journal.head < offset:
        raise JournalDamagedError(f"the journal ends at entry {journal.head}, before the snapshot of entry {offset}")
    if journal.first > offset + 1:
        which = f"the newest good snapshot is of entry {offset}" if offset else "there is no good snapshot"
        raise JournalDamagedError(f"the journal begins at entry {journal.first}, and {which}")


async def _replay(
    journal: JournalReader, ledger: ErasureLedger, recovered: Recovered, tell: Callable[[str], None]
) -> None:
    def kept(record: Record) -> Record:
        left = redacted(record, ledger.covers) if len(ledger) else record
        recovered.erased += left is not record
        return left

    timeline = Timeline(recovered.facts, journal, kept)
    while await timeline.step():
        recovered.entries += 1
        if not recovered.entries % 50_000:
            tell(f"replayed {recovered.entries:,} of {journal.head - recovered.snapshot_offset:,} entries")
