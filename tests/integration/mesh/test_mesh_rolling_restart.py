"""Two servers are restarted, one after the other, under load: nobody who calls through the mesh notices.

Profiles are a server's own, so every producer publishes to both servers, each by its name: 25 producers make 50
streams. A stream of a server that restarts waits for it. Rankings go to whoever is healthy.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic

from grpc import aio
from opportune.client import CHANNEL_OPTIONS, Backoff, Publisher
from opportune.v1.profile_pb2 import AttributeUpdates, ProfileDelta

from tests.integration.connection import TIMEOUT_S, Connection, connected
from tests.integration.mesh.certificates import caller
from tests.integration.mesh.envoys import outbound
from tests.integration.mesh.meshes import CUSTOMER_HEADER, mesh
from tests.integration.mesh.servers import Server
from tests.integration.mesh.test_mesh_calls import ranking

RATE_RPS = 300
PRODUCERS = 25
MESSAGE_EVERY_S = 0.1
CUSTOMERS_EACH = 4
STEADY_S = 1.0


class Rankings:
    """Calls at a constant rate, whatever becomes of those before."""

    def __init__(self, connection: Connection) -> None:
        self.ends: Counter[str] = Counter()
        self._connection = connection

    async def run(self, stop: asyncio.Event) -> None:
        """Calls until it is told to stop, and waits for all answers."""
        begin_s, sent = monotonic(), 0
        async with asyncio.TaskGroup() as calls:
            while not stop.is_set():
                due = int((monotonic() - begin_s) * RATE_RPS)
                for number in range(sent, due):
                    calls.create_task(self._call(number))
                sent = max(sent, due)
                await asyncio.sleep(0.005)

    async def _call(self, number: int) -> None:
        customer = f"rolling:{number % 500}"
        try:
            await self._connection.decisions.RankOffers(
                ranking(customer), timeout=2.5, metadata=((CUSTOMER_HEADER, customer),)
            )
            self.ends["OK"] += 1
        except aio.AioRpcError as error:
            self.ends[f"{error.code().name}: {error.details()}"] += 1


class Producer:
    """Counts visits of its customers on one server, one at a time, so that a lost or repeated message shows."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.visits: Counter[str] = Counter()

    async def run(self, channel: aio.Channel, stop: asyncio.Event) -> None:
        """Publishes until it is told to stop, and until all of it is acknowledged."""
        async with Publisher(channel, source=self.name, backoff=Backoff(cap_s=1.0)) as publisher:
            while not stop.is_set():
                customer = f"{self.name}:{self.visits.total() % CUSTOMERS_EACH}"
                change = AttributeUpdates(increment={"visits": 1.0})
                await publisher.publish([ProfileDelta(customer_id=customer, attributes=change)])
                self.visits[customer] += 1
                await asyncio.sleep(MESSAGE_EVERY_S)


async def test_rolling_restart_fails_no_call_and_loses_and_repeats_no_delta(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    stop = asyncio.Event()
    producers = [[Producer(f"till-{number}") for number in range(PRODUCERS)] for _ in servers]
    async with AsyncExitStack() as stack:
        meshed = await stack.enter_async_context(mesh(tmp_path, [server.port for server in servers]))
        tls = meshed.authority.issue(tmp_path / "crm-tls", caller("crm"))
        ports = [sidecar.ports["inbound"] for sidecar in meshed.sidecars]
        crm = await stack.enter_async_context(outbound(tmp_path / "crm", tls, ports))
        await crm.until_healthy("opportune", 2)
        rankings = Rankings(meshed.connection())
        async with asyncio.TaskGroup() as load:
            load.create_task(rankings.run(stop))
            for number, group in enumerate(producers):
                channel = await stack.enter_async_context(_to_server(crm.ports["outbound"], number))
                for producer in group:
                    load.create_task(producer.run(channel, stop))
            for number, server in enumerate(servers):
                await asyncio.sleep(STEADY_S)
                assert await server.stop() == 0
                await asyncio.sleep(STEADY_S)
                assert len(await meshed.envoy.healthy("opportune")) == 1, number
                await server.start()
                await meshed.envoy.until_healthy("opportune", 2)
            await asyncio.sleep(STEADY_S)
            stop.set()

    assert set(rankings.ends) == {"OK"}, rankings.ends
    assert rankings.ends["OK"] > RATE_RPS * 4
    for server, group in zip(servers, producers, strict=True):
        assert await _missing_or_repeated(server, group) == []


@asynccontextmanager
async def _to_server(port: int, number: int) -> AsyncIterator[aio.Channel]:
    options = [*CHANNEL_OPTIONS, ("grpc.default_authority", f"opportune-{number}.opportune:50051")]
    async with aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield channel


async def _missing_or_repeated(server: Server, producers: list[Producer]) -> list[str]:
    """The customers of whom a server knows other counts than were published to it."""
    wrong = []
    async with connected(server.port) as direct, asyncio.timeout(TIMEOUT_S):
        for producer in producers:
            assert producer.visits.total() > 10
            for customer, visits in producer.visits.items():
                profile = await direct.profile(customer)
                known = profile.attributes["visits"].number_value
                if known != visits:
                    wrong.append(f"{customer}: {visits} published, {known} known")
    return wrong
