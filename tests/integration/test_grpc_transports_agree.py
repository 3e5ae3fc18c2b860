"""Both transports give the same answers to the same requests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import grpc
import pytest
import pytest_asyncio
from grpc import aio
from opportune.v1 import decision_pb2
from opportune.v1.decision_service_pb2 import Context, RankOffersRequest, RankOffersResponse

from server.app import start
from server.settings import Settings
from tests.integration.connection import Connection, connected, consent, context, delta, value

TRANSPORTS: tuple[Literal["native", "grpcio"], ...] = ("native", "grpcio")
PATH = "/opportune.v1.DecisionService/RankOffers"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pair(models: Path, shop_file: Path) -> AsyncIterator[list[Connection]]:
    """A connection to each transport's server; both have the same catalog and the same profiles."""
    async with AsyncExitStack() as stack:
        connections = []
        for transport in TRANSPORTS:
            settings = Settings(listen="127.0.0.1:0", transport=transport, models=models, catalog=shop_file)
            app = await start(settings, stack)
            connections.append(await stack.enter_async_context(connected(app.port)))
            await connections[-1].apply_deltas(
                delta("same:1", visits=7, tier="gold", spend=300, interests=["topic-1"], subscribed=True),
                consent("same:1", True),
                delta("same:2", visits=-3.25),
            )
        yield connections


def at(**attributes: object) -> Context:
    moment = context(**attributes)
    moment.time.FromDatetime(datetime(2024, 1, 1, tzinfo=UTC))
    return moment


FULL = decision_pb2.DECISION_VIEW_FULL
REQUESTS = {
    "new customer": RankOffersRequest(customer_id="same:0", placement_id="home", context=at()),
    "known customer": RankOffersRequest(customer_id="same:1", placement_id="home", context=at(hour=9), view=FULL),
    "content": RankOffersRequest(customer_id="same:2", placement_id="home", context=at(), include_content=True),
    "no model": RankOffersRequest(customer_id="same:2", placement_id="newsletter", context=at(), view=FULL),
    "fallback": RankOffersRequest(customer_id="same:2", placement_id="fragile", context=at(), view=FULL),
    "nothing": RankOffersRequest(customer_id="same:2", placement_id="kiosk", context=at(), view=FULL),
    "disabled": RankOffersRequest(customer_id="same:2", placement_id="off", context=at(), view=FULL),
    "filter": RankOffersRequest(
        customer_id="same:1", placement_id="home", context=at(), view=FULL, filter="offer.level > 0.3"
    ),
}


@pytest.mark.parametrize("case", REQUESTS)
async def test_decisions_are_the_same_but_for_ids_and_durations(pair: list[Connection], case: str) -> None:
    payload = REQUESTS[case].SerializeToString()

    native, stock = [_without_ids(await connection.send(PATH, payload)) for connection in pair]

    assert native == stock
    assert native.SerializeToString(deterministic=True) == stock.SerializeToString(deterministic=True)


ERRORS = {
    "unknown placement": RankOffersRequest(customer_id="same:1", placement_id="nowhere"),
    "bad customer": RankOffersRequest(customer_id="a b", placement_id="home"),
    "unknown attribute": RankOffersRequest(customer_id="same:1", placement_id="home", context=at(weather="wet")),
    "bad filter": RankOffersRequest(customer_id="same:1", placement_id="home", filter="offer.level > \n% Ω"),
    "wrong type": RankOffersRequest(customer_id="same:1", placement_id="home", context=at(hour=value("noon"))),
}


@pytest.mark.parametrize("case", ERRORS)
async def test_errors_are_the_same_to_the_byte(pair: list[Connection], case: str) -> None:
    payload = ERRORS[case].SerializeToString()

    native, stock = [await _error(connection, payload) for connection in pair]

    assert native == stock
    assert native[2]


async def test_profiles_and_pages_are_the_same(pair: list[Connection]) -> None:
    native, stock = [(await connection.profile("same:1"), await connection.list_offers()) for connection in pair]

    native[0].ClearField("update_time")
    stock[0].ClearField("update_time")
    assert native == stock


def _without_ids(payload: bytes) -> RankOffersResponse:
    response = RankOffersResponse.FromString(payload)
    assert response.decision.decision_id
    response.decision.ClearField("decision_id")
    # What was decided before is in the journal by now, or will be in a moment.
    response.decision.ClearField("profile_version")
    for offer in response.decision.offers:
        assert offer.attribution_token
        offer.ClearField("attribution_token")
    for timing in response.decision.timings:
        timing.ClearField("duration")
    return response


async def _error(connection: Connection, payload: bytes) -> tuple[grpc.StatusCode, str | None, object]:
    with pytest.raises(aio.AioRpcError) as caught:
        await connection.send(PATH, payload)
    trailing = {str(key): content for key, content in caught.value.trailing_metadata() or ()}
    return caught.value.code(), caught.value.details(), trailing.get("grpc-status-details-bin")
