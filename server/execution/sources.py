"""Sources: who sends, how far each has come, and that nothing overtakes what was lost.

Sequences count per source. A message is taken once: what is at or below the watermark, or on its way there, is
acknowledged again and not written twice.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from server.domain.errors import OpportuneError, invalid_field
from server.domain.identifier import require_identifier
from server.domain.journal import Entry
from server.domain.profile import RejectedDelta
from server.domain.vault import SealedText
from server.execution.state import State
from server.execution.writer import Writer, Written


class Accepted(NamedTuple):
    """A message that has its place in the order.

    Attributes:
        acknowledges: The sequence up to which everything is durable and visible once `written` is done.
        written: None if there was nothing to write and nothing to wait for.
        rejected: The deltas that were refused at once.
        mine: Whether the message was written for this caller, who is told what was refused; others sent it again.
    """

    source: str
    sequence: int
    acknowledges: int
    written: "asyncio.Future[Written] | None"
    rejected: tuple[RejectedDelta, ...] = ()
    mine: bool = True


class _Messages:
    """What one source has sent and is not applied: messages on their way, in order, and those that were lost."""

    __slots__ = ("lost", "on_their_way")

    def __init__(self) -> None:
        self.on_their_way: deque[tuple[int, asyncio.Future[Written]]] = deque()
        self.lost: dict[int, OpportuneError] = {}

    def settle(self) -> None:
        """Takes note of what has become of the messages that were on their way."""
        while self.on_their_way and self.on_their_way[0][1].done():
            sequence, written = self.on_their_way.popleft()
            error = None if written.cancelled() else written.exception()
            if isinstance(error, OpportuneError):
                self.lost[sequence] = error


class Sources:
    """The order of each source's messages."""

    def __init__(self, state: State, writer: Writer) -> None:
        self._state = state
        self._writer = writer
        self._messages: dict[str, _Messages] = {}

    def watermark(self, source: str) -> int:
        """The last sequence of a source that is durable and applied."""
        return self._state.facts.sources.get(source, 0)

    def known(self, source: str, sequence: int, empty: bool) -> Accepted | None:
        """What becomes of a message that brings nothing new; None if it is to be written.

        Raises:
            OpportuneError: INVALID_FIELD; or the error of an earlier message of the source that could not be written
                and has not been sent again yet: acknowledging this one would skip it.
        """
        require_identifier("source", source)
        if sequence < 0:
            raise invalid_field("sequence", "must not be negative")
        watermark = self.watermark(source)
        if empty:
            return Accepted(source, 0, watermark, None)
        messages = self._settled(source)
        if messages is None:
            return Accepted(source, sequence, watermark, None) if 0 < sequence <= watermark else None
        latest, written = messages.on_their_way[-1] if messages.on_their_way else (watermark, None)
        if 0 < sequence <= latest:
            return Accepted(source, sequence, max(sequence, watermark), written, mine=False)
        first_lost = min(messages.lost, default=sequence)
        if sequence > first_lost:
            raise messages.lost[first_lost]
        return None

    def resume(self, source: str) -> None:
        """Lets a source go on behind its watermark with whatever it sends: it begins anew, and asks where it was."""
        messages = self._settled(source)
        if messages is not None:
            messages.lost.clear()

    def write(
        self,
        source: str,
        sequence: int,
        entry: Entry,
        *,
        compiled: object = None,
        sealed: Sequence[SealedText] = (),
        weight: int = 1,
    ) -> "asyncio.Future[Written]":
        """Has a message's entry written; see `Writer.write`."""
        written = self._writer.write(entry, compiled, sealed, weight)
        if sequence:
            messages = self._messages.setdefault(source, _Messages())
            messages.lost.pop(sequence, None)
            messages.on_their_way.append((sequence, written))
        return written

    def _settled(self, source: str) -> _Messages | None:
        """The messages of a source as they are now; None if all of them are applied."""
        messages = self._messages.get(source)
        if messages is None:
            return None
        messages.settle()
        if not messages.on_their_way and not messages.lost:
            del self._messages[source]
            return None
        return messages
