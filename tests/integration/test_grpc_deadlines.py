"""Deadlines and cancellation over both transports."""

import asyncio

import grpc
import pytest
from grpc import aio
from opportune.v1.catalog_service_pb2 import ApplyCatalogRequest
from opportune.v1.decision_service_pb2 import RankOffersRequest

from tests.integration.catalogs import shop, stall, text_of
from tests.integration.connection import Connection, compiling, refusal

REQUEST = RankOffersRequest(customer_id="deadline:1", placement_id="home")
APPLY = ApplyCatalogRequest(catalog=text_of(stall()))


async def test_deadline_that_has_passed_ends_the_call_and_not_the_server(server: Connection) -> None:
    refused = await refusal(server.decisions.RankOffers(REQUEST, timeout=-1.0))

    assert refused.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await server.rank("deadline:after")).offers


async def test_many_very_short_deadlines_at_once_end_in_an_answer_a_refusal_or_deadline_exceeded(
    server: Connection,
) -> None:
    timeouts_s = [0.0001 * step for step in range(1, 40)]

    calls = (server.decisions.RankOffers(REQUEST, timeout=timeout_s) for timeout_s in timeouts_s)
    answers = await asyncio.gather(*calls, return_exceptions=True)

    codes = {answer.code() for answer in answers if isinstance(answer, aio.AioRpcError)}
    others = [answer for answer in answers if isinstance(answer, BaseException)]
    assert codes <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all(isinstance(answer, aio.AioRpcError) for answer in others)
    assert (await server.rank("deadline:after")).offers


async def test_call_without_a_deadline_is_answered(server: Connection) -> None:
    answer = await server.decisions.RankOffers(REQUEST)

    assert answer.decision.offers


async def test_apply_whose_deadline_passes_while_it_compiles_publishes_nothing(fresh_server: Connection) -> None:
    # The first catalog waits for a process to start, which takes longer than this.
    refused = await refusal(fresh_server.catalogs.ApplyCatalog(APPLY, timeout=0.1))
    after = await fresh_server.apply_catalog(shop())

    assert refused.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert after.catalog_version == 1


async def test_cancelled_apply_publishes_nothing(fresh_server: Connection) -> None:
    call = await compiling(fresh_server)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    after = await fresh_server.apply_catalog(shop())

    assert after.catalog_version == 1


async def test_cancelled_calls_leave_the_server_serving(server: Connection) -> None:
    calls = [server.decisions.RankOffers(REQUEST, timeout=30) for _ in range(50)]
    for call in calls:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert (await server.rank("deadline:cancelled")).offers
