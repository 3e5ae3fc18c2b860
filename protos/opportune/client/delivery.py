"""Brings an outbox to the server, over as many streams as it takes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc import aio
from opportune.client.backoff import Backoff
from opportune.client.ending import EXPIRED, Ending, ending_of
from opportune.client.errors import AcknowledgedDataLostError, PublishError, SourceConflictError
from opportune.client.outbox import Message, Outbox
from opportune.client.ticket import Rejection
from opportune.v1 import profile_service_pb2 as pb
from opportune.v1 import profile_service_pb2_grpc

_LOG = logging.getLogger(__name__)


class Delivery:
    """One stream after another. On each, a reader and a writer that share the outbox and never wait for each other.

    Attributes:
        opened: set once the server has said where the source left off.
        profile_version: the server's latest.
    """

    def __init__(
        self,
        channel: aio.Channel,
        source: str,
        outbox: Outbox,
        *,
        token: str | Callable[[], str] | None,
        on_rejected: Callable[[Rejection], object] | None,
        continue_after_loss: bool,
        backoff: Backoff,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        # The generated stubs have no types.
        self._stub: Any = profile_service_pb2_grpc.ProfileServiceStub(channel)  # type: ignore[no-untyped-call]
        self._source = source
        self._outbox = outbox
        self._token = token
        self._on_rejected = on_rejected
        self._continue_after_loss = continue_after_loss
        self._backoff, self._clock, self._sleep = backoff, clock, sleep
        self.opened = asyncio.Event()
        self.profile_version = 0

    async def run(self) -> None:
        """Delivers until it is cancelled.

        Raises:
            PublishError: for what no retry can mend.
        """
        attempt = 0
        while True:
            begin_s, acknowledged = self._clock(), self._outbox.acknowledged
            ending = await self._stream()
            # A server that answers and then fails every time must not be asked ten times a second for ever, so only
            # acknowledgements count as progress, or a stream that lived for long with nothing to acknowledge.
            long_lived = self._clock() - begin_s >= self._backoff.cap_s
            if self._outbox.acknowledged > acknowledged or long_lived:
                attempt = 0
            delay_s = self._backoff.delay_s(attempt, ending.retry_after_s)
            attempt += 1
            _log(self._source, ending, delay_s)
            await self._sleep(delay_s)

    async def _stream(self) -> Ending:
        try:
            return await self._converse()
        except aio.AioRpcError as error:
            ending = ending_of(error)
            # A token that has expired is mended by one who gives another.
            expired = ending.reason == EXPIRED and callable(self._token)
            if not ending.mendable and not expired:
                raise ending.error() from error
            return ending

    async def _converse(self) -> Ending:
        """One stream: the question, its answer, then messages and acknowledgements until the server ends it."""
        call = self._stub.StreamProfileDeltas(metadata=self._metadata())
        writer: asyncio.Task[None] | None = None
        self._outbox.rewind()
        try:
            # "Where did I leave off?"
            await call.write(pb.StreamProfileDeltasRequest(source=self._source))
            # No timeout here or below: one would cancel the stream while it waits; keepalive finds dead peers.
            while (response := await call.read()) is not aio.EOF:
                self._take(response, first=writer is None)
                if response.HasField("closing"):
                    return Ending(grpc.StatusCode.OK, "CLOSING", response.closing.reason)
                writer = writer or asyncio.create_task(self._write(call))
            return Ending(grpc.StatusCode.OK, "", "the server ended the stream without saying so before")
        finally:
            call.cancel()
            if writer is not None:
                writer.cancel()
                await asyncio.wait([writer])

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self._token() if callable(self._token) else self._token
        return () if token is None else (("authorization", f"Bearer {token}"),)

    async def _write(self, call: Any) -> None:
        """Writes what the window allows, until it is cancelled or the stream has ended."""
        try:
            while True:
                await call.write(await self._outbox.take())
        except (aio.AioRpcError, asyncio.InvalidStateError):
            # The reader gets to know it as well. If the stream ended under a write, grpc may have put INTERNAL in the
            # place of the server's status; that is retried, and the next stream says what it was.
            return
        except Exception as error:
            # A fault of ours. Nobody waits for this task, and the reader would wait for acknowledgements for ever.
            self._outbox.fail(fault(error))
            call.cancel()

    def _take(self, response: pb.StreamProfileDeltasResponse, first: bool) -> None:
        sequence = max(response.acknowledged_sequence, response.closing.acknowledged_sequence)
        # A server that is closing does not look up where a source left off, so only an answer proves a loss.
        if first and sequence < self._outbox.acknowledged and not response.HasField("closing"):
            self._lose(sequence)
        if self._outbox.numbered and sequence > self._outbox.last:
            raise SourceConflictError(self._source, sequence, self._outbox.last)
        self.profile_version = response.profile_version or self.profile_version
        self._outbox.limit(response.max_outstanding)
        self._outbox.reject(response.rejected)
        for message in self._outbox.acknowledge(sequence):
            self._settle(message)
        if not response.HasField("closing"):
            self.opened.set()

    def _settle(self, message: Message) -> None:
        for rejection in message.acknowledge(self.profile_version).rejected:
            if self._on_rejected is not None:
                try:
                    self._on_rejected(rejection)
                except Exception:
                    # What is acknowledged stays so, whatever the caller makes of a rejection.
                    _LOG.exception("on_rejected failed for sequence %d", rejection.sequence)

    def _lose(self, sequence: int) -> None:
        error = AcknowledgedDataLostError(self._outbox.acknowledged, sequence)
        if not self._continue_after_loss:
            raise error
        _LOG.error("publishing as %s goes on after a loss: %s", self._source, error)
        self._outbox.acknowledged = sequence


def fault(error: BaseException) -> PublishError:
    """The error for a fault of this package."""
    failure = PublishError(grpc.StatusCode.INTERNAL, "PUBLISHER_FAULT", f"{type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _log(source: str, ending: Ending, delay_s: float) -> None:
    level = logging.INFO if ending.code is grpc.StatusCode.OK else logging.WARNING
    why = f"{ending.code.name} {ending.reason} {ending.message}"
    _LOG.log(level, "publishing as %s: the stream ended: %s; the next try is in %.3f s", source, why, delay_s)
