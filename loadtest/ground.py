"""A server with a data folder and customers in it: what the scenarios about writing start from."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest.children import child
from loadtest.folder import filesystem
from loadtest.generator import write_payloads
from loadtest.progress import say
from loadtest.serving import ServeCommand, Server, durable, free_port, is_healthy, serving
from loadtest.stage import streaming, workspace
from loadtest.streaming import StreamingWorkload
from loadtest.target import GeneratorFailedError, Target, target
from loadtest.workload import Workload

Serve = Callable[..., ServeCommand]
"""Makes the command that serves a data folder: `durable`, or a made-up server in tests."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a scenario takes place. `directory` is for everything that it writes, `disk` says what it is on."""

    directory: Path
    workload: Workload
    transport: str
    serve: Serve = field(default=durable)
    disk: Mapping[str, object] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """The server's data folder."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.directory / "server.log"

    def command(self, port: int, *settings: str) -> Sequence[str]:
        """What `python` is called with to serve the data folder."""
        return self.serve(self.data, *settings)(self.workload, port, self.transport)

    @contextlib.contextmanager
    def server(self, *settings: str) -> Iterator[Server]:
        """A server of the data folder, until the block ends."""
        port = free_port()
        say(f"Starting the server: {self.workload.offers:,} offers, {self.transport} transport")
        with serving(self.command(port, *settings), port, self.log, is_healthy, self.directory) as server:
            yield server

    @contextlib.contextmanager
    def target(
        self, name: str, server: Server, payloads: Sequence[bytes], transport: str, *, apart: bool = False
    ) -> Iterator[Target]:
        """A generator with these payloads, aimed at a server until the block ends; `apart` as for `target.target`."""
        file = self.directory / f"{name}.payloads"
        write_payloads(file, payloads)
        with target(name, server, file, transport, apart=apart) as aimed:
            yield aimed


@contextlib.contextmanager
def prepared(offers: int, profiles: int, transport: str, serve: Serve) -> Iterator[tuple[Ground, StreamingWorkload]]:
    """Ground with a catalog that takes deltas, for so many customers, until the block ends."""
    with workspace() as directory:
        workload = streaming(directory / "workload", offers, profiles)
        yield Ground(directory, workload, transport, serve, filesystem(directory)), workload


def fill(server: Server, profiles: int) -> dict[str, Any]:
    """Loads so many customers by LoadProfiles and returns what the loader says.

    Raises:
        GeneratorFailedError: the server refused something, or ended.
    """
    say(f"Loading {profiles:,} profiles")
    with child(["-m", "loadtest.bulk", server.address, str(profiles)], stdout=subprocess.PIPE) as process:
        output, _ = process.communicate()
        if process.returncode:
            raise GeneratorFailedError(f"The bulk load ended, exit {process.returncode}.")
    loaded: dict[str, Any] = json.loads(output)
    say(f"{profiles:,} profiles loaded in {loaded['seconds']:.1f} s")
    return loaded
