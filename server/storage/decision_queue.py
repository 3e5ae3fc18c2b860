"""Records of decisions that wait to be written: bounded, and never in the way of a decision."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain

from server.domain.decision_record import DecisionRecord
from server.storage.decision_codec import Waiting, waiting

GROUP_RECORDS = 256
"""Written at once, and decoded to find one of them: more would save little."""


class DecisionQueue:
    """Takes records until they weigh too much together. Those that are being written weigh too."""

    def __init__(self, max_bytes: int) -> None:
        self.dropped = 0
        self._max_bytes = max_bytes
        self._bytes = 0
        self._waiting: list[Waiting] = []
        self._taken: list[Waiting] = []
        self._arrived = asyncio.Event()
        self._enough = asyncio.Event()

    def __len__(self) -> int:
        """How many wait and are not taken."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[DecisionRecord]:
        """The records that are being written and those that wait."""
        return (record for record, _, _ in chain(self._taken, self._waiting))

    def put(self, record: DecisionRecord) -> None:
        """Takes a record, or drops and counts it."""
        try:
            taken = waiting(record)
        except Exception:  # A record that cannot be written must not keep its decision from being answered.
            self.dropped += 1
            return
        size = self._bytes + taken[2]
        if size > self._max_bytes:
            self.dropped += 1
            return
        self._bytes = size
        self._waiting.append(taken)
        count = len(self._waiting)
        if count == 1:
            self._arrived.set()
        elif count == GROUP_RECORDS:
            self._enough.set()

    async def gathered(self, longest_s: float) -> None:
        """Returns when enough records wait to be written together, or some have waited so long."""
        await self._arrived.wait()
        if len(self) < GROUP_RECORDS:
            with suppress(TimeoutError):
                async with asyncio.timeout(longest_s):
                    await self._enough.wait()

    def take(self) -> Sequence[Waiting]:
        """The records to write next; they stay here until they are `done`."""
        self._taken = self._waiting[:GROUP_RECORDS]
        del self._waiting[:GROUP_RECORDS]
        self._enough.clear()
        if not self._waiting:
            self._arrived.clear()
        return self._taken

    def done(self) -> None:
        """Lets go of the records that were taken, whatever has become of them."""
        self._bytes -= sum(weight for _, _, weight in self._taken)
        self._taken = []

    def remove(self, which: Callable[[DecisionRecord], bool]) -> int:
        """Takes out records that wait and are not taken; returns how many."""
        weights = [weight for record, _, weight in self._waiting if which(record)]
        self._waiting = [each for each in self._waiting if not which(each[0])]
        self._bytes -= sum(weights)
        return len(weights)

    def close(self) -> None:
        """Drops what comes from now on, and lets nobody wait for it."""
        self._max_bytes = -1
        self._arrived.set()
        self._enough.set()
