"""Erasing a customer: everywhere, for good, and whatever happens meanwhile."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.domain.clock import microseconds_of
from server.domain.contact import ContactKind
from server.domain.decision import RankQuery
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import DecisionsMade, IdentifiersLinked, ProfileErased, journal_full
from server.domain.load import ColumnBatch, LoadColumn
from server.domain.outcome import Outcome
from server.domain.profile import AttributeUpdates, Profile, ProfileDelta
from server.execution.catalog import publish
from server.execution.deltas import ApplyProfileDeltas
from server.execution.erase import EraseProfile, Snapshots
from server.execution.finishing import CallerLeftError
from server.execution.outcomes import ReportOutcomes
from server.execution.rejections import RejectionLimit
from server.execution.sources import Sources
from server.execution.state import State
from server.execution.writer import Writer, Written
from server.storage.ledger import FileLedger, MemoryLedger
from server.storage.memory_decision_log import MemoryDecisionLog
from server.storage.memory_journal import MemoryJournal
from server.storage.sealing import VaultSealer, key_from
from server.storage.vault import MemoryVault
from tests.support.catalogs import compiled_catalog
from tests.support.clock import NOON_US, ManualClock
from tests.support.erasing import DOCUMENT, KEY, KilledError, Server, Steps, knows, serving
from tests.support.folds import profiles_of

ANNA, PHONE, CARD = "cookie:anna-4711", "phone:anna-0815", "loyalty:anna-2342"
BERT = "cookie:bert-1234"
EMAIL, NAME = "anna.canary@example.com", "Anna Canaria"
LEFT_BY_ANNA = [text.encode() for text in (ANNA, PHONE, CARD, EMAIL, NAME, "anna")]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def server(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Server]:
    async with serving(tmp_path / "data", clock) as server:
        await fill(server)
        yield server


async def fill(server: Server) -> None:
    """Anna has three identifiers and everything that can be held; Bert shares messages and a load with her."""
    await server.set(ANNA, tier="gold", email=EMAIL, full_name=NAME, visits=3.0)
    await server.set(BERT, tier="basic", email="bert@example.com", visits=1.0)
    await server.change(PHONE, AttributeUpdates(increment={"visits": 2.0}), (ANNA,))
    # The same address on another identifier joins it by the catalog's rule.
    await server.set(CARD, email=EMAIL)
    column = LoadColumn("tier", np.array([1.0, 0.0]), ("basic", "silver"))
    times = np.array([NOON_US, NOON_US], np.int64)
    await server.load.settle(server.load.accept("bulk", 1, ColumnBatch((ANNA, BERT), times, (column,))))
    await server.change(ANNA, AttributeUpdates(set={"visits": 4.0}), source="numbered", sequence=7)
    for customer_id in (ANNA, BERT):
        server.rank(RankQuery(customer_id, "home"))
    await server.log.flush()
    outcome = Outcome("o-1", ContactKind.ACCEPTED, NOON_US, None, ANNA, "soap", revenue=5.0)
    await ReportOutcomes(server.state, server.writer, server.clock)([outcome])
    server.clock.advance(minutes=1)
    await server.snapshotter.take()
    server.clock.advance(minutes=1)


async def is_gone(server: Server) -> None:
    """Nothing of Anna is left, Bert is as he was, and the journal comes to what is in memory."""
    assert knows(server.state.facts) == {BERT}
    assert len(server.state.facts.matches.keys) == 1, "that of Bert's address"
    assert await server.exported(ANNA) == await server.exported(CARD) == []
    assert not server.ledger.unfinished
    content = server.bytes_on_disk()
    assert [left for left in LEFT_BY_ANNA if left in content] == []
    (bert, *_) = await server.exported(BERT)
    assert isinstance(bert, Profile)
    assert bert.attributes["tier"] == "basic"
    replayed = await server.replayed()
    assert profiles_of(replayed, [BERT]) == profiles_of(server.state.facts, [BERT])
    assert replayed.sources == server.state.facts.sources
    assert knows(replayed) == {BERT}


async def test_nothing_is_left_of_an_erased_customer(server: Server) -> None:
    receipt = await server.erase(CARD)

    assert receipt.identifiers == 3
    assert {store.store: store.removed for store in receipt.stores} == {
        "memory": 3,
        "journal": 7,
        "snapshots": 1,
        "vault": 3,
        "decision_records": 1,
    }
    assert receipt.complete_time == server.clock.now
    (erased,) = await server.journal.read(receipt.offset - 1, 1)
    assert erased.entry == ProfileErased(erased.entry.time_us, 3)
    await is_gone(server)


async def test_erasing_nobody_is_not_found(server: Server) -> None:
    for customer_id in ("cookie:nobody", "cookie:anna", "anna-4711"):
        with pytest.raises(OpportuneError) as refused:
            await server.erase(customer_id)
        assert refused.value.reason is ErrorReason.PROFILE_NOT_FOUND
        assert not len(server.ledger)


async def test_record_of_a_decision_that_showed_nothing_is_erased(server: Server) -> None:
    server.rank(RankQuery("cookie:mute-99", "home", candidate_offer_ids=("none",), request_id="r-1"))
    await server.log.flush()
    assert knows(server.state.facts) == {ANNA, PHONE, CARD, BERT}
    assert b"cookie:mute-99" in server.bytes_on_disk()

    receipt = await server.erase("cookie:mute-99")

    assert [store.removed for store in receipt.stores if store.store == "decision_records"] == [1]
    assert b"cookie:mute-99" not in server.bytes_on_disk()
    assert server.rank._answered.find("r-1", ()) is None
    with pytest.raises(OpportuneError, match="nothing is known"):
        await server.erase("cookie:mute-99")


async def test_erasing_again_finds_nobody_and_a_new_customer_is_erased_again(server: Server) -> None:
    await server.erase(ANNA)
    with pytest.raises(OpportuneError, match="nothing is known"):
        await server.erase(ANNA)

    server.clock.advance(seconds=1)
    await server.set(ANNA, visits=9.0, email=EMAIL)
    receipt = await server.erase(ANNA)

    assert receipt.identifiers == 1
    await is_gone(server)


async def test_new_data_starts_a_new_customer_who_survives_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    async with serving(tmp_path / "data", clock) as server:
        await fill(server)
        await server.erase(ANNA)
        clock.advance(seconds=1)
        await server.set(ANNA, visits=9.0, email="new@example.com")
    async with serving(tmp_path / "data", clock) as server:
        profile, *_ = await server.exported(ANNA)

        assert server.finished == 0
        assert profile.attributes == {"visits": 9.0}
        assert profile.identifiers == (ANNA,)
        assert [text.text for text in (await server.vault.read([ANNA]))[ANNA]] == ["new@example.com"]
        assert knows(server.state.facts) == {ANNA, BERT}


async def test_message_that_was_about_the_customer_alone_stays_acknowledged(server: Server) -> None:
    await server.erase(ANNA)

    again = await server.change(ANNA, AttributeUpdates(set={"visits": 4.0}), source="numbered", sequence=7)

    assert again.acknowledged_sequence == 7
    assert knows(server.state.facts) == {BERT}
    assert (await server.replayed()).sources == server.state.facts.sources


async def test_what_waits_for_the_disk_is_erased_and_what_comes_behind_stays(server: Server) -> None:
    before = [asyncio.create_task(server.set(ANNA, visits=float(count), email=EMAIL)) for count in range(5)]
    await asyncio.sleep(0)
    erasing = asyncio.create_task(server.erase(ANNA))
    while not any(isinstance(waiting.entry, ProfileErased) for waiting in server.writer._waiting):
        await asyncio.sleep(0)
    server.clock.advance(seconds=1)
    behind = asyncio.create_task(server.set(ANNA, tier="silver", full_name="Somebody New"))

    await asyncio.gather(*before, erasing, behind)

    profile, *_ = await server.exported(ANNA)
    assert profile.attributes == {"tier": "silver"}
    assert profile.identifiers == (ANNA,)
    assert [text.text for text in (await server.vault.read([ANNA]))[ANNA]] == ["Somebody New"]
    assert profiles_of(await server.replayed(), [ANNA, BERT]) == profiles_of(server.state.facts, [ANNA, BERT])


async def test_identifier_that_joins_while_texts_are_counted_is_erased(server: Server) -> None:
    class Joining:
        """A vault during whose counting somebody joins."""

        def __getattr__(self, call: str) -> Any:
            return getattr(server.vault, call)

        async def count(self, identifiers: list[str]) -> int:
            counted = await server.vault.count(identifiers)
            if "cookie:late" not in knows(server.state.facts):
                await server.change("cookie:late", AttributeUpdates(set={"email": "late@example.com"}), (ANNA,))
            return counted

    server.erase._vault = Joining()  # type: ignore[assignment]

    receipt = await server.erase(ANNA)

    assert receipt.identifiers == 4
    assert {store.store: store.removed for store in receipt.stores}["vault"] == 4
    assert b"cookie:late" not in server.bytes_on_disk()
    await is_gone(server)


async def test_identifiers_that_join_by_what_waits_for_the_disk_are_erased(server: Server) -> None:
    for late in ("cookie:late-1", "cookie:late-2", "cookie:late-3"):
        await server.set(late, visits=1.0, email=f"{late[7:]}@example.com")
    await server.link("cookie:late-2", "cookie:late-3")
    joining: list[asyncio.Future[Written]] = []

    class Linking:
        """A writer before whose entry of the erasure links are taken."""

        def __getattr__(self, call: str) -> Any:
            return getattr(server.writer, call)

        def write(self, entry: Any, **more: Any) -> Any:
            if not joining:
                links = [IdentifiersLinked(NOON_US, ANNA, late) for late in ("cookie:late-1", "cookie:late-2")]
                joining.extend(map(server.writer.write, links))
            return server.writer.write(entry, **more)

    server.erase._writer = Linking()  # type: ignore[assignment]

    receipt = await server.erase(ANNA)

    assert receipt.identifiers == 6
    assert {store.store: store.removed for store in receipt.stores}["memory"] == 6
    assert b"cookie:late" not in server.bytes_on_disk()
    await is_gone(server)


async def test_decision_that_waits_for_the_journal_is_no_later_than_the_erasure(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with serving(tmp_path / "data", clock) as server:
        await fill(server)
        steps = KillAt(server.folder, "after ledger.cut", tmp_path / "copy")
        server.watch(steps)
        server.rank._note._writer = server.writer
        server.writer.ahead = server.rank._note.flush
        server.erase._clock = ticking = Ticking(clock)
        server.rank._note._now_us = lambda: microseconds_of(ticking())
        server.rank(RankQuery(ANNA, "home"))
        with pytest.raises((OpportuneError, KilledError)):
            await server.erase(ANNA)
    clock.advance(minutes=1)

    async with serving(tmp_path / "copy", clock) as server:
        await is_gone(server)


class Ticking:
    """A clock that goes on with every look at it."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def __call__(self) -> datetime:
        self._clock.advance(seconds=1)
        return self._clock.now


