"""The generator's way to StreamProfileDeltas: messages in the order of sending, bytes in, acknowledgements out."""

import asyncio
import itertools
import os
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc
import grpc.aio
from opportune.v1.profile_service_pb2 import StreamProfileDeltasRequest, StreamProfileDeltasResponse

from loadtest.tally import OK

METHOD = "/opportune.v1.ProfileService/StreamProfileDeltas"
STREAMS = 2
"""Producers of a load: each has a source, a stream and a connection of its own."""

OUTSTANDING = 64
"""Messages on their way that a server allows by default; it says so itself, and a stream keeps to what it says."""

REJECTED = "REJECTED"
ENDED = "ENDED"
STREAM_S = 3600.0
"""A stream's deadline: no generator waits for ever for a server that has stopped answering."""


class Acknowledged(NamedTuple):
    """What became of a message, and the version at which it can be read."""

    status: str
    profile_version: int


class DeltaStream:
    """One stream of one source. Callers may send at once; each waits for room, then for its acknowledgement."""

    def __init__(self, channel: grpc.aio.Channel, source: str) -> None:
        # Without serializers the library passes bytes through, so the generator does not pay for protobuf.
        self._call: Any = channel.stream_stream(METHOD)(timeout=STREAM_S)
        self._source = source
        self._turn = asyncio.Lock()
        self._room: asyncio.Semaphore | None = None
        self._sequence = 0
        self._waiting: deque[tuple[int, asyncio.Future[Acknowledged]]] = deque()
        self._ended = ""
        self._reader: asyncio.Task[None] | None = None

    async def publish(self, payload: bytes) -> Acknowledged:
        """Sends a serialised message that has no sequence yet, and waits until it is acknowledged; does not raise."""
        room = self._room or await self._open()
        async with room:
            try:
                answer = await self._write(payload)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return Acknowledged(self._ended or ENDED, 0)
            return await answer

    async def _open(self) -> asyncio.Semaphore:
        """Asks how far the source has come, and how much may be on its way."""
        async with self._turn:
            if self._room is None:
                await self._call.write(StreamProfileDeltasRequest(source=self._source).SerializeToString())
                first = StreamProfileDeltasResponse.FromString(await self._call.read())
                self._sequence = first.acknowledged_sequence
                self._room = asyncio.Semaphore(first.max_outstanding)
                self._reader = asyncio.create_task(self._read())
            return self._room

    async def _write(self, payload: bytes) -> "asyncio.Future[Acknowledged]":
        answer: asyncio.Future[Acknowledged] = asyncio.get_running_loop().create_future()
        # A message's place in the order is its place in the queue for the lock.
        async with self._turn:
            if self._ended:
                answer.set_result(Acknowledged(self._ended, 0))
                return answer
            self._sequence += 1
            self._waiting.append((self._sequence, answer))
            await self._call.write(payload + sequenced(self._sequence))
        return answer

    async def _read(self) -> None:
        try:
            while (reply := await self._call.read()) is not grpc.aio.EOF:
                self._take(StreamProfileDeltasResponse.FromString(reply))
            self._ended = ENDED
        except grpc.aio.AioRpcError as error:
            self._ended = str(error.code().name)
        while self._waiting:
            self._waiting.popleft()[1].set_result(Acknowledged(self._ended, 0))

    def _take(self, response: StreamProfileDeltasResponse) -> None:
        rejected = {each.sequence for each in response.rejected}
        while self._waiting and self._waiting[0][0] <= response.acknowledged_sequence:
            sequence, answer = self._waiting.popleft()
            status = REJECTED if sequence in rejected else OK
            answer.set_result(Acknowledged(status, response.profile_version))

    async def close(self) -> None:
        """Ends the stream."""
        self._call.cancel()
        if self._reader is not None:
            await asyncio.wait([self._reader])


class DeltaTransport:
    """Several streams, each of a source and on a connection of its own; messages go round."""

    def __init__(self, address: str, streams: int = STREAMS) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(streams)]
        self._streams = [
            DeltaStream(channel, f"loadtest-{os.getpid()}-{index}") for index, channel in enumerate(self._channels)
        ]
        self._next: Iterator[DeltaStream] = itertools.cycle(self._streams)

    async def send(self, payload: bytes) -> str:
        """Sends one serialised message and returns what became of it."""
        return (await next(self._next).publish(payload)).status

    def rungs(self) -> Counter[str]:
        """Nothing is ranked here."""
        return Counter()

    async def close(self) -> None:
        """Ends the streams and closes their connections."""
        for stream, channel in zip(self._streams, self._channels, strict=True):
            await stream.close()
            await channel.close()


def sequenced(sequence: int) -> bytes:
    """The field `sequence` as bytes: behind a serialised message it is a part of it."""
    return StreamProfileDeltasRequest(sequence=sequence).SerializeToString()
