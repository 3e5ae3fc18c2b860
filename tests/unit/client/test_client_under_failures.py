"""Whatever goes wrong, each message that was taken on is applied exactly once, in order.

What goes wrong is drawn from a seed; the network's timing is not, so a seed is rather a theme than a repetition.
"""

import asyncio
import random
from collections import deque
from collections.abc import Iterator

import grpc
import pytest
from opportune.client import Backoff, Publisher, Ticket
from opportune.v1 import profile_service_pb2 as pb

from tests.support.fake_profile_service import FakeProfileService, FakeStream, deltas, rejected
from tests.unit.client.publishing import publishing, turns

Message = pb.StreamProfileDeltasRequest
MESSAGES = 60
PUBLISHERS = 6
WINDOW = 7


class Erratic:
    """A script that receives, applies and acknowledges each in its own time, and breaks off anywhere.

    What it has received when it breaks off is lost, or applied later while another stream is already open.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.late: set[asyncio.Task[None]] = set()
        self.wrong: list[tuple[int, int, int]] = []

    async def __call__(self, stream: FakeStream) -> None:
        if self._rng.random() < 0.1:
            await self._end(stream, "refuse")
            return
        await stream.open(max_outstanding=self._rng.choice((0, 1, 3, 9)))
        received: deque[Message] = deque()
        arrived = asyncio.Event()
        reader = asyncio.create_task(self._read(stream, received, arrived))
        try:
            await self._work(stream, received, arrived)
        finally:
            reader.cancel()
            await asyncio.wait([reader])
        if self._rng.random() < 0.5:
            self.late.add(asyncio.create_task(self._apply_late(stream, received)))
        await self._end(stream, self._rng.choice(("die", "close", "full", "finish", "internal")))

    async def _read(self, stream: FakeStream, received: deque[Message], arrived: asyncio.Event) -> None:
        last = stream.answered
        while (message := await stream.receive()) is not None:
            # What is skipped has been applied from an earlier stream meanwhile, and nothing comes twice on one stream.
            watermark = stream.service.watermark(stream.source)
            if not last < message.sequence <= max(last, watermark) + 1:
                self.wrong.append((message.sequence, last, watermark))
            last = message.sequence
            received.append(message)
            arrived.set()

    async def _work(self, stream: FakeStream, received: deque[Message], arrived: asyncio.Event) -> None:
        # A break between receiving and applying loses a message; one between applying and acknowledging is what
        # sequences are for.
        while self._rng.random() > 0.07:
            while not received:
                arrived.clear()
                await arrived.wait()
            await turns(self._rng.choice((0, 0, 1, 5)))
            if self._rng.random() < 0.05:
                return
            message = received.popleft()
            stream.apply(message)
            if self._rng.random() < 0.05:
                return
            if not received or self._rng.random() < 0.4:
                await self._acknowledge(stream, message)

    async def _acknowledge(self, stream: FakeStream, message: Message) -> None:
        for _ in range(self._rng.choice((1, 1, 2))):
            limit = self._rng.choice((0, 0, 0, 2, 5))
            await stream.acknowledge(max_outstanding=limit, rejected=[rejected(message.sequence, 0)])

    async def _apply_late(self, stream: FakeStream, messages: deque[Message]) -> None:
        for message in messages:
            await turns(self._rng.randrange(20))
            stream.apply(message)

    async def _end(self, stream: FakeStream, how: str) -> None:
        match how:
            case "close":
                await stream.close()
            case "full":
                await stream.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "JOURNAL_FULL", retry_after_s=1)
            case "internal":
                await stream.abort(grpc.StatusCode.INTERNAL)
            case "die" | "refuse":
                await stream.abort()


async def _publish(publisher: Publisher, rng: random.Random, names: Iterator[int]) -> dict[str, Ticket]:
    """Publishes until the names are used up, and cancels some calls. Gives what was taken on."""
    taken = {}
    for name in map(str, names):
        call = asyncio.create_task(publisher.publish(deltas(name)))
        if rng.random() < 0.2:
            await turns(rng.randrange(4))
            call.cancel()
            await asyncio.wait([call])
        try:
            taken[name] = await call
        except asyncio.CancelledError:
            continue
    return taken


@pytest.mark.parametrize("seed", range(60))
async def test_every_message_is_applied_exactly_once(seed: int) -> None:
    rng = random.Random(seed)
    erratic = Erratic(rng)
    service = FakeProfileService(erratic)
    names = iter(range(MESSAGES))
    backoff = Backoff(base_s=0.1, cap_s=1.0, random=rng.random)

    async with publishing(service, max_outstanding=WINDOW, backoff=backoff) as publisher:
        taken: dict[str, Ticket] = {}
        for part in await asyncio.gather(*(_publish(publisher, rng, names) for _ in range(PUBLISHERS))):
            taken |= part
        acknowledgements = [await ticket for ticket in taken.values()]
        await asyncio.gather(*erratic.late)

    # What was cancelled used up no sequence, so there is none between those that were taken on.
    expected = sorted((ticket.sequence, (name,)) for name, ticket in taken.items())
    assert service.applied["crm"] == expected
    assert [sequence for sequence, _ in expected] == list(range(1, len(taken) + 1))
    assert {acknowledgement.sequence for acknowledgement in acknowledgements} == set(range(1, len(taken) + 1))
    assert service.most_outstanding <= WINDOW
    assert erratic.wrong == []
