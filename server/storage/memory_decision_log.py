"""The decision log of a server that is to forget everything when it stops."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from server.domain.decision_record import DecisionRecord
from server.execution.state import utc_now_us
from server.storage.decision_codec import waiting

MAX_BYTES = 4 * 2**20
"""What is kept by default: some eight hundred decisions. Each is twenty objects that the garbage collector walks: with
eight times as many, a full collection held up everybody for 80 ms."""


_Kept = tuple[DecisionRecord, int, int]
"""A record, when it came, and how many bytes of memory it takes; a plain tuple, as one is made for every decision."""


class MemoryDecisionLog:
    """`DecisionLog` in memory: the newest records that fit into so many bytes."""

    def __init__(self, max_bytes: int = MAX_BYTES, now_us: Callable[[], int] = utc_now_us) -> None:
        """`now_us` tells the time, for retention."""
        self._now_us = now_us
        self._max_bytes = max_bytes
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._bytes = 0
        self._written = 0
        self._dropped = 0

    @property
    def written(self) -> int:
        """How many records were taken."""
        return self._written

    @property
    def dropped(self) -> int:
        """How many records could not be written anywhere else either."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """None: they are kept at once."""
        return 0

    @property
    def oldest(self) -> int:
        """The time of the oldest record."""
        return next((min(record.time_us, came_us) for record, came_us, _ in self._kept.values()), 0)

    def put(self, record: DecisionRecord) -> None:
        """Takes a record; the oldest ones go."""
        try:
            _, _, weight = waiting(record)
        except Exception:  # A record that is none must not keep its decision from being answered.
            self._dropped += 1
            return
        self._kept[record.number] = (record, self._now_us(), weight)
        self._written += 1
        self._bytes += weight
        while self._bytes > self._max_bytes:
            _, (_, _, weight) = self._kept.popitem(last=False)
            self._bytes -= weight

    async def last_number(self) -> int:
        """The highest number."""
        return max(self._kept, default=0)

    async def find(self, number: int, tag: int) -> DecisionRecord | None:
        """The record of a decision."""
        kept = self._kept.get(number)
        return None if kept is None or kept[0].tag != tag else kept[0]

    async def between(self, first: int, last: int, limit: int) -> list[DecisionRecord]:
        """Up to `limit` records of a range of numbers, in their order."""
        return [record for record, _ in await self.stored(first, last, limit)]

    async def stored(self, first: int, last: int, limit: int) -> list[tuple[DecisionRecord, int]]:
        """Up to `limit` records of a range of numbers, each with when it came."""
        numbers = sorted(number for number in self._kept if first <= number <= last)
        return [self._kept[number][:2] for number in numbers[: max(limit, 0)]]

    async def erase(self, identifiers: Sequence[str]) -> int:
        """Removes the records of customers."""
        customers = frozenset(identifiers)
        return self._remove(lambda record, came_us: record.query.customer_id in customers)

    async def retain(self, after_us: int) -> int:
        """Forgets records that came before a time."""
        return self._remove(lambda record, came_us: came_us < after_us)

    async def flush(self) -> None:
        """Has nothing to write."""

    async def close(self) -> None:
        """Has nothing to let go of."""

    def _remove(self, which: Callable[[DecisionRecord, int], bool]) -> int:
        numbers = [number for number, (record, came_us, _) in self._kept.items() if which(record, came_us)]
        for number in numbers:
            self._bytes -= self._kept.pop(number)[2]
        return len(numbers)
