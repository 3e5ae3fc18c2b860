"""Calls that are too much, over both transports: each is refused with its own code, and the next one is answered."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc import aio
from opportune.v1.decision_service_pb2 import RankOffersRequest

from server.wire.metadata_limit import MAX_ENTRIES
from tests.integration.connection import TIMEOUT_S, Connection, refusal_of

RANK = "/opportune.v1.DecisionService/RankOffers"
BATCH = "/opportune.v1.DecisionService/BatchRankOffers"
CATALOG = "/opportune.v1.CatalogService/ApplyCatalog"
LOAD = "/opportune.v1.ProfileService/LoadProfiles"
PAYLOAD = RankOffersRequest(customer_id="limits:1", placement_id="home").SerializeToString()
MIB = 1024 * 1024
SIZES = [("grpc.max_metadata_size", 64 * MIB), ("grpc.max_send_message_length", -1)]


@pytest_asyncio.fixture(loop_scope="session")
async def careless(server: Connection) -> AsyncIterator[aio.Channel]:
    """A channel that sends whatever it is given."""
    async with aio.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1), *SIZES]) as channel:
        yield channel


async def refused(channel: aio.Channel, path: str, payload: bytes, **more: Any) -> tuple[str, str]:
    """The code and the reason of a call that must be refused."""
    with pytest.raises(aio.AioRpcError) as caught:
        await channel.unary_unary(path)(payload, timeout=TIMEOUT_S, **more)
    return caught.value.code().name, refusal_of(caught.value).reason


async def answers(channel: aio.Channel) -> bool:
    """Whether a good call is answered."""
    return bool(await channel.unary_unary(RANK)(PAYLOAD, timeout=TIMEOUT_S))


async def test_many_entries_of_metadata_are_refused(careless: aio.Channel) -> None:
    few = tuple((f"k{number}", "v") for number in range(MAX_ENTRIES - 10))
    many = tuple((f"k{number}", "v") for number in range(MAX_ENTRIES + 1))

    assert await careless.unary_unary(RANK)(PAYLOAD, timeout=TIMEOUT_S, metadata=few)
    assert await refused(careless, RANK, PAYLOAD, metadata=many) == ("RESOURCE_EXHAUSTED", "METADATA_TOO_LARGE")
    assert await answers(careless)


@pytest.mark.parametrize(
    ("metadata", "native"),
    [
        # The native transport answers HTTP 431, or closes the connection when it is far too much.
        ([("k", "v" * 24_000)], "UNKNOWN"),
        ([(f"k{number}", "v") for number in range(10_000)], "UNAVAILABLE"),
    ],
)
async def test_metadata_beyond_what_the_transport_takes_is_refused_by_it(
    careless: aio.Channel, transport: str, metadata: list[tuple[str, str]], native: str
) -> None:
    code, reason = await refused(careless, RANK, PAYLOAD, metadata=metadata)

    assert (code, reason) == (native if transport == "native" else "RESOURCE_EXHAUSTED", "")
    assert await answers(careless)


@pytest.mark.parametrize(
    ("path", "payload"),
    [
        (BATCH, b"\x0a\x00" * (2 * MIB)),
        (BATCH, b"\x7a\x00" * 1_025),
        (CATALOG, b"\x0a\x00" * (30 * MIB)),
        ("/opportune.v1.OutcomeService/ReportOutcomes", b"\x0a\x00" * (MIB // 2)),
    ],
)
async def test_request_of_very_many_elements_is_refused_unread(
    careless: aio.Channel, path: str, payload: bytes
) -> None:
    assert await refused(careless, path, payload) == ("RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE")
    assert await answers(careless)


async def test_load_of_very_many_elements_is_refused_unread(careless: aio.Channel) -> None:
    call: Any = careless.stream_stream(LOAD)(timeout=TIMEOUT_S)

    await call.write(b"\x1a\x00" * (8 * MIB - 1))
    with pytest.raises(aio.AioRpcError) as caught:
        await call.read()

    assert refusal_of(caught.value).reason == "REQUEST_TOO_LARGE"


async def test_request_that_unpacks_to_more_than_is_taken_is_refused(careless: aio.Channel) -> None:
    payload = bytes(100 * MIB)
    assert len(zlib.compress(payload)) < MIB

    code, _ = await refused(careless, RANK, payload, compression=grpc.Compression.Gzip)

    # Which of them has a reason, and is counted: `test_grpc_refusals_are_counted.py`.
    assert code == "RESOURCE_EXHAUSTED"
    assert await answers(careless)


async def test_packed_request_of_a_good_size_is_answered(careless: aio.Channel) -> None:
    assert await careless.unary_unary(RANK)(PAYLOAD, timeout=TIMEOUT_S, compression=grpc.Compression.Gzip)


async def test_calls_that_never_send_their_request_keep_nobody_from_being_answered(
    server: Connection, careless: aio.Channel
) -> None:
    open_calls: list[Any] = []
    for _ in range(10):
        # Few at once, as a burst is refused for its own sake.
        begun = [careless.stream_unary(RANK)(timeout=TIMEOUT_S) for _ in range(20)]
        await asyncio.gather(*(call.wait_for_connection() for call in begun))
        open_calls += begun

        assert await answers(server.channel)
        assert await answers(careless)

    for call in open_calls:
        call.cancel()


@pytest.mark.parametrize("method", ["StreamProfileDeltas", "LoadProfiles", "ExportProfile"])
async def test_stream_that_never_sends_its_first_message_is_ended(
    spare_server: Connection, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.wire.endpoint.asyncio.wait", impatient)
    call: Any = spare_server.channel.stream_stream(f"/opportune.v1.ProfileService/{method}")(timeout=TIMEOUT_S)

    with pytest.raises(aio.AioRpcError) as caught:
        await call.read()

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert refusal_of(caught.value).reason == "STREAM_SILENT"
    assert await answers(spare_server.channel)


_WAIT = asyncio.wait


async def impatient(awaitables: Any, *, timeout: float | None = None, **more: Any) -> Any:
    """Waits for a twentieth of a second where half a minute was meant."""
    return await _WAIT(awaitables, timeout=0.05 if timeout == 30.0 else timeout, **more)
