"""The load generator, in a process of its own: commands come as lines of JSON, and so do the results.

It ends with its standard input. `python -m loadtest.generator ADDRESS FILE TRANSPORT [apart]`, with length-prefixed
requests in FILE; TRANSPORT is one of `TRANSPORTS`; `apart` leaves the first core to others.
"""

import asyncio
import gc
import itertools
import json
import os
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import uvloop

from loadtest.clock import PreciseClock
from loadtest.closed_loop import closed_loop
from loadtest.credentials import TOKEN, bearer
from loadtest.delta_stream import DeltaTransport
from loadtest.fresh_probe import ProbeTransport
from loadtest.lean import LeanTransport
from loadtest.open_loop import OpenLoop, poisson
from loadtest.shopper import ShopperTransport
from loadtest.tally import Tally
from loadtest.transport import GrpcTransport

LENGTH = struct.Struct(">I")


class Transport(Protocol):
    """A way to a server. Made on a running loop, as connections belong to one."""

    async def send(self, payload: bytes) -> str:
        """Sends one serialised request and returns what became of it; does not raise."""
        ...

    def rungs(self) -> Counter[str]:
        """What the answers since the last time were like."""
        ...

    async def close(self) -> None:
        """Closes the connections."""
        ...


TRANSPORTS: Mapping[str, Callable[[str], Transport]] = {
    "rank": GrpcTransport,
    "rank-known": lambda address: GrpcTransport(address, bearer(TOKEN)),
    "rank-lean": LeanTransport,
    "deltas": DeltaTransport,
    "shoppers": ShopperTransport,
    "probe-acknowledged": lambda address: ProbeTransport(address, acknowledged=True),
    "probe-at-once": lambda address: ProbeTransport(address, acknowledged=False),
}


def write_payloads(file: Path, payloads: Iterable[bytes]) -> None:
    """Writes requests, each after its length as four bytes."""
    file.write_bytes(b"".join(LENGTH.pack(len(payload)) + payload for payload in payloads))


def read_payloads(file: Path) -> list[bytes]:
    """Reads what `write_payloads` wrote."""
    content = file.read_bytes()
    payloads, at = [], 0
    while at < len(content):
        start = at + LENGTH.size
        at = start + LENGTH.unpack_from(content, at)[0]
        payloads.append(content[start:at])
    return payloads


class Generator:
    """Runs commands `{"loop": "closed" | "open", …}` one after the other over one transport."""

    def __init__(self, transport: Transport, payloads: list[bytes]) -> None:
        self._payloads: Iterator[bytes] = itertools.cycle(payloads)
        self._transport = transport
        self._clock = PreciseClock()

    async def run(self, command: dict[str, Any]) -> dict[str, object]:
        """Runs one window and says what came of it, and what the generator itself spent."""
        loop = self._closed if command.pop("loop") == "closed" else self._open
        started_s = time.process_time()
        tally, histograms = await loop(**command)
        spent_s = time.process_time() - started_s
        return {
            "statuses": tally.statuses,
            "seconds": tally.seconds,
            "generator_cpu_s": spent_s,
            "rungs": self._transport.rungs(),
            **histograms,
        }

    async def _closed(self, callers: int, seconds: float) -> tuple[Tally, dict[str, object]]:
        return await closed_loop(self._transport.send, self._payloads, callers, seconds, self._clock), {}

    async def _open(
        self, rate_rps: float, seconds: float, warm_up_s: float, seed: int
    ) -> tuple[Tally, dict[str, object]]:
        loop = OpenLoop(self._transport.send, self._clock, warm_up_s)
        await loop.run(self._payloads, poisson(rate_rps, warm_up_s + seconds, seed))
        return loop.tally, {"latencies": loop.latencies.encode(), "lateness": loop.lateness.encode()}

    async def close(self) -> None:
        """Closes the connections and the clock."""
        await self._transport.close()
        self._clock.close()


async def serve(address: str, file: Path, transport: str) -> None:
    """Answers commands until standard input ends."""
    generator = Generator(TRANSPORTS[transport](address), read_payloads(file))
    # The payloads live for ever: keep the garbage collector from walking them in the middle of a window.
    gc.collect()
    gc.freeze()
    while line := await asyncio.to_thread(sys.stdin.readline):
        result = await generator.run(json.loads(line))
        print(json.dumps(result), flush=True)
    await generator.close()


def stay_apart() -> None:
    """Keeps this process off the first core, as callers would be on machines of their own.

    Left to itself a kernel may put generators and server onto one core and let the other sleep.
    """
    _, *others = sorted(os.sched_getaffinity(0))
    if others:
        os.sched_setaffinity(0, others)


if __name__ == "__main__":
    if sys.argv[4:] == ["apart"]:
        stay_apart()
    uvloop.run(serve(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
