"""Streaming calls without a transport: a stream that a test fills and reads, and the servicer behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.message import Message
from opportune.v1 import profile_pb2
from opportune.v1 import profile_service_pb2 as pb

from server.domain.errors import OpportuneError
from server.execution.catalog import publish
from server.execution.deltas import ApplyProfileDeltas
from server.execution.load import LoadProfiles
from server.execution.rejections import RejectionLimit
from server.execution.sources import Sources
from server.execution.state import State
from server.execution.writer import Writer
from server.wire.profile_streams import DeltaStream, LoadStream
from tests.support.catalogs import catalog_document, compiled_catalog
from tests.support.clock import ManualClock
from tests.support.gated_journal import GatedJournal


class FakeStream:
    """What a caller sends is put in; what the caller gets can be read or waited for.

    Attributes:
        taken: How many messages the server has taken.
        sent: What the server has sent.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.sent: list[Any] = []
        self.takes_more = asyncio.Event()
        self.takes_more.set()
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._responses: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, *requests: Message | Exception | None) -> None:
        """Sends requests; None ends them, an error is what reading the next one raises."""
        for request in requests:
            self._requests.put_nowait(request)

    async def response(self) -> Any:
        """The next response."""
        return await asyncio.wait_for(self._responses.get(), 5)

    async def receive(self) -> Any:
        """See `Stream`."""
        request = await self._requests.get()
        self.taken += 1
        if isinstance(request, Exception):
            raise request
        return request

    async def send(self, message: Message) -> None:
        """See `Stream`."""
        await self.takes_more.wait()
        self.sent.append(message)
        self._responses.put_nowait(message)

    @property
    def acknowledged(self) -> list[int]:
        """The acknowledgements so far."""
        return [response.acknowledged_sequence for response in self.sent]


class Ingest:
    """Everything behind delta streams and bulk loads, on a journal that can be held up."""

    def __init__(self, rejected_per_minute: int = 1_000) -> None:
        self.clock = ManualClock()
        self.journal = GatedJournal()
        self.state = State({})
        self.writer = Writer(self.journal, self.state, None)
        self.sources = Sources(self.state, self.writer)
        limit = RejectionLimit(rejected_per_minute)
        self.apply = ApplyProfileDeltas(self.state, self.writer, self.sources, clock=self.clock, limit=limit)
        self.load = LoadProfiles(self.state, self.sources, self.clock)
        self.closing = asyncio.Event()
        self._calls: list[asyncio.Task[None]] = []

    def stream(self, max_outstanding: int = 64) -> tuple[FakeStream, "asyncio.Task[None]"]:
        """Begins a call of StreamProfileDeltas."""
        stream = FakeStream()
        call = DeltaStream(stream, self.apply, self.sources, self.clock, max_outstanding)
        return stream, self._begin(call.run(self.closing))

    def loading(self, max_outstanding: int = 4) -> tuple[FakeStream, "asyncio.Task[None]"]:
        """Begins a call of LoadProfiles."""
        stream = FakeStream()
        call = LoadStream(stream, self.load, self.sources, self.clock, max_outstanding)
        return stream, self._begin(call.run(self.closing))

    def visits(self, customer_id: str) -> float | None:
        """The number of visits that is known of a customer."""
        row = self.state.profiles.read(customer_id)
        return None if row is None else float(row.values[self.state.profiles.schema.columns["visits"]])

    def _begin(self, call: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.create_task(call)
        self._calls.append(task)
        return task

    async def close(self) -> None:
        """Ends every call."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        self.journal.gate.set()
        await self.writer.close()


@asynccontextmanager
async def ingesting(**settings: Any) -> AsyncIterator[Ingest]:
    """An `Ingest` that has a catalog."""
    ingest = Ingest(**settings)
    ingest.writer.start()
    await publish(ingest.state, ingest.writer, compiled_catalog(catalog_document()), ingest.clock())
    try:
        yield ingest
    finally:
        await ingest.close()


def message(sequence: int, *deltas: profile_pb2.ProfileDelta, source: str = "crm") -> pb.StreamProfileDeltasRequest:
    """A message of a delta stream; without deltas it has one that adds a visit."""
    return pb.StreamProfileDeltasRequest(source=source, sequence=sequence, deltas=deltas or [visit()])


def question(source: str = "crm") -> pb.StreamProfileDeltasRequest:
    """The question where a source left off."""
    return pb.StreamProfileDeltasRequest(source=source)


def visit(customer_id: str = "c", amount: float = 1.0) -> profile_pb2.ProfileDelta:
    """A delta that adds visits."""
    updates = profile_pb2.AttributeUpdates(increment={"visits": amount})
    return profile_pb2.ProfileDelta(customer_id=customer_id, attributes=updates)


def bad() -> profile_pb2.ProfileDelta:
    """A delta that must be refused."""
    return visit(amount=float("nan"))


async def refusal(call: "asyncio.Task[None]") -> OpportuneError:
    """What a call ends with."""
    done, _ = await asyncio.wait([call], timeout=5)
    assert done
    error = call.exception()
    assert isinstance(error, OpportuneError)
    return error
