"""Servers that are processes, keep their port and their folder, and can be stopped and started again."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.integration.commands import ROOT
from tests.integration.connection import TIMEOUT_S


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server with a data folder of its own."""

    def __init__(self, folder: Path, *settings: str | Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._settings = settings
        self._starts = 0
        self.process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        """Starts it, and waits until it serves."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._starts += 1
        log = self._folder / f"server-{self._starts}.log"
        where = ["--data", self._folder / "data", "--listen", f"127.0.0.1:{self.port}", *self._settings]
        own = {name: content for name, content in os.environ.items() if not name.startswith("OPPORTUNE_")}
        with log.open("w") as output:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "server", "serve", *map(str, where),
                cwd=ROOT, env=own, stdout=output, stderr=output,
            )  # fmt: skip
        async with asyncio.timeout(TIMEOUT_S):
            while "serving on" not in log.read_text(encoding="utf-8"):
                assert self.process.returncode is None, log.read_text(encoding="utf-8")
                await asyncio.sleep(0.05)

    async def stop(self) -> int:
        """Tells it to stop, waits until it has, and returns its exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            # One that was paused would not hear of it.
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), TIMEOUT_S)


@asynccontextmanager
async def two_servers(folder: Path, *settings: str | Path) -> AsyncIterator[tuple[Server, Server]]:
    """Two servers that serve, each with a folder of its own."""
    servers = (Server(folder / "one", *settings), Server(folder / "two", *settings))
    try:
        await asyncio.gather(*(server.start() for server in servers))
        yield servers
    finally:
        await asyncio.gather(*(server.stop() for server in servers if server.process is not None))
