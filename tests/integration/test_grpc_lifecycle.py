"""Starting and stopping servers, and several of them in one process."""

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opportune.v1 import decision_pb2

from server.app import App, start
from server.settings import Settings
from tests.integration.catalogs import stall, text_of
from tests.integration.connection import TIMEOUT_S, Connection, compiling, connected, delta, refusal

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def started(stack: AsyncExitStack, transport: Any, **settings: Any) -> App:
    return await start(Settings(**{"listen": "127.0.0.1:0", "transport": transport, **settings}), stack)


def accepts(port: int) -> bool:
    """Whether something listens on a port."""
    with socket.socket() as probe:
        probe.settimeout(TIMEOUT_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_stopping_is_told_to_those_who_watch_and_closes_the_port(transport: str, shop_file: Path) -> None:
    async with AsyncExitStack() as client:
        server = AsyncExitStack()
        app = await started(server, transport)
        connection = await client.enter_async_context(connected(app.port))
        stub: Any = health_pb2_grpc.HealthStub(connection.channel)
        watches = [
            stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
            for service in ("", "opportune.v1.DecisionService")
        ]
        for watch in watches:
            await watch.read()

        stopping = asyncio.ensure_future(server.aclose())
        seen = [(await watch.read()).status for watch in watches]
        for watch in watches:
            watch.cancel()
        await asyncio.wait_for(stopping, TIMEOUT_S)

        assert seen == [NOT_SERVING, NOT_SERVING]
        assert not accepts(app.port)


async def test_call_in_flight_is_answered_whole_before_the_server_ends(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.app.GRACE_S", TIMEOUT_S)
    # Each offer has three problems: an answer that is far too long to leave in one piece.
    bad = {**stall(), "offers": [{}] * 4_000}
    async with AsyncExitStack() as client:
        server = AsyncExitStack()
        app = await started(server, transport)
        connection = await client.enter_async_context(connected(app.port))
        checking = await compiling(connection, text_of(bad), validate_only=True)

        await asyncio.wait_for(server.aclose(), 2 * TIMEOUT_S)

        assert len((await checking).problems) == 12_000


async def test_apply_that_outlasts_the_grace_ends_with_an_error_and_publishes_nothing(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.app.GRACE_S", 0.01)
    async with AsyncExitStack() as client:
        server = AsyncExitStack()
        app = await started(server, transport)
        connection = await client.enter_async_context(connected(app.port))
        applying = await compiling(connection)

        await asyncio.wait_for(server.aclose(), TIMEOUT_S)

        with pytest.raises((aio.AioRpcError, asyncio.CancelledError)):
            await applying
        assert app.state.catalog_version == 0
        assert not accepts(app.port)


async def test_calls_after_the_stop_are_unavailable(transport: str, shop_file: Path, models: Path) -> None:
    async with AsyncExitStack() as client:
        server = AsyncExitStack()
        app = await started(server, transport, catalog=shop_file, models=models)
        connection = await client.enter_async_context(connected(app.port))
        await connection.rank("stop:3")

        await asyncio.wait_for(server.aclose(), TIMEOUT_S)

        refused = await refusal(connection.rank("stop:3"))
        assert refused.code.name == "UNAVAILABLE"


async def test_port_that_is_taken_is_named_and_its_holder_goes_on(
    transport: str, shop_file: Path, models: Path
) -> None:
    async with AsyncExitStack() as stack:
        holder = await started(stack, transport, catalog=shop_file, models=models)

        for other in ("native", "grpcio"):
            with pytest.raises((OSError, RuntimeError), match=str(holder.port)):
                await started(stack, other, listen=f"127.0.0.1:{holder.port}")

        connection = await stack.enter_async_context(connected(holder.port))
        assert (await connection.rank("holder:1")).offers


async def test_start_that_fails_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with AsyncExitStack() as stack:
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()

            with pytest.raises(RuntimeError, match="cannot listen"):
                await started(stack, "native", listen=f"127.0.0.1:{holder.getsockname()[1]}")

    assert not list(tmp_path.glob("opportune-*"))


async def test_stopped_server_leaves_no_folder_behind(
    transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with AsyncExitStack() as stack:
        await started(stack, transport)

    assert not list(tmp_path.glob("opportune-*"))


async def test_port_can_be_taken_again_after_the_stop(transport: str) -> None:
    async with AsyncExitStack() as first:
        port = (await started(first, transport)).port

    async with AsyncExitStack() as second:
        again = await started(second, transport, listen=f"127.0.0.1:{port}")

    assert again.port == port


@pytest.fixture
def stall_file(tmp_path: Path) -> Path:
    path = tmp_path / "stall.json"
    path.write_text(text_of(stall()), encoding="utf-8")
    return path


@pytest.mark.parametrize("transports", [("native", "grpcio"), ("native", "native"), ("grpcio", "grpcio")])
async def test_two_servers_in_one_process_share_nothing(
    transports: tuple[str, str], shop_file: Path, models: Path, stall_file: Path
) -> None:
    async with AsyncExitStack() as stack:
        one = await _connection(stack, transports[0], catalog=shop_file, models=models)
        two = await _connection(stack, transports[1], catalog=stall_file)

        await one.apply_deltas(delta("shared:1", visits=10, tier="gold"), source="both", sequence=8)
        first = await one.rank("shared:1", request_id="both")
        second = await two.rank("shared:1", request_id="both")

        assert [offer.offer_id for offer in first.offers] == ["gold-only", "welcome"]
        assert [offer.offer_id for offer in second.offers] == ["only-offer"]
        # The catalog's entry counts as well.
        assert (first.profile_version, second.profile_version) == (2, 1)
        assert (await two.apply_deltas(source="both")).acknowledged_sequence == 0
        assert (await refusal(two.profile("shared:1"))).reason == "PROFILE_NOT_FOUND"
        assert first.rung == second.rung == decision_pb2.RUNG_FULL


async def _connection(stack: AsyncExitStack, transport: str, **settings: Any) -> Connection:
    app = await started(stack, transport, **settings)
    return await stack.enter_async_context(connected(app.port))
