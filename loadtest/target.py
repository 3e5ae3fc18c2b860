"""A server with a generator aimed at it: one call runs one window and says what both of them spent."""

import contextlib
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest.children import child
from loadtest.procfs import MachineTime, cpu_seconds
from loadtest.serving import Server
from loadtest.tally import OK

GENERATOR_FULL_CORES = 0.9
"""A Python process that uses more of a core than this has nothing left to give."""


@dataclass(frozen=True, slots=True)
class Window:
    """One measured window. CPU covers everything from the command to its result, and so do the calls."""

    statuses: Counter[str]
    seconds: float
    server_cpu_s: float
    generator_cpu_s: float
    steal_percent: float
    others_percent: float
    rungs: Counter[str] = field(default_factory=Counter)
    latencies: str = ""
    lateness: str = ""

    @property
    def calls(self) -> int:
        """All calls, failed ones included."""
        return self.statuses.total()

    @property
    def errors(self) -> Counter[str]:
        """The calls that failed, by status name."""
        return Counter({status: count for status, count in self.statuses.items() if status != OK})

    @property
    def rate_rps(self) -> float:
        """Successful calls a second."""
        return self.statuses[OK] / self.seconds

    @property
    def disturbance(self) -> str:
        """What kept the machine from its work, in words."""
        return f"steal {self.steal_percent:.1f} %, others {self.others_percent:.1f} %"

    @property
    def server_cores(self) -> float:
        """How many cores the server used."""
        return self.server_cpu_s / self.seconds

    @property
    def generator_cores(self) -> float:
        """How many cores the generator used."""
        return self.generator_cpu_s / self.seconds

    @property
    def generator_bound(self) -> bool:
        """Whether the generator was the limit: it was full and the server was not."""
        return self.generator_cores >= GENERATOR_FULL_CORES > self.server_cores


class GeneratorFailedError(Exception):
    """The generator's process ended."""


class Target:
    """A named server and its generator."""

    def __init__(self, name: str, server: Server, generator: subprocess.Popen[str]) -> None:
        self.name = name
        self._server = server
        self._generator = generator
        self._opened = 0

    def closed(self, callers: int, seconds: float) -> Window:
        """A closed-loop window with so many callers."""
        return self._window({"loop": "closed", "callers": callers, "seconds": seconds})

    def open(self, rate_rps: float, seconds: float, warm_up_s: float) -> Window:
        """An open-loop window; each has other arrival times, the same ones in every run."""
        self._opened += 1
        what = {"rate_rps": rate_rps, "seconds": seconds, "warm_up_s": warm_up_s, "seed": self._opened}
        return self._window({"loop": "open", **what})

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._server.pid

    @property
    def address(self) -> str:
        """The server's `host:port`."""
        return self._server.address

    def _window(self, command: dict[str, object]) -> Window:
        machine, own_s, server_s = MachineTime.now(), cpu_seconds(os.getpid()), cpu_seconds(self._server.pid)
        answer = self._ask(command)
        answer["server_cpu_s"] = cpu_seconds(self._server.pid) - server_s
        own_s, after = cpu_seconds(os.getpid()) - own_s, MachineTime.now()
        answer["steal_percent"] = after.steal_percent_since(machine)
        answer["others_percent"] = after.others_percent_since(machine, own_s)
        return Window(**answer | {name: Counter(answer[name]) for name in ("statuses", "rungs")})

    def _ask(self, command: dict[str, object]) -> dict[str, Any]:
        assert self._generator.stdin is not None
        assert self._generator.stdout is not None
        print(json.dumps(command), file=self._generator.stdin, flush=True)
        line = self._generator.stdout.readline()
        if not line:
            raise GeneratorFailedError(f"The generator for {self.name} ended, exit {self._generator.wait()}.")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def target(
    name: str, server: Server, payloads: Path, transport: str = "rank", *, apart: bool = False
) -> Iterator[Target]:
    """Starts a generator for a server, and ends it with the block; `apart` keeps it off the first core."""
    command = ["-m", "loadtest.generator", server.address, str(payloads), transport, *(["apart"] if apart else [])]
    with child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Target(name, server, process)