async def test_decision_that_is_made_while_the_erasure_is_written_is_erased(server: Server) -> None:
    written: list[object] = []

    class Deciding:
        """A journal that is written while decisions are made."""

        def __getattr__(self, call: str) -> Any:
            return getattr(server.journal, call)

        async def append(self, entries: list[Any]) -> None:
            if any(isinstance(entry, ProfileErased) for entry in entries):
                server.rank(RankQuery(ANNA, "home"))
                server.rank(RankQuery(BERT, "home"))
            written.extend(entries)
            await server.journal.append(entries)

    server.writer._journal = Deciding()  # type: ignore[assignment]

    receipt = await server.erase(ANNA)

    assert isinstance(written[-1], DecisionsMade)
    assert [made.customer_id for made in written[-1].decisions] == [ANNA, BERT]
    assert {store.store: store.removed for store in receipt.stores}["journal"] == 8
    await is_gone(server)


async def test_erasure_goes_on_when_its_caller_leaves(server: Server) -> None:
    steps = Steps(server.folder, None, None)
    server.watch(steps)
    call = asyncio.create_task(server.erase(ANNA))
    while "before journal.append" not in steps.taken:
        await asyncio.sleep(0)

    call.cancel()
    with pytest.raises(CallerLeftError):
        await call
    while server.ledger.unfinished or "after ledger.complete" not in steps.taken:
        await asyncio.sleep(0)

    await is_gone(server)


