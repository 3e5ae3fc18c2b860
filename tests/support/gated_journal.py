"""A journal in memory that a test can hold up, and have fail."""

import asyncio
from collections.abc import Sequence

from server.domain.journal import Entry
from server.storage.memory_journal import MemoryJournal


class GatedJournal(MemoryJournal):
    """Each append waits while the gate is closed; then it fails with the next of `failures`, if there is any.

    Attributes:
        begun: How often `append` was called.
        groups: What was appended at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: list[Exception] = []
        self.begun = 0
        self.groups: list[list[Entry]] = []

    async def append(self, entries: Sequence[Entry]) -> None:
        """Puts entries behind the head, in time."""
        self.begun += 1
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        await super().append(entries)
        self.groups.append(list(entries))


async def turns(count: int = 20) -> None:
    """Lets everybody else do what they can do without waiting."""
    for _ in range(count):
        await asyncio.sleep(0)
