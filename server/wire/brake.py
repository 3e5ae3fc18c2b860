"""The brake: streams of deltas are read more slowly while rankings are pressed, so that their producers wait.

A producer whose messages are not read runs out of its window and waits (HTTP/2's flow control, and `max_outstanding`).
Refusing its stream would only have it opened again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from typing import Any

from google.protobuf.message import Message

from server.execution.pressure import Pressure
from server.wire.endpoint import Stream

STEP_S = 0.005
"""What a message waits for at each level of pressure: at the highest, one is read 25 times a second."""


class Brake:
    """Makes streams wait."""

    def __init__(
        self,
        pressure: Pressure,
        *,
        clock_ns: Callable[[], int] = perf_counter_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pressure = pressure
        self._clock_ns = clock_ns
        self._sleep = sleep

    async def __call__(self) -> None:
        """Waits as long as the pressure asks for, usually not at all."""
        level = self._pressure.at(self._clock_ns())
        if level:
            await self._sleep(level * STEP_S)


class BrakedStream:
    """A stream whose messages are read no faster than the brake lets them."""

    def __init__(self, stream: Stream, brake: Brake) -> None:
        self._stream = stream
        self._brake = brake

    async def receive(self) -> Any:
        """See `Stream`."""
        await self._brake()
        return await self._stream.receive()

    async def send(self, message: Message) -> None:
        """See `Stream`."""
        await self._stream.send(message)
