"""Streams of numbered messages with cumulative acknowledgements: what delta streams and bulk loads have in common.

One task receives and hands messages on without waiting for the journal; the call's own task waits for them in their
order and acknowledges. At most `max_outstanding` messages are between the two, and the server reads no further then.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from contextlib import ExitStack
from functools import partial
from typing import Any, Generic, TypeVar, cast

from google.protobuf.message import Message

from server.domain.errors import OpportuneError, invalid_field
from server.domain.identifier import require_identifier
from server.execution.deltas import DeltasApplied
from server.execution.sources import Accepted, Sources
from server.execution.writer import Written
from server.wire.authentication import seconds_left
from server.wire.caller import WATCH, calling
from server.wire.endpoint import Stream
from server.wire.json_web_tokens import expired_credentials

CLOSING_REASON = "the server is stopping"

_END = object()
_CLOSING = object()
_Response = TypeVar("_Response", bound=Message)


class SequencedStream(ABC, Generic[_Response]):
    """One call of a source. Subclasses say what a message is and how acknowledgements look."""

    def __init__(self, stream: Stream, sources: Sources, max_outstanding: int) -> None:
        self._stream = stream
        self._sources = sources
        self._room = asyncio.Semaphore(max_outstanding)
        self._received: deque[object] = deque()
        self._arrived = asyncio.Event()
        self.source = ""
        self.acknowledged = 0
        self._last: asyncio.Future[Written] | None = None
        self._is_closing = False

    @abstractmethod
    def accept(self, message: Any) -> Accepted:
        """Gives a message its place in the order."""

    @abstractmethod
    async def settle(self, accepted: Accepted) -> DeltasApplied:
        """Waits until an accepted message is durable and visible."""

    @abstractmethod
    def response(self, settled: list[tuple[Accepted, DeltasApplied]]) -> _Response:
        """The acknowledgement of messages, the last of which is the newest."""

    @abstractmethod
    def closing(self, reason: str) -> _Response:
        """The last message before the server ends the stream."""

    async def run(self, closing: asyncio.Event) -> None:
        """Serves the call until the caller ends it, something refuses it, or the server closes.

        Raises:
            OpportuneError: what refuses a message; those before it are acknowledged.
        """
        expiry = self._expire_later()
        tasks = [asyncio.create_task(self._receive_all()), asyncio.create_task(self._close_with(closing))]
        try:
            while await self._acknowledge():
                pass
        finally:
            expiry.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _expire_later(self) -> ExitStack:
        """Ends the call when its caller's credentials do, behind what was received before; closing it ends that."""
        expire, stack = partial(self._arrive, expired_credentials()), ExitStack()
        left_s = seconds_left(calling(), time.time())
        if left_s is not None:
            stack.callback(asyncio.get_running_loop().call_later(left_s, expire).cancel)
        watch = WATCH.get()
        if watch is not None:
            # They may be withdrawn before. Whoever connects anew is told what has become of them.
            stack.callback(watch(expire))
        return stack

    async def _receive_all(self) -> None:
        try:
            while True:
                await self._room.acquire()
                message = await self._stream.receive()
                if message is None:
                    break
                if self._is_closing:
                    # Not taken: `closing` tells the last that was, and its sender resumes behind that.
                    return
                self._arrive(self._accept(message))
            self._arrive(_END)
        except Exception as error:
            # Whatever ends the reading ends the call, behind what was received before.
            self._arrive(error)

    def _accept(self, message: Any) -> Accepted:
        if not self.source:
            require_identifier("source", message.source)
            self.source = message.source
            if not message.sequence:
                self._sources.resume(self.source)
        elif message.source not in ("", self.source):
            raise invalid_field("source", "is another than on the stream's first message")
        if self._last is not None and self._last.done() and not self._last.cancelled() and self._last.exception():
            # What a stream has lost is refused with everything behind it, even while nobody can be told.
            raise cast(Exception, self._last.exception())
        accepted = self.accept(message)
        self._last = accepted.written or self._last
        return accepted

    async def _close_with(self, closing: asyncio.Event) -> None:
        await closing.wait()
        self._is_closing = True
        self._arrive(_CLOSING)

    async def _acknowledge(self) -> bool:
        """Acknowledges the next message and those behind it that are settled as well; whether there may be more."""
        settled: list[tuple[Accepted, DeltasApplied]] = []
        while not self._received:
            self._arrived.clear()
            await self._arrived.wait()
        item: object = self._received.popleft()
        try:
            while isinstance(item, Accepted):
                settled.append((item, await self.settle(item)))
                self._room.release()
                item = self._next_settled()
        except OpportuneError as error:
            item = error
        if settled:
            # A question or a resend behind newer messages does not take their acknowledgement back.
            self.acknowledged = max(self.acknowledged, *(applied.acknowledged_sequence for _, applied in settled))
            await self._stream.send(self.response(settled))
        if isinstance(item, Exception):
            raise item
        if item is _CLOSING:
            await self._stream.send(self.closing(CLOSING_REASON))
        return item is None

    def _next_settled(self) -> object:
        """The next item if waiting for it takes no time, else None."""
        if not self._received:
            return None
        waiting = self._received[0]
        if isinstance(waiting, Accepted) and waiting.written is not None and not waiting.written.done():
            return None
        return self._received.popleft()

    def _arrive(self, item: object) -> None:
        self._received.append(item)
        self._arrived.set()
