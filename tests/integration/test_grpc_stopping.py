"""SIGTERM to a real server that has plenty to do: nobody who was let in is let down."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opportune.v1.decision_service_pb2 import RankOffersRequest

from tests.integration.catalogs import stall, text_of
from tests.integration.commands import Serving, serving
from tests.integration.connection import TIMEOUT_S, Connection, connected
from tests.integration.delta_streams import DeltaStream, visit

STREAMS = 50
RATE_PER_S = 300
WITHIN_S = 5.0
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def stall_file(tmp_path: Path) -> Path:
    path = tmp_path / "stall.json"
    path.write_text(text_of(stall()), encoding="utf-8")
    return path


class Producer:
    """A source that streams visits of one customer until the server has it go elsewhere."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self.sent = 0
        self.closing = 0
        self._over = False
        self._stream = DeltaStream(connection, name)

    async def run(self) -> None:
        """Sends a message every few milliseconds; ends with the stream, which tells where it closes."""
        sending = asyncio.create_task(self._send())
        while not self._over:
            response = await self._stream.response()
            if response.HasField("closing"):
                self.closing = response.closing.acknowledged_sequence
                # Cancelling a write would cancel the call, so the task ends by itself.
                self._over = True
        await sending
        try:
            await self._stream.end()
        except aio.AioRpcError as error:
            # grpcio's client takes a write that meets the end of its stream for an end of its own making.
            assert error.details() == "Internal error from Core", error

    async def _send(self) -> None:
        while not self._over:
            self.sent += 1
            try:
                await self._stream.send(self.sent, visit(f"stopping:{self.name}"))
            except (aio.AioRpcError, asyncio.InvalidStateError):
                # The stream has ended meanwhile.
                return
            await asyncio.sleep(0.02)


class Caller:
    """Rankings at a rate, for as long as the server says that it serves."""

    def __init__(self, connection: Connection) -> None:
        self.codes: Counter[str] = Counter()
        self._connection = connection
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Calls until the health service says NOT_SERVING, and waits for every answer."""
        stub: Any = health_pb2_grpc.HealthStub(self._connection.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        noticed = asyncio.create_task(self._noticed(watch))
        while not noticed.done():
            call = asyncio.create_task(self._call())
            self._calls.add(call)
            await asyncio.sleep(1 / RATE_PER_S)
        watch.cancel()
        await asyncio.gather(*self._calls)

    async def _noticed(self, watch: Any) -> None:
        while (await watch.read()).status != NOT_SERVING:
            pass

    async def _call(self) -> None:
        request = RankOffersRequest(customer_id="stopping:caller", placement_id="home")
        try:
            await self._connection.decisions.RankOffers(request, timeout=TIMEOUT_S)
            self.codes["OK"] += 1
        except aio.AioRpcError as error:
            self.codes[error.code().name] += 1


@asynccontextmanager
async def busy(server: Serving) -> AsyncIterator[tuple[Caller, list[Producer]]]:
    """Rankings and streams that are well under way; with the block, they have all ended."""
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connected(server.port))
        other = await stack.enter_async_context(connected(server.port))
        caller, producers = Caller(connection), [Producer(other, f"source-{n}") for n in range(STREAMS)]
        tasks = [asyncio.create_task(caller.run()), *(asyncio.create_task(each.run()) for each in producers)]
        async with asyncio.timeout(TIMEOUT_S):
            while caller.codes["OK"] < RATE_PER_S // 3 or min(producer.sent for producer in producers) < 5:
                await asyncio.sleep(0.05)
            yield caller, producers
            await asyncio.gather(*tasks)


async def test_told_to_stop_under_load_fails_no_call_and_loses_no_delta(
    transport: str, stall_file: Path, tmp_path: Path
) -> None:
    settings = ("--catalog", stall_file, "--transport", transport, "--drain-seconds", "0.5")
    async with serving(*settings, data=tmp_path / "data") as server:
        async with busy(server) as (caller, producers):
            server.process.send_signal(signal.SIGTERM)
            told_s = monotonic()
        code = await asyncio.wait_for(server.process.wait(), TIMEOUT_S)
        took_s = monotonic() - told_s
    async with (
        serving("--transport", transport, data=tmp_path / "data") as again,
        connected(again.port) as connection,
    ):
        marks = [(await DeltaStream(connection, each.name).ask()).acknowledged_sequence for each in producers]
        visits = [(await connection.profile(f"stopping:{each.name}")).attributes["visits"] for each in producers]

    assert (code, set(caller.codes)) == (0, {"OK"})
    assert took_s < WITHIN_S
    assert marks == [producer.closing for producer in producers]
    assert [each.number_value for each in visits] == marks


async def test_second_signal_ends_the_server_on_the_spot(transport: str, stall_file: Path, tmp_path: Path) -> None:
    settings = ("--catalog", stall_file, "--transport", transport, "--drain-seconds", "30")
    async with serving(*settings, data=tmp_path / "data") as server, connected(server.port) as connection:
        stub: Any = health_pb2_grpc.HealthStub(connection.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        await watch.read()
        acknowledged = (
            await connection.apply_deltas(visit("stopping:1"), source="once", sequence=7)
        ).acknowledged_sequence

        server.process.send_signal(signal.SIGTERM)
        drained = (await watch.read()).status
        still_served = await connection.rank("stopping:1")
        server.process.send_signal(signal.SIGTERM)
        told_s = monotonic()
        code = await asyncio.wait_for(server.process.wait(), TIMEOUT_S)
        took_s = monotonic() - told_s
    async with serving(data=tmp_path / "data") as again, connected(again.port) as connection:
        mark = (await DeltaStream(connection, "once").ask()).acknowledged_sequence

    assert (drained, code) == (NOT_SERVING, 128 + signal.SIGTERM)
    assert still_served.offers
    assert took_s < 1.0
    assert mark == acknowledged == 7
