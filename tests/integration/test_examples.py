"""The clients of `deploy/examples` do what they say, against a real server."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from opportune.client.__main__ import main as export

from model_artifacts.complete_journey.schema import NUMBERS
from server.app import start
from server.settings import Settings
from tests.integration.catalogs import market, text_of
from tests.integration.connection import Connection, connected

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
THEN = "2017-08-08T12:00:00Z"
"""When the demo's coupons ran."""


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


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def past_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Connection]:
    """A server whose only offer ended years ago, as those of the demo."""
    offer = {**market()["offers"][0], "schedule": {"start": "2017-08-01", "end": "2017-09-01"}}
    file = tmp_path_factory.mktemp("catalogs") / "past.json"
    file.write_text(text_of(market(offers=[offer])), encoding="utf-8")
    async with AsyncExitStack() as stack:
        app = await start(Settings(listen="127.0.0.1:0", catalog=file), stack)
        yield await stack.enter_async_context(connected(app.port))


async def test_python_ranks(market_server: Connection) -> None:
    command = (sys.executable, "rank.py", market_server.address, "python:1", "home")

    lines, _ = await run(*command, cwd=EXAMPLES / "python")

    assert lines == ["welcome\t0.0000\tHello"]


async def test_python_ranks_at_a_time(past_server: Connection) -> None:
    command = (sys.executable, "rank.py", past_server.address, "python:1", "home")

    now, _ = await run(*command, cwd=EXAMPLES / "python")
    then, _ = await run(*command, THEN, cwd=EXAMPLES / "python")

    assert now == ["RESULT_NO_ELIGIBLE_OFFER"]
    assert then == ["welcome\t0.0000\tHello"]


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


async def test_python_tells_of_refused_deltas(market_server: Connection) -> None:
    command = (sys.executable, "deltas.py", market_server.address, "examples-python-refused", "python:3", "nothing")

    lines, errors = await run(*command, cwd=EXAMPLES / "python", code=1)

    assert [line.split(" at ")[0] for line in lines] == ["acknowledged 3"]
    assert errors.count("refused: INVALID_FIELD ") == 3
    assert errors.splitlines()[-1] == "3 of 3 refused: acknowledged, and not applied"


async def test_node_ranks(market_server: Connection, node: Path) -> None:
    lines, _ = await run("node", "rank.mjs", market_server.address, "node:1", "home", cwd=node)

    assert lines == ["welcome\t0.0000\tHello"]


async def test_node_ranks_at_a_time(past_server: Connection, node: Path) -> None:
    command = ("node", "rank.mjs", past_server.address, "node:1", "home")

    now, _ = await run(*command, cwd=node)
    then, _ = await run(*command, THEN, cwd=node)
    _, errors = await run(*command, "yesterday", cwd=node, code=1)

    assert now == ["RESULT_NO_ELIGIBLE_OFFER"]
    assert then == ["welcome\t0.0000\tHello"]
    assert "yesterday is no time as in" in errors


async def test_node_tells_of_a_refusal(market_server: Connection, node: Path) -> None:
    _, errors = await run("node", "rank.mjs", market_server.address, "node:1", "nowhere", cwd=node, code=1)

    assert errors.startswith("5: ")


async def test_node_publishes(market_server: Connection, node: Path) -> None:
    command = ("node", "deltas.mjs", market_server.address, "examples-node", "node:2")

    first, _ = await run(*command, cwd=node)
    second, _ = await run(*command, cwd=node)

    assert [line.split(" at ")[0] for line in (*first, *second)] == ["acknowledged 3", "acknowledged 6"]
    assert (await market_server.profile("node:2")).attributes["visits"].number_value == 6


async def test_node_tells_of_refused_deltas(market_server: Connection, node: Path) -> None:
    command = ("node", "deltas.mjs", market_server.address, "examples-node-refused", "node:3", "nothing")

    lines, errors = await run(*command, cwd=node, code=1)

    assert [line.split(" at ")[0] for line in lines] == ["acknowledged 3"]
    assert [line.split(" ")[0] for line in errors.splitlines()[:-1]] == ["refused:"] * 3
    assert errors.splitlines()[-1] == "3 of 3 refused: acknowledged, and not applied"


def test_what_the_readme_calls_is_in_the_demo() -> None:
    said = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    attributes = re.findall(r"^\w+ deltas\.\w+ \S+ \S+ \S+ (\w+)", said, re.MULTILINE)
    times = re.findall(r"^\w+ rank\.\w+ \S+ \S+ \S+ (\S+)", said, re.MULTILINE)

    assert len(attributes) == 2
    assert set(attributes) <= set(NUMBERS)
    assert times == [THEN, THEN]


def test_export_without_a_folder_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert export([]) == 2
    assert "python -m opportune.client FOLDER" in capsys.readouterr().err
