"""What survives: restarts, shutdowns with open streams, `recover`, and journals that cannot be written."""

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opportune.client import Publisher
from opportune.v1 import profile_service_pb2 as pb

from server.app import App, start
from server.domain.journal import journal_failed, journal_full
from server.settings import Settings
from server.storage.folder import FolderInUseError
from server.storage.snapshots import SnapshotFolder
from server.stores import Stores, open_stores
from tests.integration.catalogs import market, text_of
from tests.integration.commands import run, serving
from tests.integration.connection import TIMEOUT_S, Connection, connected, delta, refusal, refusal_of
from tests.integration.delta_streams import DeltaStream, load_request, purchase, rejections, visit
from tests.integration.test_grpc_profiles import values
from tests.support.gated_journal import GatedJournal

SERVICE = "opportune.v1.ProfileService"


@asynccontextmanager
async def running(transport: Any, **settings: Any) -> AsyncIterator[tuple[App, Connection]]:
    """A server in this process, from its start to its end."""
    async with AsyncExitStack() as stack:
        app = await start(Settings(listen="127.0.0.1:0", transport=transport, **settings), stack)
        # The connection is closed last, so that a call can see the server end.
        yield app, Connection(app.port)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what another process or task does, with a deadline."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.005)


async def visits(server: Connection, customer_id: str) -> object:
    return values(await server.profile(customer_id)).get("visits")


# Restarts


async def test_everything_is_there_after_a_restart(transport: str, tmp_path: Path, market_file: Path) -> None:
    data = tmp_path / "data"
    async with running(transport, data=data, catalog=market_file) as (_, server):
        stream = DeltaStream(server, "crm")
        await stream.send(7, visit("c:1", 3), purchase("c:1", amount=150), visit("x y"))
        await stream.send(8, delta("c:1", tier="gold"), visit("x z"))
        version = (await stream.until(8)).profile_version
        await server.profiles.LinkIdentifiers(pb.LinkIdentifiersRequest(customer_id="c:1", other_id="c:2"))
        before = await server.profile("c:2")
        offers = [offer.offer_id for offer in (await server.rank("c:1")).offers]
        stream.call.cancel()

    async with running(transport, data=data, catalog=market_file) as (app, server):
        assert await server.profile("c:2") == before
        assert (
            [offer.offer_id for offer in (await server.rank("c:1")).offers]
            == offers
            == ["spender", "frequent", "welcome"]
        )
        assert (await DeltaStream(server, "crm").ask()).acknowledged_sequence == 8
        assert await rejections(server, "crm") == [[(7, 2, "INVALID_FIELD"), (8, 1, "INVALID_FIELD")]]
        assert await rejections(server, "crm", 1) == [[(7, 2, "INVALID_FIELD")], [(8, 1, "INVALID_FIELD")]]
        # A link, and the decision of before the restart; the one of now may be there already.
        assert app.state.profile_version in (version + 2, version + 3)


async def test_catalog_survives_a_restart_and_the_same_file_is_not_published_again(
    transport: str, tmp_path: Path, market_file: Path
) -> None:
    data = tmp_path / "data"
    async with running(transport, data=data, catalog=market_file) as (app, _):
        first = (app.state.catalog_version, app.state.profile_version)
    async with running(transport, data=data, catalog=market_file) as (app, _):
        again = (app.state.catalog_version, app.state.profile_version)
    async with running(transport, data=data) as (app, server):
        without = (app.state.catalog_version, app.state.profile_version)
        assert [offer.offer_id for offer in (await server.rank("c:1")).offers] == ["welcome"]

    assert first == again == without == (1, 1)


async def test_another_file_is_published_at_start_and_profiles_keep_what_it_still_knows(
    transport: str, tmp_path: Path, market_file: Path
) -> None:
    data, other = tmp_path / "data", tmp_path / "other.json"
    document = market(description="another")
    document["attributes"].reverse()
    document["attributes"] = [entry for entry in document["attributes"] if entry["id"] != "tier"]
    other.write_text(text_of(document), encoding="utf-8")
    async with running(transport, data=data, catalog=market_file) as (_, server):
        await server.apply_deltas(visit("c:1", 3), purchase("c:1", amount=5), delta("c:1", tier="gold"))

    async with running(transport, data=data, catalog=other) as (app, server):
        assert app.state.catalog_version == 2
        assert values(await server.profile("c:1")) == {"visits": 3.0, "purchases": 1.0, "spent_30d": 5.0}


