"""Closed loop: callers that send their next request when they have their answer. For rates, not latencies."""

import asyncio
from collections.abc import Iterator

from loadtest.clock import Clock
from loadtest.tally import Send, Tally


async def closed_loop(send: Send, payloads: Iterator[bytes], callers: int, seconds: float, clock: Clock) -> Tally:
    """Calls for so many seconds, then waits for what is out: the last answer ends the window."""
    tally = Tally()
    start = clock.now()
    end = start + seconds

    async def caller() -> None:
        while clock.now() < end:
            tally.statuses[await send(next(payloads))] += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    tally.seconds = clock.now() - start
    return tally
