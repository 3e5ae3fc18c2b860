"""Two real servers behind real Envoys, for the tests of a module."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.mesh.meshes import Mesh, mesh
from tests.integration.mesh.servers import Server, two_servers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For everything of a module."""
    return tmp_path_factory.mktemp("mesh")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def servers(folder: Path, market_file: Path) -> AsyncIterator[tuple[Server, Server]]:
    """Two servers with the catalog `market`."""
    async with two_servers(folder, "--catalog", market_file) as both:
        yield both


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(folder: Path, servers: tuple[Server, Server]) -> AsyncIterator[Mesh]:
    """The mesh in front of them, called by the shop's web site."""
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(mesh(folder, [server.port for server in servers], "web"))
