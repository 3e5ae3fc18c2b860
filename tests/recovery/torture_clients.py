"""The producers that send to a server while it is killed: streams that repeat themselves, loads, and a Publisher."""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from grpc import aio
from opportune.client import Publisher
from opportune.v1 import profile_service_pb2 as pb
from opportune.v1 import profile_service_pb2_grpc

from tests.recovery.torture_model import Messages


class Gate:
    """Open while the server runs and may be talked to; producers pass it before each stream."""

    def __init__(self) -> None:
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.clear()

    async def passed(self, delay_s: float = 0.0) -> None:
        """Waits until the gate is open, and a moment longer, so that nobody asks without end."""
        await self._open.wait()
        await asyncio.sleep(min(max(delay_s, 0.01), 0.2))
        await self._open.wait()


class Source:
    """What one source has sent, and what was acknowledged to it.

    Attributes:
        problems: What a server must never do.
    """

    def __init__(self, messages: Messages, *, loads: bool = False) -> None:
        self.messages = messages
        self.name = messages.source
        self.loads = loads
        self.sent = 0
        self.acknowledged = 0
        self.problems: list[str] = []

    def acknowledge(self, sequence: int) -> None:
        """Notes an acknowledgement, which must not be beyond what was sent."""
        if sequence > self.sent:
            self.problems.append(f"{self.name}: {sequence} was acknowledged, and {self.sent} was sent")
        self.acknowledged = max(self.acknowledged, sequence)

    def resume(self, watermark: int, acknowledged: int) -> None:
        """Notes the answer to "where did I leave off?", which must not be below what was acknowledged before."""
        if watermark < acknowledged:
            self.problems.append(f"{self.name}: resumes behind {watermark}, and {acknowledged} was acknowledged")
        self.acknowledge(watermark)


class Producer(ABC):
    """Sends the messages of a source until it is cancelled."""

    def __init__(self, source: Source, address: str, gate: Gate, rng: random.Random) -> None:
        self.source = source
        self.address = address
        self.gate = gate
        self.rng = rng

    @abstractmethod
    async def run(self) -> None:
        """Sends."""


class _Stream(Producer):
    """One stream after another, each with the question, a writer and a reader."""

    limit = 1

    async def run(self) -> None:
        while True:
            await self.gate.passed()
            with suppress(aio.AioRpcError, asyncio.InvalidStateError):
                await self._converse()

    @abstractmethod
    def open(self, channel: aio.Channel) -> Any:
        """Begins a call."""

    @abstractmethod
    def request(self, sequence: int) -> Any:
        """The message of a sequence; 0 asks."""

    async def pause(self) -> None:
        """What the writer does before a message."""

    async def _converse(self) -> None:
        async with connected(self.address) as channel:
            acknowledged = self.source.acknowledged
            call = self.open(channel)
            await call.write(self.request(0))
            first = await call.read()
            # A server that is closing does not look up where a source left off.
            if first is aio.EOF or first.HasField("closing"):
                return
            self.source.resume(first.acknowledged_sequence, acknowledged)
            self._acknowledged = first.acknowledged_sequence
            self._moved = asyncio.Event()
            writer = asyncio.create_task(self._write(call, first.acknowledged_sequence))
            try:
                while (response := await call.read()) is not aio.EOF:
                    self._take(response.acknowledged_sequence)
                    self._moved.set()
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)

    def _take(self, sequence: int) -> None:
        """Takes an acknowledgement, which never goes back within a stream."""
        if sequence < self._acknowledged:
            problem = f"{self.source.name}: {sequence} was acknowledged behind {self._acknowledged}"
            self.source.problems.append(problem)
        self._acknowledged = max(self._acknowledged, sequence)
        self.source.acknowledge(sequence)

    async def _write(self, call: Any, watermark: int) -> None:
        sequence = watermark
        while True:
            if self.rng.random() < 0.05:
                # Once more, from further back.
                sequence = max(sequence - self.rng.randint(1, 6), 0)
            sequence += 1
            while sequence > self._acknowledged + self.limit:
                self._moved.clear()
                await self._moved.wait()
            await self.pause()
            self.source.sent = max(self.source.sent, sequence)
            await call.write(self.request(sequence))


class DeltaProducer(_Stream):
    """Streams deltas, with some messages again and again."""

    def __init__(self, source: Source, address: str, gate: Gate, rng: random.Random) -> None:
        super().__init__(source, address, gate, rng)
        self.limit = rng.choice([1, 4, 16, 40])

    async def pause(self) -> None:
        """Is silent now and then, so that a snapshot alone knows how far it has come."""
        if self.rng.random() < 0.005:
            await asyncio.sleep(self.rng.uniform(0.5, 2.0))

    def open(self, channel: aio.Channel) -> Any:
        """See `_Stream`."""
        return _stub(channel).StreamProfileDeltas()

    def request(self, sequence: int) -> pb.StreamProfileDeltasRequest:
        """See `_Stream`."""
        if not sequence:
            return pb.StreamProfileDeltasRequest(source=self.source.name)
        return self.source.messages.request(sequence)


class LoadProducer(_Stream):
    """Loads batches, with a pause between them."""

    limit = 3

    def open(self, channel: aio.Channel) -> Any:
        """See `_Stream`."""
        return _stub(channel).LoadProfiles()

    def request(self, sequence: int) -> pb.LoadProfilesRequest:
        """See `_Stream`."""
        if not sequence:
            return pb.LoadProfilesRequest(source=self.source.name)
        return self.source.messages.load_request(sequence)

    async def pause(self) -> None:
        """Leaves the processor to others for most of the time."""
        await asyncio.sleep(self.rng.uniform(0.02, 0.2))


class PublisherProducer(Producer):
    """Publishes with the client that producers are given; it lives through all kills, and reconnects by itself."""

    async def run(self) -> None:
        source = self.source
        await self.gate.passed()
        # The gate keeps it from reconnecting to a server that is still being looked at.
        async with Publisher(self.address, source=source.name, sleep=self.gate.passed) as publisher:
            while True:
                # First, as the message may be acknowledged before `publish` has returned.
                source.sent += 1
                await publisher.publish(source.messages.deltas(source.sent), sequence=source.sent)
                source.acknowledge(publisher.acknowledged_sequence)


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[aio.Channel]:
    """A channel of its own, which remembers nothing of a server that was killed."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 50)]
    async with aio.insecure_channel(address, options=options) as channel:
        yield channel


def _stub(channel: aio.Channel) -> Any:
    return profile_service_pb2_grpc.ProfileServiceStub(channel)  # type: ignore[no-untyped-call]
