"""A ProfileService that does what a test has scripted, stream by stream, and remembers what it received.

It keeps what a server keeps: for each source, what was applied, once, and how far.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from opportune.v1 import profile_pb2, profile_service_pb2_grpc
from opportune.v1 import profile_service_pb2 as pb


class FakeStream:
    """One stream of a client, as a script handles it.

    Attributes:
        source: what the first message named.
        answered: where the source left off, as the answer said.
        sequences: of the messages that were received on this stream, in order.
        acknowledged: up to where this stream has acknowledged.
    """

    def __init__(self, service: "FakeProfileService", context: Any) -> None:
        self.service = service
        self.source = ""
        self.answered = 0
        self.sequences: list[int] = []
        self.acknowledged = 0
        self._context = context

    async def open(self, **fields: Any) -> None:
        """Takes the question and answers it, if it is one."""
        question = await self._context.read()
        assert (question.sequence, len(question.deltas)) == (0, 0)
        self.source = question.source
        self.answered = self.service.watermark(self.source)
        await self.acknowledge(**fields)

    @property
    def outstanding(self) -> int:
        """How many messages this stream has received and not acknowledged."""
        return sum(sequence > self.acknowledged for sequence in self.sequences)

    async def receive(self) -> pb.StreamProfileDeltasRequest | None:
        """The next message, None at the end."""
        message = await self._context.read()
        if message is aio.EOF:
            return None
        self.sequences.append(message.sequence)
        self.service.most_outstanding = max(self.service.most_outstanding, self.outstanding)
        request: pb.StreamProfileDeltasRequest = message
        return request

    async def take(self, count: int = 1) -> None:
        """Receives and applies messages."""
        for _ in range(count):
            message = await self.receive()
            assert message is not None
            self.apply(message)

    def apply(self, message: pb.StreamProfileDeltasRequest) -> None:
        """Applies a message, once."""
        self.service.apply(self.source, message)

    async def acknowledge(self, sequence: int | None = None, **fields: Any) -> None:
        """Acknowledges up to a sequence, by default all that is applied."""
        watermark = self.service.watermark(self.source) if sequence is None else sequence
        self.acknowledged = max(self.acknowledged, watermark)
        fields.setdefault("profile_version", 100 + watermark)
        await self._context.write(pb.StreamProfileDeltasResponse(acknowledged_sequence=watermark, **fields))

    async def close(self, reason: str = "going down") -> None:
        """Says in band that the stream ends, and what is applied nowhere but there."""
        closing = pb.Closing(reason=reason, acknowledged_sequence=self.service.watermark(self.source))
        await self._context.write(pb.StreamProfileDeltasResponse(closing=closing))

    async def hang(self) -> None:
        """Does nothing until the client ends the stream."""
        await asyncio.Event().wait()

    async def abort(
        self,
        code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
        reason: str = "",
        retry_after_s: float | None = None,
        **metadata: str,
    ) -> None:
        """Ends the stream with an error; `metadata` is trailing, its underscores stand for hyphens."""
        status = status_of(code, reason, retry_after_s)
        trailing: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", status.SerializeToString())]
        trailing += [(key.replace("_", "-"), value) for key, value in metadata.items()]
        await self._context.abort(code, f"scripted {code.name}", tuple(trailing))


Script = Callable[[FakeStream], Awaitable[None]]


async def polite(stream: FakeStream) -> None:
    """Applies each message and acknowledges it."""
    await stream.open()
    while (message := await stream.receive()) is not None:
        stream.apply(message)
        await stream.acknowledge()


class FakeProfileService(profile_service_pb2_grpc.ProfileServiceServicer):
    """Runs one script for each stream, and the last one for all further ones.

    Attributes:
        streams: the streams so far.
        applied: by source, sequence and customers of each message that was applied, in order.
        most_outstanding: the most messages that were ever received and not acknowledged.
    """

    def __init__(self, *scripts: Script) -> None:
        self.streams: list[FakeStream] = []
        self.applied: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
        self.most_outstanding = 0
        self._scripts = scripts or (polite,)

    async def StreamProfileDeltas(self, _requests: Any, context: Any) -> None:  # noqa: N802  # gRPC's name
        """Plays the next script."""
        stream = FakeStream(self, context)
        self.streams.append(stream)
        await self._scripts[min(len(self.streams), len(self._scripts)) - 1](stream)

    def apply(self, source: str, message: pb.StreamProfileDeltasRequest) -> None:
        """Applies a message unless it is at or below the watermark."""
        if message.sequence > self.watermark(source):
            customers = tuple(delta.customer_id for delta in message.deltas)
            self.applied.setdefault(source, []).append((message.sequence, customers))

    def watermark(self, source: str) -> int:
        """The last sequence that was applied."""
        applied = self.applied.get(source)
        return applied[-1][0] if applied else 0

    @property
    def sequences(self) -> list[list[int]]:
        """What each stream received."""
        return [stream.sequences for stream in self.streams]


@asynccontextmanager
async def serving(service: FakeProfileService, port: int = 0) -> AsyncIterator[str]:
    """Serves on a free port; gives the address."""
    server = aio.server()
    profile_service_pb2_grpc.add_ProfileServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def deltas(*customer_ids: str) -> list[profile_pb2.ProfileDelta]:
    """A delta for each customer."""
    return [profile_pb2.ProfileDelta(customer_id=customer_id) for customer_id in customer_ids]


def rejected(sequence: int, index: int, reason: str = "INVALID_FIELD") -> pb.RejectedDelta:
    """A refused delta."""
    status = status_of(grpc.StatusCode.INVALID_ARGUMENT, reason)
    return pb.RejectedDelta(sequence=sequence, index=index, status=status)


def status_of(code: grpc.StatusCode, reason: str, retry_after_s: float | None = None) -> status_pb2.Status:
    """A status with the details that the server gives."""
    details: list[Any] = []
    if reason:
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain="opportune"))
    if retry_after_s is not None:
        delay = duration_pb2.Duration(nanos=round(retry_after_s % 1 * 1e9), seconds=int(retry_after_s))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(code=code.value[0], message=f"scripted {code.name}", details=_packed(details))


def _packed(details: Iterable[Any]) -> list[any_pb2.Any]:
    packed = [any_pb2.Any() for _ in details]
    for entry, detail in zip(packed, details, strict=True):
        entry.Pack(detail)
    return packed
