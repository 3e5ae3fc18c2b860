"""What callers notice of servers that fail: as little as the deployment promises."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc
import pytest
from grpc import aio
from opportune.v1 import profile_service_pb2

from tests.integration.connection import TIMEOUT_S, Connection, delta
from tests.integration.mesh.meshes import CUSTOMER_HEADER, Mesh, mesh
from tests.integration.mesh.servers import Server
from tests.integration.mesh.test_mesh_calls import rank, ranking
from tests.integration.mesh.test_mesh_web import RANK, ask, framed
from tests.support.failing_service import FailingService, failing

MAX_REQUESTS = 512
"""As the circuit breaker has it."""


@asynccontextmanager
async def beside(stand_in: FailingService, server: Server, folder: Path) -> AsyncIterator[Mesh]:
    """A mesh in front of a real server, and of one that fails as it is told."""
    async with failing(stand_in) as port, mesh(folder, [server.port, port]) as meshed:
        yield meshed


@contextmanager
def paused(*servers: Server) -> Iterator[None]:
    """Servers that hold their connections and do nothing."""
    for server in servers:
        os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for server in servers:
            os.kill(server.pid, signal.SIGCONT)


async def codes_of(
    connection: Connection, calls: int, prefix: str = "failing", codes: Counter[str] | None = None
) -> Counter[str]:
    """How so many calls end, one after the other, each for another customer; counted in `codes` as they do."""
    codes = Counter() if codes is None else codes
    for number in range(calls):
        try:
            await rank(connection, f"{prefix}:{number}")
            codes["OK"] += 1
        except aio.AioRpcError as error:
            codes[error.code().name] += 1
    return codes


async def test_calls_that_one_server_fails_are_answered_by_the_other_and_it_is_left_alone(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    stand_in = FailingService()
    async with beside(stand_in, servers[0], tmp_path) as meshed:
        codes = await codes_of(meshed.connection(), 40)
        # Its health is good, which must not let it in again at once.
        checks = await meshed.envoy.stat("cluster.opportune.health_check.success")
        await meshed.envoy.until_checked("opportune", checks + 4)
        codes += await codes_of(meshed.connection(), 20)
        ejections = await meshed.envoy.stat("cluster.opportune.outlier_detection.ejections_enforced_total")
        retries = await meshed.envoy.stat("cluster.opportune.upstream_rq_retry_success")

    assert codes == {"OK": 60}
    # Five failures in a row; the sixth call may have left before it was noticed.
    assert 5 <= stand_in.calls.total() <= 6
    assert (ejections, retries) == (1, stand_in.calls.total())


async def test_calls_that_fail_all_at_once_are_all_answered_by_the_other(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    async with beside(FailingService(), servers[0], tmp_path) as meshed:
        connection = meshed.connection()

        codes = await asyncio.gather(*(codes_of(connection, 1, f"burst-{number}") for number in range(40)))

    assert sum(codes, Counter()) == {"OK": 40}


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "INTERNAL"])
async def test_refusal_is_not_retried_and_ejects_nobody(
    code: str, servers: tuple[Server, Server], tmp_path: Path
) -> None:
    stand_in = FailingService(grpc.StatusCode[code])
    async with beside(stand_in, servers[0], tmp_path) as meshed:
        codes = await codes_of(meshed.connection(), 60)
        ejections = await meshed.envoy.stat("cluster.opportune.outlier_detection.ejections_enforced_total")

    assert codes[code] == stand_in.calls.total() >= 15
    assert codes["OK"] == 60 - codes[code]
    assert ejections == 0


async def test_deltas_without_sequence_are_not_sent_again(servers: tuple[Server, Server], tmp_path: Path) -> None:
    stand_in = FailingService()
    async with failing(stand_in) as port, mesh(tmp_path, [servers[0].port, port], "crm") as meshed:
        profiles, failed = meshed.connection().profiles, 0
        for number in range(30):
            request = profile_service_pb2.ApplyProfileDeltasRequest(
                source="once", deltas=[delta("once:1", visits=number)]
            )
            try:
                await profiles.ApplyProfileDeltas(
                    request, timeout=TIMEOUT_S, metadata=((CUSTOMER_HEADER, f"once:{number}"),)
                )
            except aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                failed += 1

    assert failed == stand_in.calls.total() >= 5


async def test_server_that_is_not_serving_is_not_called(servers: tuple[Server, Server], tmp_path: Path) -> None:
    stand_in = FailingService(serving=False)
    async with failing(stand_in) as port, mesh(tmp_path, [servers[0].port, port], healthy=1) as one_of_two:
        codes = await codes_of(one_of_two.connection(), 40)
        healthy = await one_of_two.envoy.healthy("opportune")

    assert codes == {"OK": 40}
    assert not stand_in.calls
    assert len(healthy) == 1


async def test_call_by_a_servers_name_does_not_go_to_another(servers: tuple[Server, Server], tmp_path: Path) -> None:
    stand_in = FailingService(serving=False)
    async with failing(stand_in) as port, mesh(tmp_path, [servers[0].port, port], healthy=1) as meshed:
        first = await codes_of(meshed.connection("opportune-0"), 5)
        second = await codes_of(meshed.connection("opportune-1"), 5)

    assert first == {"OK": 5}
    assert second == {"UNAVAILABLE": 5}
    assert not stand_in.calls


async def test_deadline_is_capped_by_the_route_and_kept_when_it_is_shorter(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    async with mesh(tmp_path, [server.port for server in servers]) as meshed:
        connection = meshed.connection()
        await rank(connection, "slow:1")
        before = (await meshed.envoy.logged()).count("\n")
        message = framed(ranking("slow:2").SerializeToString())
        with paused(*servers):
            # In this order: a few seconds later both count as unhealthy. A channel ends its call itself when time is
            # over; a browser only tells how much it has, and waits for an answer.
            told = await ask(
                meshed, "POST", RANK, message, content_type="application/grpc-web+proto", grpc_timeout="300m"
            )
            short = await _code(connection, 0.3)
            capped = await _code(connection, 30)
        await meshed.envoy.until_healthy("opportune", 2)
        lines = [json.loads(line) for line in (await meshed.envoy.logged()).splitlines()[before:]]

    # Said by the caller's sidecar or by the server's, as both keep the deadline; each has its own words for browsers.
    assert told.headers["grpc-message"] == "downstream duration timeout"
    assert (told.status, told.headers["grpc-status"]) in ((504, "14"), (200, "4"))
    assert short is capped is grpc.StatusCode.DEADLINE_EXCEEDED
    told_ms, short_ms, capped_ms = (line["duration_ms"] for line in lines)
    assert 250 < told_ms < 1_000
    assert short_ms < 1_000
    assert 2_900 < capped_ms < 4_500
    assert lines[2]["grpc_status"] == "DEADLINE_EXCEEDED"


async def test_calls_beyond_the_circuit_breaker_fail_at_once(servers: tuple[Server, Server], tmp_path: Path) -> None:
    async with mesh(tmp_path, [server.port for server in servers]) as meshed:
        connection = meshed.connection()
        await rank(connection, "breaker:1")
        with paused(*servers):
            ends = await asyncio.gather(*(_end(connection, number) for number in range(MAX_REQUESTS + 88)))
        await meshed.envoy.until_healthy("opportune", 2)
        after = await codes_of(connection, 10)

    assert Counter(ends) == {"DEADLINE_EXCEEDED": MAX_REQUESTS, "UNAVAILABLE": 88}
    assert after == {"OK": 10}


async def test_server_that_is_killed_costs_no_ranking(servers: tuple[Server, Server], tmp_path: Path) -> None:
    async with mesh(tmp_path, [server.port for server in servers]) as meshed:
        connection = meshed.connection()
        codes: Counter[str] = Counter()
        ranking_on = asyncio.ensure_future(codes_of(connection, 400, codes=codes))
        async with asyncio.timeout(TIMEOUT_S):
            while codes.total() < 100:
                await asyncio.sleep(0.001)
        assert servers[1].process is not None
        servers[1].process.kill()
        before = codes.total()
        await ranking_on
        retries = await meshed.envoy.stat("cluster.opportune.upstream_rq_retry_success")
        await servers[1].process.wait()
        await servers[1].start()
        await meshed.envoy.until_healthy("opportune", 2)

    # Killed among the calls: many were answered before it, many after it, and some met it and were sent again.
    assert before < 200
    assert retries > 0
    assert codes == {"OK": 400}


async def _code(connection: Connection, timeout_s: float) -> grpc.StatusCode:
    """How a ranking with a deadline ends that nobody answers."""
    with pytest.raises(aio.AioRpcError) as caught:
        await connection.decisions.RankOffers(ranking("slow:2"), timeout=timeout_s)
    code: grpc.StatusCode = caught.value.code()
    return code


async def _end(connection: Connection, number: int) -> str:
    try:
        await connection.decisions.RankOffers(ranking(f"breaker:{number}"), timeout=TIMEOUT_S)
    except aio.AioRpcError as error:
        return str(error.code().name)
    return "OK"
