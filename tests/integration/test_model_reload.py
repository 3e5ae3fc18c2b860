"""Models that come while the server serves: taken with the catalog that names them, let go when none does."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest_asyncio
from grpc import aio
from opportune.v1.decision_service_pb2 import RankOffersRequest

from server.app import App, start
from server.settings import Settings
from server.shelf import CATALOGS
from server.telemetry.heartbeat import EVERY_S
from tests.integration.catalogs import shop, text_of
from tests.integration.connection import TIMEOUT_S, Connection, connected, refusal
from tests.integration.tiny_model import write_model

RATE_PER_S = 100
MAX_LAG_NS = 250_000_000
"""Far more than any step of taking a model in holds the loop up for, as tests share their machine."""


class Serving(NamedTuple):
    """A server, a connection to it, and its folder of models."""

    app: App
    connection: Connection
    models: Path


def naming(model: str) -> str:
    """The catalog `shop`, whose home placement uses another model."""
    document = shop()
    for placement in document["placements"]:
        placement.pop("model", None)
    document["placements"][0]["model"] = model
    return text_of(document)


@pytest_asyncio.fixture(loop_scope="session")
async def serving(transport: Any, tmp_path: Path) -> AsyncIterator[Serving]:
    write_model(tmp_path, "tiny", "1")
    write_model(tmp_path, "spare", "1")
    catalog = tmp_path / "catalog.json"
    catalog.write_text(naming("tiny/1"), encoding="utf-8")
    async with AsyncExitStack() as stack:
        settings = Settings(listen="127.0.0.1:0", transport=transport, models=tmp_path, catalog=catalog)
        app = await start(settings, stack)
        yield Serving(app, await stack.enter_async_context(connected(app.port)), tmp_path)


async def test_catalog_brings_a_model_that_was_not_there_at_the_start(serving: Serving) -> None:
    before = await serving.connection.rank("reload:1")
    write_model(serving.models, "tiny", "2")

    await serving.connection.apply_catalog(naming("tiny/2"))
    after = await serving.connection.rank("reload:1")

    assert (before.model_version, after.model_version) == ("tiny/1", "tiny/2")
    assert [offer.propensity for offer in before.offers] == [offer.propensity for offer in after.offers]


async def test_catalog_with_a_model_that_is_refused_is_refused_whole_and_names_it(serving: Serving) -> None:
    folder = write_model(serving.models, "torn", "1")
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-8])

    refused = await refusal(serving.connection.apply_catalog(naming("torn/1")))
    after = await serving.connection.rank("reload:2")

    assert refused.reason == "INVALID_CATALOG"
    assert "torn/1" in "".join(refused.violations.values())
    assert (after.model_version, after.catalog_version) == ("tiny/1", 1)
    assert "torn/1" not in serving.app.state.models


async def test_model_that_is_nowhere_is_named(serving: Serving) -> None:
    refused = await refusal(serving.connection.apply_catalog(naming("../tiny/1")))

    assert refused.reason == "INVALID_CATALOG"
    assert list(refused.violations) == ["placements[0].model"]
    assert "no model ../tiny/1 is loaded" in refused.violations["placements[0].model"]


async def test_models_of_the_last_catalogs_are_kept_and_older_ones_let_go(serving: Serving) -> None:
    write_model(serving.models, "tiny", "2")

    kept = []
    for _ in range(CATALOGS):
        await serving.connection.apply_catalog(naming("tiny/2"))
        kept.append("tiny/1" in serving.app.state.models)
    back = await serving.connection.apply_catalog(naming("tiny/1"))

    assert kept == [True] * (CATALOGS - 1) + [False]
    assert back.catalog_version == CATALOGS + 2
    # Nobody has ever named it, so the operator must have meant it.
    assert "spare/1" in serving.app.state.models


async def test_model_that_was_only_tried_is_let_go(serving: Serving) -> None:
    write_model(serving.models, "tiny", "3")

    await serving.connection.apply_catalog(naming("tiny/3"), validate_only=True)
    await serving.connection.apply_catalog(naming("tiny/1"), validate_only=True)

    assert "tiny/3" not in serving.app.state.models


async def test_nobody_notices_another_model(serving: Serving) -> None:
    write_model(serving.models, "tiny", "2")
    seen: Counter[str] = Counter()
    lags_ns: list[int] = []
    # What was written above, and whatever was between the server's start and this test, is not a lag of the server's.
    await asyncio.sleep(3 * EVERY_S)
    serving.app.heartbeat.watchers.append(lags_ns.append)

    async def rank() -> None:
        request = RankOffersRequest(customer_id="reload:3", placement_id="home")
        try:
            answer = await serving.connection.decisions.RankOffers(request, timeout=TIMEOUT_S)
            seen[answer.decision.model_version] += 1
        except aio.AioRpcError as error:
            seen[error.code().name] += 1

    calls: list[asyncio.Task[None]] = []
    applying = asyncio.create_task(serving.connection.apply_catalog(naming("tiny/2")))
    while not applying.done() or len(calls) < RATE_PER_S:
        calls.append(asyncio.create_task(rank()))
        await asyncio.sleep(1 / RATE_PER_S)
    await asyncio.gather(*calls, rank())

    assert set(seen) == {"tiny/1", "tiny/2"}
    # Callers and server share this loop, so that its lag has the work of both in it.
    assert max(lags_ns) < MAX_LAG_NS
