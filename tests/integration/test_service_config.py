"""Clients with the published service config: what their channels try again, where, and how often."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import aio
from opportune.client import CHANNEL_OPTIONS
from opportune.v1 import (
    decision_service_pb2,
    decision_service_pb2_grpc,
    profile_service_pb2,
    profile_service_pb2_grpc,
)

from tests.integration.connection import TIMEOUT_S, Connection, refusal
from tests.support.failing_service import FailingService, failing

RANK = decision_service_pb2.RankOffersRequest(customer_id="retries:1", placement_id="home")
RANK_PATH = "/opportune.v1.DecisionService/RankOffers"


@asynccontextmanager
async def calling(*ports: int) -> AsyncIterator[tuple[Any, Any]]:
    """Stubs for decisions and profiles on one channel to servers, which it calls in turn."""
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    # A list of addresses is no name of a host, and the native transport takes no call without one.
    options = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", "opportune")]
    async with aio.insecure_channel(target, options=options) as channel:
        decisions = decision_service_pb2_grpc.DecisionServiceStub(channel)  # type: ignore[no-untyped-call]
        yield decisions, profile_service_pb2_grpc.ProfileServiceStub(channel)  # type: ignore[no-untyped-call]


async def test_ranking_that_one_server_cannot_answer_is_answered_by_the_other(server: Connection) -> None:
    stand_in = FailingService(failures=0)
    async with failing(stand_in) as port, calling(port, int(server.address.rpartition(":")[2])) as (decisions, _):
        # Until both are connected, both attempts may go to the same one.
        async with asyncio.timeout(TIMEOUT_S):
            while not (await decisions.RankOffers(RANK)).decision.decision_id or not stand_in.calls:
                await asyncio.sleep(0)
        stand_in.failures = float("inf")
        answers = [await decisions.RankOffers(RANK) for _ in range(40)]

    assert all(answer.decision.decision_id for answer in answers)
    assert stand_in.calls[RANK_PATH] >= 10


async def test_ranking_is_tried_twice_and_no_more() -> None:
    stand_in = FailingService()
    async with failing(stand_in) as port, calling(port) as (decisions, _):
        refused = await refusal(decisions.RankOffers(RANK))

    assert refused.code is grpc.StatusCode.UNAVAILABLE
    assert stand_in.attempts == ["0", "1"]


async def test_reading_is_tried_three_times() -> None:
    stand_in = FailingService(failures=2)
    async with failing(stand_in) as port, calling(port) as (_, profiles):
        await profiles.GetProfile(profile_service_pb2.GetProfileRequest(customer_id="retries:2"))

    assert stand_in.attempts == ["0", "1", "2"]


@pytest.mark.parametrize(
    "code", ["INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "INTERNAL", "ABORTED", "DEADLINE_EXCEEDED"]
)
async def test_other_errors_are_not_retried(code: str) -> None:
    stand_in = FailingService(grpc.StatusCode[code])
    async with failing(stand_in) as port, calling(port) as (decisions, _):
        refused = await refusal(decisions.RankOffers(RANK))

    assert refused.code.name == code
    assert stand_in.attempts == ["0"]


async def test_exhausted_server_is_left_alone_by_the_channel_even_if_it_names_a_delay() -> None:
    stand_in = FailingService(grpc.StatusCode.RESOURCE_EXHAUSTED, trailing=(("grpc-retry-pushback-ms", "1"),))
    async with failing(stand_in) as port, calling(port) as (decisions, _):
        await refusal(decisions.RankOffers(RANK))

    assert stand_in.attempts == ["0"]


async def test_server_that_asks_not_to_be_retried_is_not() -> None:
    stand_in = FailingService(trailing=(("grpc-retry-pushback-ms", "-1"),))
    async with failing(stand_in) as port, calling(port) as (decisions, _):
        await refusal(decisions.RankOffers(RANK))

    assert stand_in.attempts == ["0"]


async def test_deltas_without_sequence_and_erasures_are_sent_once() -> None:
    stand_in = FailingService()
    async with failing(stand_in) as port, calling(port) as (_, profiles):
        await refusal(profiles.ApplyProfileDeltas(profile_service_pb2.ApplyProfileDeltasRequest(source="retries")))
        await refusal(profiles.EraseProfile(profile_service_pb2.EraseProfileRequest(customer_id="retries:3")))

    assert set(stand_in.calls.values()) == {1}


async def test_many_failures_stop_the_retries() -> None:
    stand_in = FailingService()
    async with failing(stand_in) as port, calling(port) as (decisions, _):
        for _ in range(150):
            await refusal(decisions.RankOffers(RANK))

    # Of 100 tokens each failure costs one, and below the half nothing is tried again.
    assert 150 < stand_in.calls[RANK_PATH] <= 150 + 51


async def test_ranking_gives_up_within_three_seconds_whatever_the_caller_allows() -> None:
    stand_in = FailingService(trailing=(("grpc-retry-pushback-ms", "8000"),))
    async with failing(stand_in) as port, calling(port) as (decisions, _):
        begin_s = time.monotonic()
        refused = await refusal(decisions.RankOffers(RANK, timeout=30))

    assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - begin_s < 6


async def test_server_that_is_not_serving_is_not_called(server: Connection) -> None:
    stand_in = FailingService(serving=False)
    async with failing(stand_in) as port, calling(port, int(server.address.rpartition(":")[2])) as (decisions, _):
        answers = [await decisions.RankOffers(RANK, wait_for_ready=True) for _ in range(10)]

    assert len(answers) == 10
    assert not stand_in.calls