async def test_erasures_at_once_share_a_round(server: Server) -> None:
    customers = [f"cookie:many-{number}" for number in range(6)]
    for customer in customers:
        await server.change(customer, AttributeUpdates(set={"visits": 1.0}))
    renewals = Gate(server.snapshotter)
    removal = server.erase._removal
    removal._snapshots = renewals
    first = asyncio.create_task(server.erase(ANNA))
    await renewals.reached.wait()
    others = [asyncio.create_task(server.erase(customer)) for customer in customers]
    while sum(removal.waiting(customer) is not None for customer in customers) < len(customers):
        await asyncio.sleep(0)

    renewals.opened.set()
    receipts = await asyncio.gather(first, *others)

    assert renewals.count == 2
    assert [receipt.identifiers for receipt in receipts] == [3, *[1] * 6]
    assert [receipt.stores[1].removed for receipt in receipts] == [7, *[1] * 6]
    await is_gone(server)


async def test_customer_who_is_erased_twice_at_once_is_gone(server: Server) -> None:
    receipts = await asyncio.gather(server.erase(ANNA), server.erase(PHONE), server.erase(CARD))

    assert [receipt.identifiers for receipt in receipts] == [3, 3, 3]
    assert [receipt.stores[0].removed for receipt in receipts] == [3, 0, 0]
    assert (FileLedger.open(server.folder / "erasures")).unfinished is False
    await is_gone(server)


