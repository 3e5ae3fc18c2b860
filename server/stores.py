"""Opens what survives: journal, snapshots, vault and erasure ledger of a data folder, or their twins in memory."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from server.domain.decision_log import DecisionLog
from server.domain.erasure import ErasureLedger
from server.domain.journal import Journal
from server.domain.vault import Sealer, Vault
from server.execution.snapshot import Capture, FactsHeader
from server.input.pages import SavedPage
from server.settings import Settings
from server.storage.decision_log import SqliteDecisionLog
from server.storage.decision_reader import ReadOnlyDecisionLog
from server.storage.folder import DataFolder
from server.storage.journal_reader import ReadOnlyJournal
from server.storage.ledger import FileLedger, MemoryLedger
from server.storage.memory_decision_log import MemoryDecisionLog
from server.storage.memory_journal import MemoryJournal
from server.storage.sealing import VaultSealer, key_from
from server.storage.snapshots import SnapshotFolder
from server.storage.sqlite_journal import SqliteJournal
from server.storage.vault import MemoryVault, SqliteVault

JOURNAL_IN_MEMORY_BYTES = 16 * 1024 * 1024
"""How much of its journal a server without a data folder keeps, for exports and lists of refused deltas."""


class NoSnapshots:
    """The snapshots of a server without a data folder: none."""

    def offsets(self) -> list[int]:
        """No offsets."""
        return []

    def remove(self, offset: int) -> None:
        """There is nothing to remove."""

    def read(self, offset: int) -> tuple[FactsHeader, list[SavedPage]]:
        """There is nothing to read."""
        raise FileNotFoundError(f"there is no snapshot of entry {offset}")

    def header(self, offset: int) -> FactsHeader:
        """There is nothing to read."""
        raise FileNotFoundError(f"there is no snapshot of entry {offset}")

    async def write(self, capture: Capture) -> None:
        """There is nowhere to write."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Everything that survives, opened. Without a vault key there is no vault, and identifying text is refused."""

    journal: Journal
    decisions: DecisionLog
    snapshots: SnapshotFolder | NoSnapshots
    ledger: ErasureLedger
    sealer: Sealer | None
    vault: Vault | None

    @property
    def durable(self) -> bool:
        """Whether anything survives a restart."""
        return isinstance(self.snapshots, SnapshotFolder)


async def open_stores(
    settings: Settings, stack: AsyncExitStack, *, accept_loss: bool = False, with_vault: bool = True
) -> Stores:
    """Opens the stores that settings name, the vault if it is wanted; the stack closes them.

    Raises:
        FolderInUseError: another server uses the data folder.
        JournalDamagedError, NewerEntryError: what is there cannot be trusted or read.
        OSError, RuntimeError: a file cannot be used, or the vault key is not one or not this vault's.
    """
    sealer = _sealer(settings)
    if settings.data is None or settings.ephemeral:
        vault = None if sealer is None else MemoryVault(sealer)
        return Stores(
            MemoryJournal(JOURNAL_IN_MEMORY_BYTES), MemoryDecisionLog(), NoSnapshots(), MemoryLedger(), sealer, vault
        )
    folder = stack.enter_context(DataFolder.open(settings.data))
    journal = await SqliteJournal.open(folder.path, accept_loss=accept_loss)
    stack.push_async_callback(journal.close)
    ledger_path = settings.erasures or folder.erasures
    _require_ledger(ledger_path, folder.path, journal.head)
    opened: Vault | None = None
    if sealer is None and with_vault and folder.vault.exists():
        raise RuntimeError(f"{folder.vault} has identifying texts, and there is no vault key to erase them with")
    if sealer is not None:
        opened = await SqliteVault.open(folder.vault, sealer)
        stack.push_async_callback(opened.close)
    decisions = await SqliteDecisionLog.open(folder.decisions, max_bytes=settings.decision_log_mib * 2**20)
    stack.push_async_callback(decisions.close)
    return Stores(journal, decisions, SnapshotFolder(folder.snapshots), FileLedger.open(ledger_path), sealer, opened)


class ReadOnlyStores(NamedTuple):
    """What facts are made of, for those who only read: a server may write to it meanwhile."""

    journal: ReadOnlyJournal
    snapshots: SnapshotFolder
    ledger: ErasureLedger


async def open_read_only(data: Path, erasures: Path | None, stack: AsyncExitStack) -> ReadOnlyStores:
    """Opens a data folder without its lock and without writing to it; the stack closes what is opened.

    The journal ends where it ends now. What a server lets go of meanwhile, entries or snapshots, is missing then:
    `server/reading.py` tries again.

    Raises:
        FileNotFoundError: there is no journal in the folder.
        JournalDamagedError, NewerEntryError: what is there cannot be trusted or read.
        OSError, RuntimeError: a file cannot be used, or the ledger is missing.
    """
    folder = DataFolder.unlocked(data)
    journal = await ReadOnlyJournal.open(folder.path)
    stack.push_async_callback(journal.close)
    ledger_path = erasures or folder.erasures
    _require_ledger(ledger_path, folder.path, journal.head)
    ledger = FileLedger.read(ledger_path) if ledger_path.exists() else MemoryLedger()
    return ReadOnlyStores(journal, SnapshotFolder(folder.snapshots), ledger)


async def open_decisions_read_only(data: Path, stack: AsyncExitStack) -> ReadOnlyDecisionLog:
    """Opens the decision log of a data folder likewise.

    Raises:
        FileNotFoundError: there is none.
        JournalDamagedError, NewerEntryError, OSError: as `open_read_only`.
    """
    log = await ReadOnlyDecisionLog.open(DataFolder.unlocked(data).decisions)
    stack.push_async_callback(log.close)
    return log


def _require_ledger(ledger: Path, folder: Path, head: int) -> None:
    """Without it, a restored backup brings back whoever was erased since."""
    if head and not ledger.exists():
        raise RuntimeError(
            f"there is no erasure ledger {ledger}, and {folder} is not new: restore the ledger, "
            "or, if nobody was ever erased, make an empty file there"
        )


def _sealer(settings: Settings) -> VaultSealer | None:
    if settings.vault_key is not None:
        return VaultSealer(key_from(settings.vault_key.get_secret_value()))
    if settings.vault_key_file is not None:
        return VaultSealer(key_from(Path(settings.vault_key_file).read_text(encoding="ascii")))
    return None
