"""Erasures: who must not come back, and the receipt that says what was removed."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol


class ErasedFrom(NamedTuple):
    """What an erasure removed from one store, in numbers and in words for the customer."""

    store: str
    removed: int
    description: str


class ErasureReceipt(NamedTuple):
    """What an erasure removed, and where: every store is named, also those that held nothing."""

    offset: int
    complete_time: datetime
    identifiers: int
    stores: tuple[ErasedFrom, ...]


class ErasureLedger(Protocol):
    """Remembers erased identifiers as keyed hashes. It belongs in no backup: it undoes what backups bring back."""

    def __len__(self) -> int:
        """How many identifiers were ever erased."""
        ...

    @property
    def newest_us(self) -> int:
        """When the last erasure began, in microseconds since 1970; 0 if there was none."""
        ...

    @property
    def unfinished(self) -> bool:
        """Whether an erasure was begun and not completed, for example because the server was killed meanwhile."""
        ...

    def covers(self, identifier: str, time_us: int) -> bool:
        """Whether what was received of an identifier at a time was erased since."""
        ...

    async def begin(self, identifiers: Sequence[str], time_us: int) -> None:
        """Notes that identifiers are being erased. Durable when it returns."""
        ...

    async def complete(self, time_us: int) -> None:
        """Notes that nothing is left of what was begun up to a time. Durable when it returns."""
        ...
