"""Publishes profile deltas: numbered, bounded, in order, over however many streams it takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Self

from grpc import aio
from opportune.client.backoff import Backoff
from opportune.client.channel import open_channel
from opportune.client.delivery import Delivery, fault
from opportune.client.errors import PublisherClosedError, PublishError
from opportune.client.outbox import Outbox
from opportune.client.ticket import Acknowledgement, Rejection, Ticket
from opportune.v1 import profile_pb2
from opportune.v1 import profile_service_pb2 as pb

MAX_DELTAS = 1_000
"""In one message."""

MAX_MESSAGE_BYTES = 1024 * 1024
"""Of one message; the server refuses a larger one."""

MAX_SEQUENCE = 2**63 - 1

_SEQUENCE_BYTES = 10
"""What the sequence, which is given out last, adds to a message at most."""

_STEADY = Backoff()


class Publisher:
    """Publishes the deltas of one source. Enter it, publish, and leave it: leaving waits for the acknowledgements.

    It reconnects by itself, waits as long as the server asks, and sends again what was not acknowledged; the server
    applies a sequence once. What a retry cannot mend fails every outstanding ticket and every later call with one
    PublishError. At most as many messages as may be outstanding are held in memory.

    Use it in one event loop; any number of its tasks may publish. Use one publisher for a source at a time.
    """

    def __init__(
        self,
        target: str | aio.Channel,
        *,
        source: str,
        token: str | Callable[[], str] | None = None,
        tls_ca: bytes | None = None,
        max_outstanding: int | None = None,
        on_rejected: Callable[[Rejection], object] | None = None,
        continue_after_loss: bool = False,
        backoff: Backoff = _STEADY,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Connects to nothing yet.

        Args:
            target: `HOST:PORT` for a channel of its own, or a channel, which stays the caller's.
            source: the producer's stable name; sequences count per source.
            token: the caller's token, or what gives one for each stream: then a token that expires is replaced, and
                publishing goes on.
            tls_ca: PEM of who signed the server's certificate, for a channel of its own with TLS.
            max_outstanding: at most so many messages without acknowledgement; the server's limit holds as well.
            on_rejected: called with every delta that was refused, before its ticket is settled.
            continue_after_loss: go on, and log it, when the server has lost what it had acknowledged.
            backoff: how long to wait between attempts.
            clock: seconds, for how long a stream lived.
            sleep: waits that many seconds.
        """
        if tls_ca is not None and not isinstance(target, str):
            raise ValueError("a channel has its own TLS")
        if max_outstanding is not None and max_outstanding < 1:
            raise ValueError("max_outstanding is at least 1")
        self._channel = open_channel(target, tls_ca) if isinstance(target, str) else None
        self._outbox = Outbox(max_outstanding)
        self._delivery = Delivery(
            self._channel or target,
            source,
            self._outbox,
            token=token,
            on_rejected=on_rejected,
            continue_after_loss=continue_after_loss,
            backoff=backoff,
            clock=clock,
            sleep=sleep,
        )
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def acknowledged_sequence(self) -> int:
        """Everything of the source up to here is durable and visible: where a producer of its own sequences resumes."""
        return self._outbox.acknowledged

    @property
    def profile_version(self) -> int:
        """The server's latest, for `min_profile_version`."""
        return self._delivery.profile_version

    @property
    def outstanding(self) -> int:
        """How many messages are published and not acknowledged."""
        return len(self._outbox)

    async def publish(self, deltas: Iterable[profile_pb2.ProfileDelta], sequence: int | None = None) -> Ticket:
        """Takes one message on as soon as there is room for it, in the order of the calls.

        Once it returns, the message is delivered unless publishing stops for good. Cancelling it while it waits takes
        the message back whole: no sequence is used up.

        Args:
            deltas: 1 to 1,000, at most 1 MiB together.
            sequence: the caller's own, for example an offset, above all before; at or below `acknowledged_sequence` the
                message has been applied, and its ticket is settled at once. Default: the next one.

        Raises:
            ValueError: the deltas are too many, too few or too large, or the sequence is not above the last one.
            PublishError: publishing has stopped.
        """
        request = _request(deltas)
        self._check()
        if (ticket := self._applied(sequence)) is not None:
            return ticket
        async with self._turn:
            await self._outbox.room()
            # Nothing is waited for from here on. What was acknowledged meanwhile needs no place.
            return self._applied(sequence) or self._put(request, sequence)

    async def flush(self) -> None:
        """Waits until everything that was published before is acknowledged.

        Raises:
            PublishError: publishing has stopped.
        """
        self._check()
        if (newest := self._outbox.newest()) is not None:
            await newest

    async def __aenter__(self) -> Self:
        """Connects, and waits until the server has said where the source left off, however long that takes."""
        if self._task is not None:
            raise RuntimeError("a publisher is entered once; make another one")
        self._task = asyncio.create_task(self._delivery.run())
        self._task.add_done_callback(self._stopped)
        try:
            await self._delivery.opened.wait()
            self._outbox.check()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Flushes and closes. After an exception it does not wait: what is outstanding fails with its tickets."""
        try:
            if kind is None:
                await self.flush()
        finally:
            await self._close()

    def _check(self) -> None:
        if self._task is None:
            raise RuntimeError("enter the publisher with `async with` first")
        self._outbox.check()

    def _applied(self, sequence: int | None) -> Ticket | None:
        """The settled ticket of a message that the server has already."""
        if sequence is None or sequence > self._outbox.acknowledged:
            return None
        _check_sequence(sequence, above=0)
        future: asyncio.Future[Acknowledgement] = asyncio.get_running_loop().create_future()
        future.set_result(Acknowledgement(sequence, self.profile_version, rejections_known=False))
        return Ticket(sequence, future)

    def _put(self, request: pb.StreamProfileDeltasRequest, sequence: int | None) -> Ticket:
        if sequence is not None:
            _check_sequence(sequence, above=self._outbox.last)
        return self._outbox.put(request, sequence)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """Lets nobody wait for a delivery that has ended, for whatever reason."""
        error = None if task.cancelled() else task.exception()
        match error:
            case None:
                # By us, or by grpc because the caller closed the channel.
                self._outbox.fail(PublisherClosedError())
            case PublishError():
                self._outbox.fail(error)
            case _:
                self._outbox.fail(fault(error))
        self._delivery.opened.set()

    async def _close(self) -> None:
        self._outbox.fail(PublisherClosedError())
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._channel is not None:
            await self._channel.close()


def _request(deltas: Iterable[profile_pb2.ProfileDelta]) -> pb.StreamProfileDeltasRequest:
    """A message without sequence. It copies the deltas, so the caller may go on to change them."""
    request = pb.StreamProfileDeltasRequest(deltas=deltas)
    if not 1 <= len(request.deltas) <= MAX_DELTAS:
        raise ValueError(f"a message has 1 to {MAX_DELTAS} deltas, not {len(request.deltas)}")
    if request.ByteSize() + _SEQUENCE_BYTES > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message has at most {MAX_MESSAGE_BYTES} bytes; these deltas have {request.ByteSize()}")
    return request


def _check_sequence(sequence: int, above: int) -> None:
    if not above < sequence <= MAX_SEQUENCE:
        raise ValueError(f"sequences increase: {sequence} is not between {above + 1} and {MAX_SEQUENCE}")
