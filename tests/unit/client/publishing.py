"""A publisher connected to a fake service, with time that the test owns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from opportune.client import Backoff, Publisher

from tests.support.fake_profile_service import FakeProfileService, serving

TIMEOUT_S = 20.0
"""Far more than any test takes; one that hangs fails instead of stopping the suite."""


class Naps:
    """A sleep that takes no time, and a clock that it moves.

    Attributes:
        delays_s: how long it would have slept.
    """

    def __init__(self) -> None:
        self.delays_s: list[float] = []
        self.now_s = 0.0

    async def sleep(self, delay_s: float) -> None:
        """Lets the others have a turn, as the real one does."""
        self.delays_s.append(delay_s)
        self.now_s += delay_s
        await asyncio.sleep(0)

    def clock(self) -> float:
        """Seconds."""
        return self.now_s


@asynccontextmanager
async def publishing(service: FakeProfileService, **options: Any) -> AsyncIterator[Publisher]:
    """A publisher of the source `crm`; jitter is always half its ceiling unless the test says otherwise."""
    naps = options.pop("naps", None) or Naps()
    options.setdefault("backoff", Backoff(base_s=1.0, cap_s=8.0, random=lambda: 0.5))
    async with (
        asyncio.timeout(TIMEOUT_S),
        serving(service) as address,
        Publisher(address, source="crm", clock=naps.clock, sleep=naps.sleep, **options) as publisher,
    ):
        yield publisher


async def turns(count: int = 100) -> None:
    """Lets everybody do what they can without time passing."""
    for _ in range(count):
        await asyncio.sleep(0)