class NoSnapshots:
    """Snapshots of a server that takes none."""

    async def renew(self) -> int:
        return 0


class Gate:
    """Snapshots that are renewed only when the test says so."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        self.count = 0

    async def renew(self) -> int:
        self.count += 1
        self.reached.set()
        await self.opened.wait()
        return await self._snapshots.renew()


async def test_erasure_parts_nobody_else(server: Server) -> None:
    await server.link("cookie:c", "cookie:d")
    await server.set("cookie:d", visits=5.0)
    await server.link("cookie:c", ANNA)
    await server.unlink("cookie:c", ANNA)

    await server.erase(ANNA)

    assert knows(server.state.facts) == {BERT, "cookie:c", "cookie:d"}
    (profile, *_) = await server.exported("cookie:c")
    assert profile.identifiers == ("cookie:c", "cookie:d")
    others = [BERT, "cookie:c", "cookie:d"]
    assert profiles_of(await server.replayed(), others) == profiles_of(server.state.facts, others)


async def test_server_without_a_data_folder_forgets_everywhere(clock: ManualClock) -> None:
    state, journal, ledger = State({}), MemoryJournal(), MemoryLedger()
    sealer = VaultSealer(key_from(KEY))
    vault = MemoryVault(sealer, clock)
    writer = Writer(journal, state, vault)
    writer.start()
    await publish(state, writer, compiled_catalog(DOCUMENT), clock.now)
    apply = ApplyProfileDeltas(
        state, writer, Sources(state, writer), clock=clock, limit=RejectionLimit(9), sealer=sealer
    )
    erase = EraseProfile(state, writer, journal, vault, ledger, NoSnapshots(), clock, decisions=MemoryDecisionLog())
    updates = AttributeUpdates(set={"email": EMAIL, "visits": 1.0})
    await apply("web", 1, [ProfileDelta(ANNA, NOON_US, updates, (PHONE,))])
    await apply("web", 2, [ProfileDelta(BERT, NOON_US, AttributeUpdates(set={"visits": 1.0}))])

    receipt = await erase(PHONE)

    assert [store.removed for store in receipt.stores] == [2, 1, 0, 1, 0]
    assert knows(state.facts) == {BERT}
    assert await journal.mentioning([ANNA, PHONE], 0, 9) == []
    assert await vault.count([ANNA, PHONE]) == 0
    with pytest.raises(OpportuneError):
        await erase(ANNA)
    await writer.close()


# Failures


class Refusing:
    """A port whose call fails so many times."""

    def __init__(self, port: Any, call: str, error: Exception, times: int = 1) -> None:
        self._port, self._call, self._error, self._times = port, call, error, times

    def __getattr__(self, call: str) -> Any:
        if call != self._call or not self._times:
            return getattr(self._port, call)
        self._times -= 1

        async def refuse(*_: Any) -> None:
            raise self._error

        return refuse

    def __len__(self) -> int:
        return len(self._port)


@pytest.mark.parametrize(
    ("port", "call"),
    [
        ("_ledger", "begin"), ("_ledger", "cut"), ("_ledger", "complete"),
        ("_journal", "rewrite"), ("_vault", "scrub"), ("_snapshots", "renew"),
    ],
)  # fmt: skip
async def test_erasure_that_failed_is_finished_by_calling_again(server: Server, port: str, call: str) -> None:
    error: Exception = OSError(28, "No space left on device") if port == "_snapshots" else journal_full()
    for owner in (server.erase, server.erase._removal):
        if hasattr(owner, port):
            setattr(owner, port, Refusing(getattr(owner, port), call, error))

    with pytest.raises(OpportuneError) as refused:
        await server.erase(ANNA)
    assert refused.value.reason is ErrorReason.JOURNAL_FULL
    assert server.ledger.unfinished is (call != "begin")
    receipt = await server.erase(ANNA)

    assert receipt.identifiers == 3
    await is_gone(server)


async def test_erasure_that_the_journal_refused_is_finished_by_calling_again(server: Server) -> None:
    server.writer._journal = Refusing(server.journal, "append", journal_full())

    with pytest.raises(OpportuneError) as refused:
        await server.erase(ANNA)
    assert refused.value.reason is ErrorReason.JOURNAL_FULL
    assert ANNA in knows(server.state.facts)
    assert server.ledger.unfinished
    await server.erase(PHONE)

    await is_gone(server)


async def test_another_erasure_finishes_one_that_failed(server: Server) -> None:
    server.erase._removal._snapshots = Refusing(server.snapshotter, "renew", OSError(28, "full"))
    with pytest.raises(OpportuneError):
        await server.erase(ANNA)
    await server.set("cookie:c", visits=1.0)

    await server.erase("cookie:c")

    await is_gone(server)


# Being killed

STEPS = (
    "ledger.begin", "vault.put", "journal.append", "ledger.cut", "journal.mentioning", "journal.rewrite",
    "vault.scrub", "snapshots.renew", "ledger.complete",
)  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_erasure_is_finished_at_the_start_after_a_kill(
    tmp_path: Path, clock: ManualClock, name: str, when: str
) -> None:
    killed_at = f"{when} {name}"
    async with serving(tmp_path / "data", clock) as server:
        await fill(server)
        steps = KillAt(server.folder, killed_at, tmp_path / "copy")
        server.watch(steps)
        with pytest.raises((OpportuneError, KilledError)):
            await server.erase(ANNA)
        assert steps.taken[-1] == killed_at or killed_at in steps.taken
    clock.advance(minutes=1)

    async with serving(tmp_path / "copy", clock) as server:
        if killed_at == "before ledger.begin":
            assert knows(server.state.facts) == {ANNA, PHONE, CARD, BERT}
        else:
            await is_gone(server)
            # What comes now is a new customer's, also after another start.
            await server.set(ANNA, visits=1.0)
    async with serving(tmp_path / "copy", clock) as server:
        assert ANNA in knows(server.state.facts)
        assert server.finished == 0


class KillAt(Steps):
    """Kills the server at the first step of a name."""

    def __init__(self, folder: Path, name: str, copy: Path) -> None:
        super().__init__(folder, None, copy)
        self._name = name
        self._is_killed = False

    def step(self, name: str) -> None:
        self.taken.append(name)
        if name == self._name and not self._is_killed:
            self._is_killed = True
            assert self._copy is not None
            shutil.copytree(self._folder, self._copy)
        if self._is_killed:
            raise KilledError(name)


async def test_new_customer_of_a_killed_erasure_stays(tmp_path: Path, clock: ManualClock) -> None:
    """The cut is noted, data comes, and the server is killed before everything is rewritten."""
    writing: list[asyncio.Task[object]] = []
    async with serving(tmp_path / "data", clock) as server:
        await fill(server)

        def write() -> None:
            clock.advance(seconds=1)
            writing.append(asyncio.create_task(server.set(ANNA, visits=9.0)))

        server.watch(WriteAt(server.folder, "before snapshots.renew", tmp_path / "copy", "after ledger.cut", write))
        with pytest.raises((OpportuneError, KilledError)):
            await server.erase(ANNA)
        await asyncio.gather(*writing)

    async with serving(tmp_path / "copy", clock) as server:
        profile, *_ = await server.exported(ANNA)
        assert profile.attributes == {"visits": 9.0}
        assert profile.identifiers == (ANNA,)


class WriteAt(KillAt):
    """Does something at one step and kills the server at another."""

    def __init__(self, folder: Path, name: str, copy: Path, at: str, write: Callable[[], None]) -> None:
        super().__init__(folder, name, copy)
        self._at = at
        self._write = write

    def step(self, name: str) -> None:
        if name == self._at:
            self._write()
        super().step(name)


# Backups


async def test_backup_of_yesterday_brings_nobody_back(tmp_path: Path, clock: ManualClock) -> None:
    ledger = tmp_path / "erasures"
    async with serving(tmp_path / "data", clock, ledger) as server:
        await fill(server)
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    clock.advance(days=1)
    async with serving(tmp_path / "data", clock, ledger) as server:
        await server.erase(ANNA)
    clock.advance(hours=1)

    async with serving(tmp_path / "backup", clock, ledger) as server:
        assert server.recovered.erased > 0
        await is_gone(server)
        clock.advance(seconds=1)
        await server.set(ANNA, visits=1.0)
    async with serving(tmp_path / "backup", clock, ledger) as server:
        assert server.finished == 0
        assert knows(server.state.facts) == {ANNA, BERT}


async def test_backup_of_the_vault_alone_brings_no_text_back(tmp_path: Path, clock: ManualClock) -> None:
    ledger = tmp_path / "erasures"
    async with serving(tmp_path / "data", clock, ledger) as server:
        await fill(server)
    shutil.copy(tmp_path / "data" / "vault.db", tmp_path / "vault.db")
    clock.advance(days=1)
    async with serving(tmp_path / "data", clock, ledger) as server:
        await server.erase(ANNA)
    shutil.copy(tmp_path / "vault.db", tmp_path / "data" / "vault.db")

    async with serving(tmp_path / "data", clock, ledger) as server:
        assert server.finished == 2
        assert await server.vault.read([ANNA, CARD]) == {}
        assert len(await server.vault.read([BERT])) == 1
        await is_gone(server)


# Secrecy


async def test_identifying_text_is_in_no_file_no_log_and_no_error(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "server")
    canaries = ["Kanarienvogel-77", "canary-77@example.com", EMAIL, NAME]
    await server.set(ANNA, full_name=canaries[0], email=canaries[1])
    wrong = AttributeUpdates(set={"full_name": canaries[0], "no_such_attribute": canaries[1]})
    with pytest.raises(AssertionError) as refused:
        await server.change(ANNA, wrong)
    await server.snapshotter.take()
    records = await server.journal.read(0, 1_000)

    errors = str(refused.value) + repr(server.erase) + repr(server.vault)
    for canary in canaries:
        assert canary.encode() not in server.bytes_on_disk()
        assert canary not in caplog.text + errors
        assert all(canary not in repr(record) for record in records)
    assert [text.text for text in (await server.vault.read([ANNA]))[ANNA]] == [canaries[1], canaries[0]]

    await server.erase(ANNA)
    assert "anna" not in caplog.text
    await is_gone(server)