async def test_catalog_that_was_applied_survives_a_restart(transport: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running(transport, data=data) as (_, server):
        await server.apply_catalog(market())
        applied = await server.apply_catalog(market(description="second"))

    async with running(transport, data=data) as (app, server):
        assert app.state.catalog_version == applied.catalog_version == 2
        assert app.state.catalog_etag == applied.etag
        assert (await server.rank("c:1")).catalog_version == 2


async def test_second_server_on_the_same_folder_is_refused(transport: str, tmp_path: Path) -> None:
    async with running(transport, data=tmp_path / "data") as (_, server):
        with pytest.raises(FolderInUseError, match=f"another server uses {tmp_path / 'data'}"):
            async with running(transport, data=tmp_path / "data"):
                pass

        other = await run("serve", "--data", tmp_path / "data", "--listen", "127.0.0.1:0")
        check = await run("recover", "--data", tmp_path / "data")
        assert (await refusal(server.rank("c:1"))).reason == "NO_CATALOG"

    for done in (other, check):
        assert (done.code, done.errors.strip()) == (1, f"another server uses {tmp_path / 'data'}")


# Shutdown


async def test_open_streams_are_closed_in_band_with_the_last_durable_sequence(
    transport: str, tmp_path: Path, market_file: Path
) -> None:
    async with running(transport, data=tmp_path / "data", catalog=market_file) as (_, server):
        streams = [DeltaStream(server, source) for source in ("crm", "shop")]
        for sequence, stream in enumerate(streams, 5):
            await stream.send(sequence, visit("c:1"))
            await stream.until(sequence)
        load = server.profiles.LoadProfiles(timeout=TIMEOUT_S)
        await load.write(load_request("load", 3, ["c:2"], visits=[1]))
        await load.read()

    for sequence, stream in enumerate(streams, 5):
        last = (await stream.end())[-1]
        assert (last.acknowledged_sequence, last.closing.acknowledged_sequence) == (sequence, sequence)
        assert last.closing.reason
        assert await stream.call.code() is grpc.StatusCode.OK
    assert (await load.read()).closing.acknowledged_sequence == 3
    assert await load.read() is aio.EOF
    assert await load.code() is grpc.StatusCode.OK


async def test_streams_that_are_sending_when_the_server_stops_lose_nothing(
    transport: str, tmp_path: Path, market_file: Path
) -> None:
    data = tmp_path / "data"
    async with running(transport, data=data, catalog=market_file) as (_, server):
        stream = DeltaStream(server, "crm")

        async def send() -> int:
            sent = 0
            try:
                while True:
                    await stream.send(sent + 1, visit("c:1"))
                    sent += 1
            except (aio.AioRpcError, asyncio.InvalidStateError):
                return sent

        async def read() -> None:
            try:
                await stream.end()
            except aio.AioRpcError:
                # A write under which the call ends may put an error of its own in the place of the server's OK.
                return

        sending = asyncio.create_task(send())
        await stream.until(50)
        reading = asyncio.create_task(read())

    await reading
    acknowledged = stream.responses[-1].acknowledged_sequence
    assert 50 <= acknowledged <= await sending + 1
    async with running(transport, data=data) as (_, server):
        resumed = (await DeltaStream(server, "crm").ask()).acknowledged_sequence
        assert resumed >= acknowledged
        assert await visits(server, "c:1") == resumed


@pytest.mark.parametrize("reads", [True, False], ids=["reader", "silent"])
async def test_process_ends_with_0_within_5_s_of_sigterm_with_open_streams(
    transport: str, tmp_path: Path, market_file: Path, reads: bool
) -> None:
    flags = ("--transport", transport, "--catalog", market_file)
    async with serving(*flags, data=tmp_path / "data") as server, connected(server.port) as connection:
        streams = [DeltaStream(connection, f"source-{number}") for number in range(3)]
        for stream in streams:
            await stream.send(4, visit("c:1"))
            if reads:
                await stream.until(4)
        await until_durable(connection, streams)
        server.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(server.process.wait(), 5)
        ends = [(await stream.end())[-1] for stream in streams]

    assert code == 0
    assert [end.closing.acknowledged_sequence for end in ends] == [4, 4, 4]


async def until_durable(connection: Connection, streams: list[DeltaStream]) -> None:
    """Waits until the first message of each stream is applied."""
    async with asyncio.timeout(TIMEOUT_S):
        for stream in streams:
            while (await connection.apply_deltas(source=stream.source)).acknowledged_sequence < 4:
                pass


async def test_publisher_goes_on_with_the_next_server_and_nothing_is_lost_or_twice(
    tmp_path: Path, market_file: Path
) -> None:
    flags = ("--catalog", market_file, "--snapshot-entries", "50")
    async with serving(*flags, data=tmp_path / "data") as first:
        publisher = Publisher(f"127.0.0.1:{first.port}", source="crm")
        async with publisher:
            for _ in range(100):
                await publisher.publish([visit("c:1")])
            first.process.kill()
            await first.process.wait()
            # More than the window has room for, so that some wait for the next server.
            publishing = asyncio.create_task(publish(publisher, 200))
            async with serving("--listen", f"127.0.0.1:{first.port}", *flags, data=tmp_path / "data") as second:
                await publishing
                await publisher.flush()
                async with connected(second.port) as server:
                    assert await visits(server, "c:1") == 300.0
    assert publisher.acknowledged_sequence == 300


async def publish(publisher: Publisher, count: int) -> None:
    for _ in range(count):
        await publisher.publish([visit("c:1")])


# A journal that cannot be written


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> GatedJournal:
    """The journal of every server that is started from now on."""
    journal = GatedJournal()

    async def open_with(settings: Settings, stack: AsyncExitStack, **options: Any) -> Stores:
        return replace(await open_stores(settings, stack, **options), journal=journal)

    monkeypatch.setattr("server.app.open_stores", open_with)
    return journal


async def serves(server: Connection, service: str) -> bool:
    """What the health service says."""
    stub: Any = health_pb2_grpc.HealthStub(server.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def test_failed_journal_ends_ingest_for_good_and_ranking_goes_on(
    transport: str, market_file: Path, journal: GatedJournal
) -> None:
    async with running(transport, catalog=market_file) as (_, server):
        stream = DeltaStream(server, "crm")
        await stream.send(1, visit("c:1", 3))
        await stream.until(1)
        before = await serves(server, SERVICE)
        journal.failures = [journal_failed()]

        await stream.send(2, visit("c:1"))
        with pytest.raises(aio.AioRpcError) as refused:
            await stream.response()
        async with asyncio.timeout(1):
            while await serves(server, SERVICE):
                pass

        stopped = refusal_of(refused.value)
        assert before
        assert (stopped.code, stopped.reason) == (grpc.StatusCode.UNAVAILABLE, "JOURNAL_FAILED")
        assert stopped.retry_delay_ms == 10_000
        assert (await refusal(server.apply_deltas(visit("c:1")))).reason == "JOURNAL_FAILED"
        assert (await refusal(server.apply_catalog(market(description="x")))).reason == "JOURNAL_FAILED"
        assert "frequent" in [offer.offer_id for offer in (await server.rank("c:1")).offers]
        assert await visits(server, "c:1") == 3.0
        assert await serves(server, "opportune.v1.DecisionService")
        assert await serves(server, "")
        assert (await DeltaStream(server, "crm").ask()).acknowledged_sequence == 1


async def test_full_journal_refuses_with_a_time_to_wait_and_resumes_by_itself(
    transport: str, market_file: Path, journal: GatedJournal
) -> None:
    async with running(transport, catalog=market_file) as (_, server):
        stream = DeltaStream(server, "crm")
        journal.failures = [journal_full()]

        await stream.send(1, visit("c:1", 3))
        with pytest.raises(aio.AioRpcError) as refused:
            await stream.response()
        ranked = await server.rank("c:1")
        again = DeltaStream(server, "crm")
        asked = await again.ask()
        await again.send(1, visit("c:1", 3))
        answer = await again.until(1)

        stopped = refusal_of(refused.value)
        assert (stopped.code, stopped.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "JOURNAL_FULL")
        assert stopped.retry_delay_ms == 1_000
        assert [offer.offer_id for offer in ranked.offers] == ["welcome"]
        assert (asked.acknowledged_sequence, answer.acknowledged_sequence) == (0, 1)
        assert await visits(server, "c:1") == 3.0
        assert await serves(server, SERVICE)


async def test_publisher_waits_for_room_in_the_journal_and_delivers_everything_once(
    transport: str, market_file: Path, journal: GatedJournal
) -> None:
    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    async with running(transport, catalog=market_file) as (_, server):
        async with Publisher(server.address, source="crm", sleep=at_once) as publisher:
            for number in range(60):
                if number % 20 == 10:
                    journal.failures = [journal_full()]
                await publisher.publish([visit("c:1")])
            await publisher.flush()

        assert await visits(server, "c:1") == 60.0


async def test_server_reads_no_further_than_may_be_outstanding(
    transport: str, market_file: Path, journal: GatedJournal
) -> None:
    async with running(transport, catalog=market_file, max_outstanding=4) as (_, server):
        stream = DeltaStream(server, "crm")
        assert (await stream.ask()).max_outstanding == 4
        journal.gate.clear()
        begun = journal.begun
        for sequence in range(1, 31):
            await stream.send(sequence, visit("c:1"))
        await until(lambda: journal.begun > begun)
        assert len(stream.responses) == 1

        journal.gate.set()
        await stream.until(30)

        assert max(len(group) for group in journal.groups) <= 4
        assert await visits(server, "c:1") == 30.0


async def test_nothing_is_acknowledged_before_it_is_durable(
    transport: str, market_file: Path, journal: GatedJournal
) -> None:
    async with running(transport, catalog=market_file) as (app, server):
        stream = DeltaStream(server, "crm")
        journal.gate.clear()
        begun = journal.begun
        await stream.send(1, visit("c:1"))
        await until(lambda: journal.begun > begun)

        asked = await DeltaStream(server, "crm").ask()
        unknown = await refusal(server.profile("c:1"))
        behind = await refusal(server.rank("c:1", min_profile_version=app.state.profile_version + 1))

        assert (asked.acknowledged_sequence, stream.responses) == (0, [])
        assert (unknown.reason, behind.reason) == ("PROFILE_NOT_FOUND", "PROFILE_BEHIND")
        journal.gate.set()
        await stream.until(1)


# `python -m server recover`


@pytest.fixture
async def filled(tmp_path: Path, market_file: Path) -> AsyncIterator[Path]:
    """A data folder with two snapshots, and entries of the journal before, between and behind them."""
    data = tmp_path / "data"
    for number in range(3):
        async with running("native", data=data, catalog=market_file) as (app, server):
            stream = DeltaStream(server, f"crm-{number}")
            for sequence in range(1, 40):
                await stream.send(sequence, visit(f"c:{sequence}"), purchase("c:0", amount=2))
            await stream.until(39)
            stream.call.cancel()
            if number < 2:
                await app._service.snapshotter.take()
    yield data


def report(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


async def test_recover_reports_what_a_server_would_start_from(filled: Path, tmp_path: Path) -> None:
    done = [await run("recover", "--data", filled, "--json", tmp_path / f"{number}.json") for number in range(2)]

    first, again = (report(tmp_path / f"{number}.json") for number in range(2))
    assert [each.code for each in done] == [0, 0], done[0].errors
    assert first["damaged_snapshots"] == []
    assert (first["journal"], first["snapshot"], first["entries_behind"]) == ("entries 1 to 118", 79, 39)
    assert (first["identifiers"], first["sources"]) == (40, 3)
    assert first["catalog"].startswith("version 1 of ")
    assert first["digest"] in done[0].output
    assert {**first, "seconds": 0} == {**again, "seconds": 0}


async def test_recover_names_a_damaged_snapshot_uses_the_one_before_and_exits_with_1(
    filled: Path, tmp_path: Path
) -> None:
    good = await run("recover", "--data", filled, "--json", tmp_path / "good.json")
    newest = SnapshotFolder(filled / "snapshots").path(79)
    flip(newest)

    done = await run("recover", "--data", filled, "--json", tmp_path / "bad.json")

    before, after = report(tmp_path / "good.json"), report(tmp_path / "bad.json")
    assert (good.code, done.code) == (0, 1)
    assert newest.name in done.output + done.errors
    assert len(after["damaged_snapshots"]) == 1
    assert newest.name in after["damaged_snapshots"][0]
    assert (after["snapshot"], after["entries_behind"]) == (40, 78)
    assert after["digest"] == before["digest"]


async def test_server_starts_from_the_snapshot_before_a_damaged_one(
    transport: str, filled: Path, market_file: Path
) -> None:
    flip(SnapshotFolder(filled / "snapshots").path(79))

    async with running(transport, data=filled, catalog=market_file) as (_, server):
        assert values(await server.profile("c:0"))["purchases"] == 117.0
        assert (await DeltaStream(server, "crm-1").ask()).acknowledged_sequence == 39


async def test_recover_and_serve_name_a_damaged_journal_and_exit_with_1(filled: Path, market_file: Path) -> None:
    # Within the bodies of the last entries: behind the newest snapshot, so that they are read.
    path = filled / "journal.db"
    content = bytearray(path.read_bytes())
    place = content.rindex(b"crm-2")
    content[place] ^= 1
    path.write_bytes(content)

    done = await run("recover", "--data", filled)
    started = await run("serve", "--data", filled, "--catalog", market_file, "--listen", "127.0.0.1:0")

    for each in (done, started):
        assert each.code == 1
        assert "journal.db" in each.errors
        assert "Traceback" not in each.errors


async def test_recover_of_no_folder_makes_none(tmp_path: Path) -> None:
    done = await run("recover", "--data", tmp_path / "nothing")

    assert (done.code, f"there is no folder {tmp_path / 'nothing'}" in done.errors) == (1, True)
    assert not (tmp_path / "nothing").exists()


async def test_recover_leaves_the_folder_as_it_was(filled: Path, market_file: Path) -> None:
    await run("recover", "--data", filled)

    async with running("native", data=filled, catalog=market_file) as (app, server):
        assert app.state.profile_version == 118
        assert values(await server.profile("c:0"))["purchases"] == 117.0


def flip(path: Path) -> None:
    """Flips one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1 << random.Random(path.name).randrange(8)
    path.write_bytes(content)
