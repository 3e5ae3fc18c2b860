from typing import Any

import pytest
from opportune.v1.profile_pb2 import Profile

from server.execution.pressure import INTERVAL_NS, LEVELS, Pressure
from server.wire.brake import STEP_S, Brake, BrakedStream

MS = 1_000_000


class Stream:
    """A stream with one message."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        return "message"

    async def send(self, message: Any) -> None:
        self.sent.append(message)


@pytest.mark.parametrize("level", [0, 1, LEVELS])
async def test_message_waits_the_longer_the_higher_the_pressure(level: int) -> None:
    pressure, slept = Pressure(), list[float]()
    for interval in range(level):
        pressure.waited(50 * MS, 50 * MS, (interval + 1) * INTERVAL_NS)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    stream = Stream()
    braked = BrakedStream(stream, Brake(pressure, clock_ns=lambda: (level + 1) * INTERVAL_NS, sleep=sleep))

    assert await braked.receive() == "message"
    await braked.send(Profile())

    assert slept == ([level * STEP_S] if level else [])
    assert stream.sent == [Profile()]
