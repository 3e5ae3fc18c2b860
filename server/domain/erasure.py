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


class Cut(NamedTuple):
    """Where an erasure parts a customer from the new one that has the same identifiers afterwards.

    Attributes:
        offset: Of the last entry that belongs to the one who was erased.
        received_us: The time of that entry.
        stored_us: When memory let go of the customer. A little later than `received_us`, as entries wait for the disk:
            what was copied from memory between the two has the customer.
    """

    offset: int
    received_us: int
    stored_us: int


class ErasureLedger(Protocol):
    """Remembers erased identifiers as keyed hashes. It belongs in no backup: it takes away what a backup brings back.

    An erasure is begun, cut and completed. While it is not cut, everything of its identifiers counts as erased: if the
    server is killed then, the erasure takes effect when it starts again.
    """

    def __len__(self) -> int:
        """How many identifiers were ever erased."""
        ...

    @property
    def newest_us(self) -> int:
        """What was stored later than this is nobody's who was erased; 0 if nobody was."""
        ...

    @property
    def offset(self) -> int:
        """The highest offset of a cut: a journal that ends before it has come back from a backup."""
        ...

    @property
    def unfinished(self) -> bool:
        """Whether an erasure was begun and not completed, for example because the server was killed meanwhile."""
        ...

    def covers(self, identifier: str, time_us: int) -> bool:
        """Whether what was received of an identifier at a time, which is its entry's, was erased since."""
        ...

    def covers_stored(self, identifier: str, time_us: int) -> bool:
        """Whether what was stored of an identifier at a time, in a snapshot or in the vault, was erased since."""
        ...

    async def begin(self, identifiers: Sequence[str], time_us: int) -> None:
        """Notes that identifiers are being erased, with everything of them. Durable when it returns.

        Raises:
            OpportuneError: JOURNAL_FULL, and nothing is noted; JOURNAL_FAILED, for good.
        """
        ...

    async def cut(self, identifiers: Sequence[str], cut: Cut) -> None:
        """Notes that what comes behind the cut is a new customer's, unless another erasure was begun since."""
        ...

    async def complete(self, identifiers: Sequence[str], time_us: int) -> None:
        """Notes that nothing is left of what was begun up to a time. Durable when it returns."""
        ...

    async def finish(self, cut: Cut) -> None:
        """Notes that nothing is left of any erasure, and cuts those that were not. Durable when it returns."""
        ...
