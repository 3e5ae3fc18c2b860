"""The clients of `deploy/examples` do what they say, against a real server."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from opportune.client.__main__ import main as export

from tests.integration.connection import Connection

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"


async def run(*command: str | Path, cwd: Path, code: int = 0) -> tuple[list[str], str]:
    """The lines that a command prints, and its errors; it must end with this code."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == code, errors.decode()
    return output.decode().splitlines(), errors.decode()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of Node's examples with their dependencies, as the lock file has them."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{' and '.join(missing)} not installed")
    assert not missing, "CI installs node and npm"
    folder = tmp_path_factory.mktemp("examples") / "node"
    shutil.copytree(EXAMPLES / "node", folder, ignore=shutil.ignore_patterns("node_modules", "opportune"))
    assert export([str(folder / "opportune")]) == 0
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


async def test_python_ranks(market_server: Connection) -> None:
    command = (sys.executable, "rank.py", market_server.address, "python:1", "home")

    lines, _ = await run(*command, cwd=EXAMPLES / "python")

    assert lines == ["welcome\t0.0000\tHello"]


async def test_python_tells_of_a_refusal(market_server: Connection) -> None:
    command = (sys.executable, "rank.py", market_server.address, "python:1", "nowhere")

    _, errors = await run(*command, cwd=EXAMPLES / "python", code=1)

    assert "NOT_FOUND" in errors


async def test_python_publishes(market_server: Connection) -> None:
    command = (sys.executable, "deltas.py", market_server.address, "examples-python", "python:2")

    first, _ = await run(*command, cwd=EXAMPLES / "python")
    second, _ = await run(*command, cwd=EXAMPLES / "python")

    assert [line.split(" at ")[0] for line in (*first, *second)] == ["acknowledged 3", "acknowledged 6"]
    assert (await market_server.profile("python:2")).attributes["visits"].number_value == 6


async def test_node_ranks(market_server: Connection, node: Path) -> None:
    lines, _ = await run("node", "rank.mjs", market_server.address, "node:1", "home", cwd=node)

    assert lines == ["welcome\t0.0000\tHello"]


async def test_node_tells_of_a_refusal(market_server: Connection, node: Path) -> None:
    _, errors = await run("node", "rank.mjs", market_server.address, "node:1", "nowhere", cwd=node, code=1)

    assert errors.startswith("5: ")


async def test_node_publishes(market_server: Connection, node: Path) -> None:
    command = ("node", "deltas.mjs", market_server.address, "examples-node", "node:2")

    first, _ = await run(*command, cwd=node)
    second, _ = await run(*command, cwd=node)

    assert [line.split(" at ")[0] for line in (*first, *second)] == ["acknowledged 3", "acknowledged 6"]
    assert (await market_server.profile("node:2")).attributes["visits"].number_value == 6


def test_export_without_a_folder_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert export([]) == 2
    assert "python -m opportune.client FOLDER" in capsys.readouterr().err
