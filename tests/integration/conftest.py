"""Servers for the integration tests: real ones, in this process, on a free port of the loopback interface.

All tests run on one event loop, so that one server can answer the tests of a whole module.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.app import start
from server.settings import Settings
from tests.integration.catalogs import market, shop, text_of
from tests.integration.connection import Connection, connected
from tests.integration.tiny_model import write_model

TRANSPORTS = ("native", "grpcio")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of this folder on the event loop of their servers."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="module", params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """Each transport in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models that the catalogs name."""
    root = tmp_path_factory.mktemp("models")
    write_model(root, "tiny", "1")
    write_model(root, "fragile", "1", takes_missing=False)
    return root


@pytest.fixture(scope="session")
def shop_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the catalog `shop`."""
    path = tmp_path_factory.mktemp("catalogs") / "shop.json"
    path.write_text(text_of(shop()), encoding="utf-8")
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(transport: str, models: Path, shop_file: Path) -> AsyncIterator[Connection]:
    """A connection to a server that has the catalog `shop`. Tests share it, so each takes customers of its own."""
    async with AsyncExitStack() as stack:
        settings = Settings(listen="127.0.0.1:0", transport=_known(transport), models=models, catalog=shop_file)
        app = await start(settings, stack)
        yield await stack.enter_async_context(connected(app.port))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bare_server(transport: str, models: Path) -> AsyncIterator[Connection]:
    """A connection to a server that was started without a catalog."""
    async with AsyncExitStack() as stack:
        app = await start(Settings(listen="127.0.0.1:0", transport=_known(transport), models=models), stack)
        yield await stack.enter_async_context(connected(app.port))


@pytest_asyncio.fixture(loop_scope="session")
async def fresh_server(transport: str, models: Path) -> AsyncIterator[Connection]:
    """The same, but for one test alone: its process for compiling has not been started."""
    async with AsyncExitStack() as stack:
        app = await start(Settings(listen="127.0.0.1:0", transport=_known(transport), models=models), stack)
        yield await stack.enter_async_context(connected(app.port))


@pytest_asyncio.fixture(loop_scope="session")
async def spare_server(transport: str, models: Path, shop_file: Path) -> AsyncIterator[Connection]:
    """A connection to a server with the catalog `shop` for one test alone, which may spoil it."""
    async with AsyncExitStack() as stack:
        settings = Settings(listen="127.0.0.1:0", transport=_known(transport), models=models, catalog=shop_file)
        app = await start(settings, stack)
        yield await stack.enter_async_context(connected(app.port))


@pytest.fixture(scope="session")
def market_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the catalog `market`."""
    path = tmp_path_factory.mktemp("catalogs") / "market.json"
    path.write_text(text_of(market()), encoding="utf-8")
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def market_server(transport: str, market_file: Path) -> AsyncIterator[Connection]:
    """A connection to a server that has the catalog `market`. Tests share it, so each takes sources of its own."""
    async with AsyncExitStack() as stack:
        settings = Settings(
            listen="127.0.0.1:0", transport=_known(transport), catalog=market_file, rejected_per_minute=20
        )
        app = await start(settings, stack)
        yield await stack.enter_async_context(connected(app.port))


def _known(transport: str) -> Any:
    """The same, for a setting that takes only these words."""
    assert transport in TRANSPORTS
    return transport
