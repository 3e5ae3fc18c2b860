"""Open loop: requests leave when they are due, whether or not earlier ones were answered.

Latency counts from the time a request was *due*. A server that stalls is then charged for every request that
it kept waiting, as its callers would be; a closed loop would send fewer and hide it (coordinated omission).
"""

import asyncio
from collections.abc import Iterable, Iterator

import numpy as np

from loadtest.clock import Clock
from loadtest.latency import Latencies
from loadtest.tally import Send, Tally


def poisson(rate_rps: float, seconds: float, seed: int) -> list[float]:
    """When requests are due, in seconds from the start: independent callers make a Poisson process."""
    gaps = np.random.default_rng(seed).exponential(1 / rate_rps, round(rate_rps * seconds))
    due: list[float] = np.cumsum(gaps).tolist()
    return due


class OpenLoop:
    """One run. `latencies`: from due to answered. `lateness`: from due to sent, the generator's own share."""

    def __init__(self, send: Send, clock: Clock, warm_up_s: float) -> None:
        self._send = send
        self._clock = clock
        self._warm_up_s = warm_up_s
        self.latencies = Latencies()
        self.lateness = Latencies()
        self.tally = Tally()

    async def run(self, payloads: Iterator[bytes], due: Iterable[float]) -> None:
        """Sends a request at each time, then waits for all answers; those due during warm-up do not count."""
        start = self._clock.now() + 0.001
        recorded_from = start + self._warm_up_s
        calls: set[asyncio.Task[None]] = set()
        for offset in due:
            await self._clock.sleep_until(start + offset)
            call = asyncio.create_task(self._call(next(payloads), start + offset, recorded_from))
            calls.add(call)
            call.add_done_callback(calls.discard)
        await asyncio.gather(*calls)
        self.tally.seconds = self._clock.now() - start

    async def _call(self, payload: bytes, due: float, recorded_from: float) -> None:
        sent = self._clock.now()
        status = await self._send(payload)
        self.tally.statuses[status] += 1
        if due >= recorded_from:
            self.lateness.record(sent - due)
            self.latencies.record(self._clock.now() - due)
