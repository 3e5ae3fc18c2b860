"""Kills a server with SIGKILL at random moments and compares what its next start finds with a model, again and again.

`python -m tests.recovery --kills 1000` does it for hours; `test_kills.py` for half a minute. A seed repeats what is
sent and which moments are chosen; which instruction the kill hits is chance.
"""

import asyncio
import json
import os
import random
import shutil
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from opportune.v1 import catalog_service_pb2, catalog_service_pb2_grpc, profile_service_pb2_grpc
from opportune.v1 import profile_service_pb2 as pb

from tests.recovery.processes import Begin, Begun, warm
from tests.recovery.torture_clients import (
    DeltaProducer,
    Gate,
    LoadProducer,
    Producer,
    PublisherProducer,
    Source,
    connected,
)
from tests.recovery.torture_model import IDENTIFIERS, SAMPLE, Messages, Model, catalog, differences, misplaced, seen

PATIENCE_S = 30.0
"""Far more than anything takes, so that a server that hangs fails the test."""


class TortureError(AssertionError):
    """A server has lost something, or applied it twice, or did not start."""


class Server:
    """A server process on a data folder."""

    def __init__(self, flags: list[str], begin: Begin) -> None:
        self._flags = flags
        self._begin = begin
        self._log: deque[str] = deque(maxlen=40)
        self._process: Begun | None = None
        self._reader: asyncio.Task[None] | None = None
        self._serving, self._ended = asyncio.Event(), asyncio.Event()

    @property
    def log(self) -> str:
        """The last lines that it wrote."""
        return "".join(self._log)

    async def start(self) -> None:
        """Starts it; it may not serve yet."""
        receiving, sending = os.pipe()
        self._serving.clear()
        self._ended.clear()
        try:
            self._process = self._begin(self._flags, sending)
        finally:
            os.close(sending)
        self._reader = asyncio.create_task(self._read(receiving))

    async def serving(self) -> None:
        """Waits until it serves.

        Raises:
            TortureError: it has ended instead.
        """
        tasks = [asyncio.create_task(event.wait()) for event in (self._serving, self._ended)]
        await asyncio.wait(tasks, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        if not self._serving.is_set():
            raise TortureError(f"the server did not start:\n{self.log}")

    async def kill(self) -> None:
        """Kills it, and waits until it is gone."""
        if self._process is not None and self._reader is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            # A process that compiles a catalog may still hold the other end.
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def stop(self) -> int:
        """Ends it in good order and returns its exit code."""
        assert self._process is not None
        self._process.terminate()
        return await asyncio.wait_for(asyncio.to_thread(self._process.wait), PATIENCE_S)

    async def _read(self, receiving: int) -> None:
        reader = asyncio.StreamReader()
        with os.fdopen(receiving, "rb") as pipe:
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
            try:
                while line := (await reader.readline()).decode(errors="replace"):
                    self._log.append(line)
                    if "serving on" in line:
                        self._serving.set()
                self._ended.set()
            finally:
                transport.close()


class World:
    """One data folder with its sources, from its first start to its last kill.

    Attributes:
        kills: How often the server was killed, by moment.
        model: Everything up to the watermarks of the last start.
    """

    def __init__(self, folder: Path, seed: int, begin: Begin) -> None:
        self.folder = folder
        self._begin = begin
        self.seed = seed
        self.kills: Counter[str] = Counter()
        self.model = Model()
        self.rng = random.Random(seed)
        self.transport = self.rng.choice(["native", "grpcio"])
        self.retention_hours = self.rng.choice([0, 0, 1])
        self._gate = Gate()
        self._catalog = folder / "catalog.json"
        self._snapshots = folder / "data" / "snapshots"
        began_us = time.time_ns() // 1_000
        names = ["crm", "shop", "twin", "publisher", "bulk"]
        self.sources = [
            Source(Messages(seed, name, number, began_us), loads=name == "bulk") for number, name in enumerate(names)
        ]

    async def run(self, kills: int, tell: Callable[[], None] = lambda: None) -> None:
        """Kills the server so many times, and ends it in good order at last.

        Raises:
            TortureError: with the seed, and everything that is wrong.
        """
        self.folder.mkdir()
        self._write_catalog()
        with free_port() as port:
            self._address = f"127.0.0.1:{port}"
        self._server = Server(self._flags(), self._begin)
        producers: list[asyncio.Task[None]] = []
        try:
            for _ in range(self.rng.choice([0, 0, 1, 2])):
                await self._die_while_starting("first start", 0.02, 0.3)
            await self._start()
            producers += [asyncio.create_task(producer.run()) for producer in self._producers()]
            for _ in range(kills):
                await self._live_and_die(producers)
                tell()
            await self._end(producers)
        except TortureError as error:
            raise TortureError(f"seed {self.seed}, {dict(self.kills)}, {self._flags()}:\n{error}") from error
        finally:
            for task in producers:
                task.cancel()
            await asyncio.gather(*producers, return_exceptions=True)
            await self._server.kill()

    def _flags(self) -> list[str]:
        entries = random.Random(self.seed).choice([10, 60, 300])
        flags = {
            "--data": self.folder / "data",
            "--catalog": self._catalog,
            "--listen": self._address,
            "--transport": self.transport,
            "--snapshot-entries": entries,
            "--retention-hours": self.retention_hours,
        }
        return [str(part) for flag in flags.items() for part in flag]

    def _write_catalog(self) -> None:
        self._catalog.write_text(json.dumps(catalog(self.rng.randrange(100))), encoding="utf-8")

    def _producers(self) -> Iterator[Producer]:
        crm, shop, twin, publisher, bulk = self.sources
        # Two streams of one source, as of a producer that was started twice.
        for source in (crm, shop, twin, twin):
            yield DeltaProducer(source, self._address, self._gate, self._another_rng())
        yield PublisherProducer(publisher, self._address, self._gate, self._another_rng())
        yield LoadProducer(bulk, self._address, self._gate, self._another_rng())

    def _another_rng(self) -> random.Random:
        return random.Random(self.rng.random())

    async def _start(self) -> None:
        """Starts the server, looks whether everything is as it should be, and lets the producers at it."""
        await self._server.start()
        await self._server.serving()
        await self._check()
        self._gate.open()

    async def _live_and_die(self, producers: list[asyncio.Task[None]]) -> None:
        moments: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "any": self._a_while,
            "snapshot": self._during_a_snapshot,
            "truncation": self._behind_a_snapshot,
            "load": self._during_a_load,
            "catalog": self._during_a_catalog,
        }
        name = self.rng.choices(list(moments), [4, 2, 2, 1, 1])[0]
        await moments[name]()
        await self._kill(name, producers)
        if self.rng.random() < 0.1:
            await self._die_while_starting("start", 0.05, 0.6)
        if self.rng.random() < 0.2:
            self._write_catalog()
        await self._start()

    async def _die_while_starting(self, moment: str, earliest_s: float, latest_s: float) -> None:
        """With an empty folder, or while it recovers."""
        await self._server.start()
        await asyncio.sleep(self.rng.uniform(earliest_s, latest_s) * (1 if self._begin is warm else 4))
        await self._kill(moment, [])

    async def _kill(self, moment: str, producers: list[asyncio.Task[None]]) -> None:
        self._gate.close()
        await self._server.kill()
        self.kills[moment] += 1
        for task in producers:
            if task.done():
                raise TortureError(f"a producer has ended: {task.exception()!r}")

    async def _end(self, producers: list[asyncio.Task[None]]) -> None:
        self._gate.close()
        code = await self._server.stop()
        if code:
            raise TortureError(f"the server ended with {code}:\n{self._server.log}")
        for task in producers:
            task.cancel()
        await asyncio.gather(*producers, return_exceptions=True)
        await self._start()
        if self.retention_hours:
            await self._check_rejections()

    # Moments

    async def _a_while(self) -> None:
        await asyncio.sleep(self.rng.uniform(0.02, 0.7))

    async def _during_a_snapshot(self) -> None:
        await self._until(lambda: any(self._snapshots.glob("*.partial")))
        await asyncio.sleep(self.rng.uniform(0, 0.006))

    async def _behind_a_snapshot(self) -> None:
        """Then the oldest snapshot is removed and the journal is truncated."""
        before = {path.name for path in self._snapshots.glob("*.snapshot")}
        await self._until(lambda: any(path.name not in before for path in self._snapshots.glob("*.snapshot")))
        await asyncio.sleep(self.rng.uniform(0, self.rng.choice([0.01, 0.1])))

    async def _during_a_load(self) -> None:
        bulk = self.sources[-1]
        before = bulk.sent
        await self._until(lambda: bulk.sent > before + 1)
        await asyncio.sleep(self.rng.uniform(0, 0.05))

    async def _during_a_catalog(self) -> None:
        async with connected(self._address) as channel:
            stub: Any = catalog_service_pb2_grpc.CatalogServiceStub(channel)  # type: ignore[no-untyped-call]
            text = json.dumps(catalog(self.rng.randrange(100)))
            call = stub.ApplyCatalog(catalog_service_pb2.ApplyCatalogRequest(catalog=text))
            if self.rng.random() < 0.3:
                await asyncio.sleep(self.rng.uniform(0, 0.8))
            else:
                await self._applied(call)
                await asyncio.sleep(self.rng.uniform(0, 0.01))
            call.cancel()

    async def _applied(self, call: Any) -> None:
        try:
            await call
        except aio.AioRpcError as error:
            raise TortureError(f"ApplyCatalog: {error.details()}\n{self._server.log}") from error

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Waits for a moment, but not for ever: there may be nothing to take a snapshot of."""
        end = time.monotonic() + 3.0
        while not condition() and time.monotonic() < end:
            await asyncio.sleep(0.0005)

    # Checks

    async def _check(self) -> None:
        """Compares the server with the model of exactly the messages up to its watermarks."""
        async with connected(self._address) as channel:
            stub: Any = profile_service_pb2_grpc.ProfileServiceStub(channel)  # type: ignore[no-untyped-call]
            watermarks = {source.name: await _watermark(stub, source.name) for source in self.sources}
            found = {identifier: await _customer(stub, identifier) for identifier in [*IDENTIFIERS, *SAMPLE]}
        acknowledged = {source.name: source.acknowledged for source in self.sources}
        sent = {source.name: source.sent for source in self.sources}
        problems = [problem for source in self.sources for problem in source.problems]
        problems += misplaced(watermarks, acknowledged, sent)
        if not problems:
            for source in self.sources:
                self.model.advance(source.messages, watermarks[source.name], loads=source.loads)
            problems += differences(self.model, found)
        if problems:
            raise TortureError("\n".join(problems))

    async def _check_rejections(self) -> None:
        """Compares the list of refused deltas, from which nothing has been let go yet."""
        expected = {
            key
            for source in self.sources
            if not source.loads
            for key in source.messages.bad(self.model.applied[source.name])
        }
        async with connected(self._address) as channel:
            listed = await _rejections(profile_service_pb2_grpc.ProfileServiceStub(channel))  # type: ignore[no-untyped-call]
        # A message that was killed between its rejections and itself has them recorded again, and no others.
        if listed != expected:
            raise TortureError(f"refused and not listed: {expected - listed}; the other way round: {listed - expected}")


async def torture(
    folder: Path,
    seed: int,
    kills: int,
    *,
    begin: Begin,
    side_by_side: int,
    kills_each: int,
    tell: Callable[[str], None] = lambda line: None,
) -> list[World]:
    """Kills servers so many times, on one data folder after another and a few at once.

    Folders are removed when all went well with them.

    Raises:
        TortureError: names the seed of the folder, which is left.
    """
    worlds: list[World] = []
    left = deque([kills_each] * (kills // kills_each) + [kills % kills_each] * (kills % kills_each > 0))
    started = time.monotonic()

    def progress() -> None:
        done = sum(sum(world.kills.values()) for world in worlds)
        deltas = sum(world.model.deltas for world in worlds)
        tell(f"{done:,} kills, {deltas:,} deltas compared, {time.monotonic() - started:.0f} s")

    async def one_after_another() -> None:
        while left:
            times = left.popleft()
            world = World(folder / str(len(worlds)), seed + len(worlds), begin)
            worlds.append(world)
            await world.run(times, progress)
            shutil.rmtree(world.folder)

    tasks = [asyncio.create_task(one_after_another()) for _ in range(side_by_side)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return worlds


@contextmanager
def free_port() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield int(probe.getsockname()[1])


async def _watermark(stub: Any, source: str) -> int:
    request = pb.ApplyProfileDeltasRequest(source=source)
    return int((await stub.ApplyProfileDeltas(request, timeout=PATIENCE_S)).acknowledged_sequence)


async def _rejections(stub: Any) -> set[tuple[str, int, int]]:
    listed: set[tuple[str, int, int]] = set()
    token = ""
    while True:
        request = pb.ListRejectedDeltasRequest(page_size=1_000, page_token=token)
        page = await stub.ListRejectedDeltas(request, timeout=PATIENCE_S)
        listed |= {(each.source, each.sequence, each.index) for each in page.rejections}
        token = page.next_page_token
        if not token:
            return listed


async def _customer(stub: Any, identifier: str) -> Any:
    try:
        return seen(await stub.GetProfile(pb.GetProfileRequest(customer_id=identifier), timeout=PATIENCE_S))
    except aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise TortureError(f"{identifier}: {error.code()}: {error.details()}") from error
        return None
