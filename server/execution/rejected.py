"""ListRejectedDeltas: what was refused, as the journal has it."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from server.domain.clock import time_of
from server.domain.errors import invalid_field
from server.domain.identifier import require_identifier
from server.domain.journal import DeltasRejected, Journal

DEFAULT_PAGE = 100
MAX_PAGE = 1_000


class RecordedRejection(NamedTuple):
    """A refused delta: where it stood and why it was refused."""

    source: str
    sequence: int
    place: int
    reason: str
    message: str
    receive_time: datetime


class ListRejectedDeltas:
    """Pages through the refused deltas that the journal still has, oldest first."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def __call__(self, source: str, page_size: int, page_token: str) -> tuple[list[RecordedRejection], str]:
        """One page of refused deltas and the token of the next one (empty: none).

        Raises:
            OpportuneError: INVALID_FIELD for source, page size or token.
        """
        if source:
            require_identifier("source", source)
        if page_size < 0:
            raise invalid_field("page_size", "must not be negative")
        size = min(page_size or DEFAULT_PAGE, MAX_PAGE)
        offset, skip = _position(page_token)
        found: list[RecordedRejection] = []
        # One more than the page has, to know whether there is another one. Each entry has at least one rejection.
        for record in await self._journal.rejected(source, offset - 1, size + 1):
            entry = record.entry
            assert isinstance(entry, DeltasRejected)
            for place, rejection in enumerate(_rejections(entry)):
                if record.offset == offset and place < skip:
                    continue
                if len(found) == size:
                    return found, f"{record.offset}.{place}"
                found.append(rejection)
        return found, ""


def _rejections(entry: DeltasRejected) -> Iterator[RecordedRejection]:
    for rejection in entry.rejections:
        yield RecordedRejection(
            entry.source, entry.sequence, rejection.place, rejection.reason, rejection.message, time_of(entry.time_us)
        )


def _position(token: str) -> tuple[int, int]:
    """The offset and the place within its entry at which a page begins."""
    if not token:
        return 1, 0
    offset, _, place = token.partition(".")
    if not (offset.isdecimal() and place.isdecimal() and len(token) < 40):
        raise invalid_field("page_token", "is not a token that ListRejectedDeltas gave")
    return max(int(offset), 1), int(place)
