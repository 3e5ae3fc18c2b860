"""The messages that are published and not yet acknowledged, in order, and the window that bounds them.

It knows nothing of gRPC: publishers put messages in, the delivery takes them out, and acknowledgements settle them.
Everything but the two waits happens between two turns of the event loop, so no cancellation can split it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from opportune.client.ending import reason_of
from opportune.client.errors import PublishError
from opportune.client.ticket import Acknowledgement, Rejection, Ticket
from opportune.v1 import profile_service_pb2 as pb

DEFAULT_MAX_OUTSTANDING = 64
"""The window if neither the caller nor the server names one."""


@dataclass(slots=True)
class Message:
    """One message. `interrupted` once a stream ended while it was on its way."""

    request: pb.StreamProfileDeltasRequest
    future: asyncio.Future[Acknowledgement]
    rejected: dict[int, Rejection] = field(default_factory=dict)
    interrupted: bool = False

    def acknowledge(self, profile_version: int) -> Acknowledgement:
        """Settles its ticket."""
        rejected = tuple(self.rejected[index] for index in sorted(self.rejected))
        known = not self.interrupted
        acknowledgement = Acknowledgement(self.request.sequence, profile_version, rejected, known)
        self.future.set_result(acknowledgement)
        return acknowledgement

    def fail(self, error: PublishError) -> None:
        """Settles its ticket with an error."""
        self.future.set_exception(error)
        # Nobody has to await a ticket, and asyncio would complain about an exception that nobody saw.
        self.future.exception()


class Outbox:
    """Holds at most as many messages as may be outstanding.

    Attributes:
        acknowledged: the highest acknowledged sequence.
        last: the highest sequence that was published or acknowledged.
        numbered: whether it gave out a sequence itself.
        failure: why publishing stopped, once it has.
    """

    def __init__(self, max_outstanding: int | None = None) -> None:
        self.acknowledged = 0
        self.last = 0
        self.numbered = False
        self.failure: PublishError | None = None
        self._own_limit = max_outstanding
        self._limit = max_outstanding or DEFAULT_MAX_OUTSTANDING
        self._sent: deque[Message] = deque()
        self._unsent: deque[Message] = deque()
        self._room, self._work = asyncio.Event(), asyncio.Event()

    def __len__(self) -> int:
        return len(self._sent) + len(self._unsent)

    def check(self) -> None:
        """Raises the error that stopped publishing, if one did."""
        if self.failure is not None:
            # Every raise would lengthen the traceback of the one error otherwise.
            raise self.failure.with_traceback(None)

    async def room(self) -> None:
        """Waits until a message may be put in; only one task may wait."""
        while self.failure is None and len(self) >= self._limit:
            self._room.clear()
            await self._room.wait()
        self.check()

    def put(self, request: pb.StreamProfileDeltasRequest, sequence: int | None) -> Ticket:
        """Puts a message in, for which there is room. Its sequence is above the last one, or given out here."""
        self.numbered |= sequence is None
        self.last = request.sequence = self.last + 1 if sequence is None else sequence
        message = Message(request, asyncio.get_running_loop().create_future())
        self._unsent.append(message)
        self._work.set()
        return Ticket(request.sequence, message.future)

    def newest(self) -> Ticket | None:
        """The ticket that is settled last, if any is outstanding."""
        queue = self._unsent or self._sent
        return Ticket(queue[-1].request.sequence, queue[-1].future) if queue else None

    async def take(self) -> pb.StreamProfileDeltasRequest:
        """Waits for the next message that the window lets onto the stream, and counts it as sent."""
        while not self._unsent or len(self._sent) >= self._limit:
            self._work.clear()
            await self._work.wait()
        message = self._unsent.popleft()
        # Before it is written, as it may be acknowledged before the write returns.
        self._sent.append(message)
        return message.request

    def rewind(self) -> None:
        """A new stream begins: what was sent and not acknowledged is sent again, first."""
        for message in self._sent:
            message.interrupted = True
        self._unsent.extendleft(reversed(self._sent))
        self._sent.clear()

    def limit(self, server_limit: int) -> None:
        """Takes the server's word on how many may be outstanding; 0 says nothing."""
        if server_limit > 0:
            self._limit = min(server_limit, self._own_limit or server_limit)
            self._wake()

    def reject(self, rejected: Sequence[pb.RejectedDelta]) -> None:
        """Notes refused deltas with their messages. One that is acknowledged already is settled, and beyond telling."""
        messages = {message.request.sequence: message for message in (*self._sent, *self._unsent)} if rejected else {}
        for entry in rejected:
            message = messages.get(entry.sequence)
            if message is not None and 0 <= entry.index < len(message.request.deltas):
                delta = message.request.deltas[entry.index]
                message.rejected[entry.index] = Rejection(
                    entry.sequence, entry.index, delta, reason_of(entry.status), entry.status
                )

    def acknowledge(self, sequence: int) -> list[Message]:
        """Takes out the messages up to a sequence, for the caller to settle.

        One that this stream has not had is among them if the server was still working on what an earlier one had.
        """
        acknowledged = []
        for queue in (self._sent, self._unsent):
            while queue and queue[0].request.sequence <= sequence:
                acknowledged.append(queue.popleft())
        self.acknowledged = max(self.acknowledged, sequence)
        self.last = max(self.last, sequence)
        self._wake()
        return acknowledged

    def fail(self, error: PublishError) -> None:
        """Stops for good; the first error counts."""
        if self.failure is not None:
            return
        self.failure = error
        for message in (*self._sent, *self._unsent):
            message.fail(error)
        self._sent.clear()
        self._unsent.clear()
        self._wake()

    def _wake(self) -> None:
        self._room.set()
        self._work.set()
