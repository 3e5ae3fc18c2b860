"""The command line as a process of its own."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from tests.integration.connection import TIMEOUT_S

ROOT = Path(__file__).parents[2]


class Outcome(NamedTuple):
    """How a command ended."""

    code: int | None
    output: str
    errors: str


class Serving(NamedTuple):
    """A server that has said where it listens."""

    process: Process
    port: int
    line: str


async def begin(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Process:
    """Starts `python -m server`, without the settings of whoever runs the tests."""
    own = {name: content for name, content in os.environ.items() if not name.startswith("OPPORTUNE_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", *map(str, arguments),
        cwd=ROOT, env={**own, **(environment or {})}, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip


async def run(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Outcome:
    """Runs a command to its end."""
    process = await begin(*arguments, environment=environment)
    output, errors = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    return Outcome(process.returncode, output.decode(), errors.decode())


@asynccontextmanager
async def serving(*arguments: str | Path, data: Path | None = None) -> AsyncIterator[Serving]:
    """A running server, which is ended if it has not ended by itself."""
    keeping = ("--ephemeral",) if data is None else ("--data", data)
    at_once = ("--drain-seconds", "0")
    process = await begin("serve", *keeping, "--listen", "127.0.0.1:0", *at_once, *arguments)
    try:
        assert process.stderr is not None
        lines: list[str] = []
        found = None
        while found is None:
            lines.append((await asyncio.wait_for(process.stderr.readline(), TIMEOUT_S)).decode())
            assert lines[-1], f"the server ended: {''.join(lines)}"
            found = re.search(r"serving on 127\.0\.0\.1:(\d+)", lines[-1])
        yield Serving(process, int(found[1]), lines[-1])
    finally:
        # Not killed at once: a server that cannot clean up leaves its process for compiling behind.
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), TIMEOUT_S)
