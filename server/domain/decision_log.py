"""The decision log: what was decided, of what, and why, for as long as retention says.

It is not the journal. Nothing is built on it, so it may lose the last moments in a crash, and it drops records rather
than let a decision wait or memory grow.
"""

from collections.abc import Sequence
from typing import Protocol

from server.domain.decision_record import DecisionRecord


class DecisionLog(Protocol):
    """Keeps records of decisions. All methods belong to one event loop."""

    @property
    def written(self) -> int:
        """How many records were kept since the log was opened."""
        ...

    @property
    def dropped(self) -> int:
        """How many records were put and not kept since the log was opened; those of erased customers do not count."""
        ...

    @property
    def waiting(self) -> int:
        """How many records were put, and are neither kept nor dropped yet."""
        ...

    @property
    def oldest(self) -> int:
        """The `time_us` of the oldest record that is kept, or when it came if that is earlier; 0 if none is kept."""
        ...

    def put(self, record: DecisionRecord) -> None:
        """Takes a record to be kept soon, or drops and counts it. Never waits, never raises, costs about a microsecond.

        The record can be found at once.
        """
        ...

    async def last_number(self) -> int:
        """The highest number of any record that is kept, 0 if none is: the next decision is numbered behind it.

        Raises:
            OSError: the file cannot be read now.
        """
        ...

    async def find(self, number: int, tag: int) -> DecisionRecord | None:
        """The record of a decision; None if there is none, or if its tag is another.

        Raises:
            JournalDamagedError: what was read is not what was written; names the file and the batch.
            NewerEntryError: a newer server wrote it.
            OSError: the file cannot be read now.
        """
        ...

    async def between(self, first: int, last: int, limit: int) -> list[DecisionRecord]:
        """Up to `limit` records of the numbers from `first` to `last`, in order of their numbers.

        Raises:
            JournalDamagedError, NewerEntryError, OSError: as `find`.
        """
        ...

    async def stored(self, first: int, last: int, limit: int) -> list[tuple[DecisionRecord, int]]:
        """As `between`, each with the time by which it was stored: one may be decided for any other time.

        Raises:
            JournalDamagedError, NewerEntryError, OSError: as `find`.
        """
        ...

    async def erase(self, identifiers: Sequence[str]) -> int:
        """Removes every record of these customers that was put before the call; returns how many.

        Nothing of them is left on disk when it returns but numbers of decisions, which say nothing of anybody.

        Raises:
            JournalDamagedError, OSError: some may be left; it may be tried again.
        """
        ...

    async def retain(self, after_us: int) -> int:
        """Forgets records that came before a time, as far as whole batches did; returns how many.

        Raises:
            JournalDamagedError, OSError: some may be left; it may be tried again.
        """
        ...

    async def flush(self) -> None:
        """Returns when everything that was put before has been kept or dropped. Not a promise against a power cut."""
        ...

    async def close(self) -> None:
        """Writes what waits, and lets go of the files."""
        ...
