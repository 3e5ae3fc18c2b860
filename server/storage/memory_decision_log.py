"""The decision log of a server that is to forget everything when it stops."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from server.domain.decision_record import DecisionRecord
from server.execution.state import utc_now_us
from server.storage.decision_codec import Waiting, waiting

MAX_BYTES = 4 * 2**20
"""What is kept by default: some eight hundred decisions. Each is twenty objects that the garbage collector walks: with
eight times as many, a full collection held up everybody for 80 ms."""


class MemoryDecisionLog:
    """`DecisionLog` in memory: the newest records that fit into so many bytes."""

    def __init__(self, max_bytes: int = MAX_BYTES, now_us: Callable[[], int] = utc_now_us) -> None:
        """`now_us` tells the time, for retention."""
        self._now_us = now_us
        self._came_us: dict[int, int] = {}
        self._max_bytes = max_bytes
        self._kept: OrderedDict[int, Waiting] = OrderedDict()
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
        return next((min(record.time_us, self._came_us[number]) for number, (record, _, _) in self._kept.items()), 0)

    def put(self, record: DecisionRecord) -> None:
        """Takes a record; the oldest ones go."""
        try:
            self._kept[record.number] = kept = waiting(record)
        except Exception:  # A record that is none must not keep its decision from being answered.
            self._dropped += 1
            return
        self._came_us[record.number] = self._now_us()
        self._written += 1
        self._bytes += kept[2]
        while self._bytes > self._max_bytes:
            number, (_, _, weight) = self._kept.popitem(last=False)
            self._bytes -= weight
            del self._came_us[number]

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
        return [(self._kept[number][0], self._came_us[number]) for number in numbers[: max(limit, 0)]]

    async def erase(self, identifiers: Sequence[str]) -> int:
        """Removes the records of customers."""
        customers = frozenset(identifiers)
        return self._remove(lambda record: record.query.customer_id in customers)

    async def retain(self, after_us: int) -> int:
        """Forgets records that came before a time."""
        return self._remove(lambda record: self._came_us[record.number] < after_us)

    async def flush(self) -> None:
        """Has nothing to write."""

    async def close(self) -> None:
        """Has nothing to let go of."""

    def _remove(self, which: Callable[[DecisionRecord], bool]) -> int:
        numbers = [number for number, (record, _, _) in self._kept.items() if which(record)]
        for number in numbers:
            self._bytes -= self._kept.pop(number)[2]
            del self._came_us[number]
        return len(numbers)
