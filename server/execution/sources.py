"""Sources: who sends, how far each has come, and that nothing overtakes what was lost.

Sequences count per source. A message is taken once: what is at or below the watermark, or on its way there, is
acknowledged again and not written twice.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
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
    """

    source: str
    sequence: int
    acknowledges: int
    written: "asyncio.Future[Written] | None"
    rejected: tuple[RejectedDelta, ...] = ()


class Sources:
    """The order of each source's messages."""

    def __init__(self, state: State, writer: Writer) -> None:
        self._state = state
        self._writer = writer
        self._on_their_way: dict[str, tuple[int, asyncio.Future[Written]]] = {}
        self._lost: dict[str, tuple[int, OpportuneError]] = {}

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
        latest, written = self._latest(source)
        if sequence and sequence <= latest:
            return Accepted(source, sequence, max(sequence, watermark), written)
        lost = self._lost.get(source)
        if lost is not None and sequence > lost[0]:
            raise lost[1]
        if lost is not None and sequence:
            del self._lost[source]
        return None

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
            self._on_their_way[source] = (sequence, written)
            written.add_done_callback(partial(self._note_loss, source, sequence))
        return written

    def _latest(self, source: str) -> "tuple[int, asyncio.Future[Written] | None]":
        """The last sequence of a source that is applied or on its way, and what it waits for."""
        on_its_way = self._on_their_way.get(source)
        if on_its_way is not None and not on_its_way[1].done():
            return on_its_way
        self._on_their_way.pop(source, None)
        return self.watermark(source), None

    def _note_loss(self, source: str, sequence: int, written: "asyncio.Future[Written]") -> None:
        error = None if written.cancelled() else written.exception()
        if isinstance(error, OpportuneError):
            self._lost.setdefault(source, (sequence, error))
