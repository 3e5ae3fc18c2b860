"""The lean generator against a stock server."""

from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from opportune.v1.decision_pb2 import Rung
from opportune.v1.decision_service_pb2 import RankOffersResponse

from loadtest.lean import LeanTransport
from loadtest.tally import OK
from loadtest.transport import CONNECTIONS, METHOD, SAMPLE_EVERY


async def answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    if request == b"full":
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")
    response = RankOffersResponse()
    response.decision.rung = Rung.RUNG_REDUCED
    response.decision.customer_id = request.decode()
    return response.SerializeToString()


@pytest.fixture
async def server() -> AsyncIterator[tuple[grpc.aio.Server, str]]:
    service, _, method = METHOD.strip("/").partition("/")
    server = grpc.aio.server()
    handlers = {method: grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield server, f"127.0.0.1:{port}"
    await server.stop(0)


async def test_answers_and_refusals_have_the_names_of_their_status(server: tuple[grpc.aio.Server, str]) -> None:
    transport = LeanTransport(server[1])

    statuses = [await transport.send(payload) for payload in (b"one", b"full", b"two" * 10_000, b"one")]

    assert statuses == [OK, "RESOURCE_EXHAUSTED", OK, OK]
    await transport.close()


async def test_some_answers_are_kept_to_be_read(server: tuple[grpc.aio.Server, str]) -> None:
    transport = LeanTransport(server[1])

    for _ in range(SAMPLE_EVERY):
        await transport.send(b"one")

    assert transport.rungs() == {"RUNG_REDUCED": 1}
    assert not transport.rungs()
    await transport.close()


async def test_calls_of_a_server_that_leaves_have_failed(server: tuple[grpc.aio.Server, str]) -> None:
    transport = LeanTransport(server[1])
    await transport.send(b"one")
    await server[0].stop(0)

    statuses = [await transport.send(b"two") for _ in range(2 * CONNECTIONS)]

    assert statuses == ["UNAVAILABLE"] * len(statuses)
    await transport.close()
