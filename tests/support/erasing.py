"""A server without transport in a data folder: what erasures and exports need, and a way to kill it at any step."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from server.domain.clock import microseconds_of
from server.domain.errors import OpportuneError
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta
from server.execution.catalog import publish
from server.execution.deltas import ApplyProfileDeltas, DeltasApplied
from server.execution.erase import EraseProfile, finish_erasures
from server.execution.export import ExportProfile
from server.execution.facts import Facts
from server.execution.identity import LinkIdentifiers, UnlinkIdentifier
from server.execution.load import LoadProfiles
from server.execution.noting import NoteDecision
from server.execution.rank import RankOffers
from server.execution.recovery import recover
from server.execution.rejections import RejectionLimit
from server.execution.snapshotter import SnapshotPolicy, Snapshotter
from server.execution.sources import Sources
from server.execution.state import State
from server.execution.writer import Writer
from server.storage.decision_log import SqliteDecisionLog
from server.storage.ledger import FileLedger
from server.storage.sealing import VaultSealer, key_from
from server.storage.snapshots import SnapshotFolder
from server.storage.sqlite_journal import SqliteJournal
from server.storage.vault import SqliteVault
from tests.support.catalogs import ATTRIBUTES, catalog_document, compiled_catalog, offer_entry
from tests.support.clock import ManualClock

KEY = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210"
MAX_IDENTIFIERS = 8
DOCUMENT = catalog_document(
    [offer_entry("soap")],
    attributes=[*ATTRIBUTES, {"id": "email", "type": "text"}, {"id": "full_name", "type": "text"}],
    identity={
        "max_identifiers": MAX_IDENTIFIERS,
        "match": [{"id": "same_email", "parts": [{"attribute": "email", "form": "email"}]}],
    },
)
"""One offer; an attribute of each type, two of them identifying texts; the same e-mail address is the same customer."""

Anything = AttributeUpdates | ConsentUpdate | Event | None


class KilledError(Exception):
    """The server is killed: what is on disk now is all that is left."""


class Steps:
    """Counts the calls of ports, before and after each, and kills the server at one of them."""

    def __init__(self, folder: Path, kill_at: int | None, copy: Path | None) -> None:
        self.taken: list[str] = []
        self._folder = folder
        self._kill_at = kill_at
        self._copy = copy

    def step(self, name: str) -> None:
        """Notes a step. The one to be killed at copies the folder as it is, and raises."""
        self.taken.append(name)
        if self._kill_at is not None and len(self.taken) == self._kill_at + 1:
            assert self._copy is not None
            shutil.copytree(self._folder, self._copy)
        if self._kill_at is not None and len(self.taken) > self._kill_at:
            raise KilledError(name)

    def around(self, port: Any, name: str, *calls: str) -> Any:
        """A port that notes these calls."""
        return _Stepping(port, name, calls, self)


class _Stepping:
    def __init__(self, port: Any, name: str, calls: Sequence[str], steps: Steps) -> None:
        self._port, self._name, self._calls, self._steps = port, name, calls, steps

    def __len__(self) -> int:
        return len(self._port)

    def __getattr__(self, call: str) -> Any:
        found = getattr(self._port, call)
        if call not in self._calls:
            return found

        async def stepping(*arguments: Any) -> Any:
            self._steps.step(f"before {self._name}.{call}")
            result = await found(*arguments)
            self._steps.step(f"after {self._name}.{call}")
            return result

        return stepping


class Server:
    """Everything that a caller can do with a data folder."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.folder = folder
        self.clock = clock
        self.finished = 0
        self._opened = AsyncExitStack()

    journal: SqliteJournal
    vault: SqliteVault
    ledger: FileLedger
    state: State
    erase: EraseProfile

    async def open(self, ledger: Path | None = None) -> None:
        """Starts as the server does: opens everything, recovers, and finishes what was begun."""
        self.folder.mkdir(exist_ok=True)
        self.sealer = sealer = VaultSealer(key_from(KEY))
        self.journal = await SqliteJournal.open(self.folder)
        self._opened.push_async_callback(self.journal.close)
        self.vault = await SqliteVault.open(self.folder / "vault.db", sealer, self.clock)
        self._opened.push_async_callback(self.vault.close)
        self.log = await SqliteDecisionLog.open(self.folder / "decisions.db")
        self._opened.push_async_callback(self.log.close)
        self.ledger = FileLedger.open(ledger or self.folder / "erasures")
        snapshots = SnapshotFolder(self.folder / "snapshots")
        self.recovered = await recover(self.journal, snapshots, self.ledger)
        self.state = State({})
        self.state.facts = self.recovered.facts
        self._serve(self.journal, self.vault, sealer, snapshots)
        self.finished = await finish_erasures(
            self.recovered.erased,
            self.journal,
            self.vault,
            self.ledger,
            self.snapshotter,
            self.clock,
            decisions=self.log,
        )
        catalog = compiled_catalog(DOCUMENT)
        if self.state.facts.catalog is None:
            await publish(self.state, self.writer, catalog, self.clock.now)
        else:
            self.state.serve(self.state.prepare(catalog))

    def _serve(self, journal: Any, vault: Any, sealer: VaultSealer, snapshots: SnapshotFolder) -> None:
        state, clock = self.state, self.clock
        self.writer = Writer(journal, state, vault)
        self.writer.start()
        self._opened.push_async_callback(self.writer.close)
        self.snapshotter = Snapshotter(state, journal, snapshots, clock, SnapshotPolicy())
        self.sources = Sources(state, self.writer)
        limit = RejectionLimit(1_000)
        self.apply = ApplyProfileDeltas(state, self.writer, self.sources, clock=clock, limit=limit, sealer=sealer)
        self.load = LoadProfiles(state, self.sources, clock)
        self.link = LinkIdentifiers(state, self.writer, clock)
        self.unlink = UnlinkIdentifier(state, self.writer, clock)
        self.export = ExportProfile(state, self.journal, self.vault, clock)
        note = NoteDecision(state, self.writer, self.log, lambda: microseconds_of(clock()))
        self.rank = RankOffers(state, clock, note)
        self.erase = EraseProfile(
            state,
            self.writer,
            journal,
            vault,
            self.ledger,
            self.snapshotter,
            clock,
            decisions=self.log,
            forget_answers=self.rank.forget,
        )
        self._opened.push_async_callback(self.erase.close)

    def watch(self, steps: Steps) -> None:
        """Has the ports of an erasure note their steps from now on."""
        journal = steps.around(self.journal, "journal", "append", "mentioning", "rewrite")
        vault = steps.around(self.vault, "vault", "put", "scrub")
        ledger = steps.around(self.ledger, "ledger", "begin", "cut", "complete")
        snapshots = steps.around(self.snapshotter, "snapshots", "renew")
        # The writer that has the ports is another one; the one before has nothing to do any more.
        self.writer = Writer(journal, self.state, vault)
        self.writer.start()
        self._opened.push_async_callback(self.writer.close)
        log = steps.around(self.log, "decisions", "erase")
        self.erase = EraseProfile(self.state, self.writer, journal, vault, ledger, snapshots, self.clock, decisions=log)
        self._opened.push_async_callback(self.erase.close)

    async def close(self) -> None:
        """Lets go of all files."""
        await self._opened.aclose()

    async def change(
        self,
        customer_id: str,
        change: Anything = None,
        other_ids: tuple[str, ...] = (),
        *,
        source: str = "web",
        sequence: int = 0,
        event_time_us: int | None = None,
    ) -> DeltasApplied:
        """Applies one delta at the clock's time; it must be taken."""
        at_us = microseconds_of(self.clock.now) if event_time_us is None else event_time_us
        applied = await self.apply(source, sequence, [ProfileDelta(customer_id, at_us, change, other_ids)])
        assert not applied.rejected, applied.rejected[0].error.message
        return applied

    async def set(self, customer_id: str, /, **values: Any) -> DeltasApplied:
        """Sets attributes of a customer."""
        return await self.change(customer_id, AttributeUpdates(set=values))

    async def exported(self, customer_id: str) -> list[Any]:
        """The whole export of a customer, empty if nothing is held."""
        try:
            return [part async for part in self.export(customer_id)]
        except OpportuneError as error:
            assert error.reason.name == "PROFILE_NOT_FOUND"
            return []

    async def replayed(self) -> Facts:
        """The facts that the journal comes to from its first entry on."""
        facts = Facts()
        while records := await self.journal.read(facts.offset, 1_000):
            for record in records:
                facts.apply(record)
        return facts

    def bytes_on_disk(self) -> bytes:
        """The bytes of all files of the folder."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())


@asynccontextmanager
async def serving(folder: Path, clock: ManualClock, ledger: Path | None = None) -> AsyncIterator[Server]:
    """A server that has started, for as long as the block takes."""
    server = Server(folder, clock)
    try:
        await server.open(ledger)
        yield server
    finally:
        await server.close()


def knows(facts: Facts) -> set[str]:
    """All identifiers that facts know."""
    profiles = facts.profiles
    return {profiles.name(row) for row in profiles.identifiers.named()}
