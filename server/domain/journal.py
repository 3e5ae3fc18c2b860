"""The journal: everything that happened, in order. What is in memory is a fold over it.

An entry says what happened and when; applying it looks at no clock and nothing else outside, so that recovery, replay
and a second process all arrive at the same state.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from server.domain.attribute import Schema
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.identity import IdentityPolicy
from server.domain.load import ColumnBatch
from server.domain.profile import ProfileDelta


class CatalogPublished(NamedTuple):
    """A catalog went live. The schema is in it, so that the fold needs neither compiler nor models."""

    time_us: int
    version: int
    etag: str
    text: str
    schema: Schema
    identity: IdentityPolicy


class DeltasReceived(NamedTuple):
    """The good deltas of one request of a source. `sequence` 0: not numbered. Identifying text is not in them."""

    time_us: int
    source: str
    sequence: int
    deltas: tuple[ProfileDelta, ...]


class Rejection(NamedTuple):
    """One delta that was refused: its place in the request, and why. Nothing of the customer."""

    place: int
    reason: str
    message: str


class DeltasRejected(NamedTuple):
    """The bad deltas of one request of a source."""

    time_us: int
    source: str
    sequence: int
    rejections: tuple[Rejection, ...]


class ProfilesLoaded(NamedTuple):
    """Attributes of many customers, as columns."""

    time_us: int
    source: str
    sequence: int
    batch: ColumnBatch


class IdentifiersLinked(NamedTuple):
    """Somebody said that two identifiers are one customer's."""

    time_us: int
    identifier: str
    other: str


class IdentifierUnlinked(NamedTuple):
    """Somebody said that an identifier is not the same customer's as another, or, if that is empty, as any other."""

    time_us: int
    identifier: str
    other: str


class ProfileErased(NamedTuple):
    """A customer was erased. Nothing of the customer: the erasure ledger knows whom, as a keyed hash."""

    time_us: int
    identifiers: int


class Redacted(NamedTuple):
    """Stands where an entry was about an erased customer alone."""

    time_us: int


Entry = (
    CatalogPublished
    | DeltasReceived
    | DeltasRejected
    | ProfilesLoaded
    | IdentifiersLinked
    | IdentifierUnlinked
    | ProfileErased
    | Redacted
)


class Record(NamedTuple):
    """An entry in its place. Offsets start at 1 and have no gaps."""

    offset: int
    entry: Entry


class JournalDamagedError(Exception):
    """What was read is not what was written; the message names file and offset. Never served, never skipped."""


class NewerEntryError(Exception):
    """A newer version wrote what this one cannot read; the message names what."""


def journal_full() -> OpportuneError:
    """Nothing of the batch was kept; the next one may succeed."""
    return OpportuneError(ErrorReason.JOURNAL_FULL, "the journal's disk is full; ranking goes on", retry_after_ms=1_000)


def journal_failed() -> OpportuneError:
    """Nothing can be promised any more: the journal takes nothing until the server is started again."""
    return OpportuneError(
        ErrorReason.JOURNAL_FAILED, "the journal could not be written; ranking goes on", retry_after_ms=10_000
    )


class Journal(Protocol):
    """Keeps entries in order. One writer; `append` is called by one task, and not again before it has returned."""

    @property
    def first(self) -> int:
        """The offset of the oldest entry that is kept; `head + 1` if none is."""
        ...

    @property
    def head(self) -> int:
        """The offset of the last entry that is durable, 0 if there never was one. Survives truncation."""
        ...

    async def append(self, entries: Sequence[Entry]) -> None:
        """Makes entries durable behind the head, all of them or none. Returns when a power cut cannot take them back.

        Raises:
            OpportuneError: JOURNAL_FULL, none was kept and it may be tried again; JOURNAL_FAILED, for good: every
                later call raises it too.
        """
        ...

    async def read(self, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries behind an offset, in order; empty at the end.

        Raises:
            JournalDamagedError: an entry is missing, or is not what was written.
            NewerEntryError: an entry is of a kind or version that this program does not know.
        """
        ...

    async def rejected(self, source: str, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries of the kind `DeltasRejected` behind an offset, of one source or, if empty, of all."""
        ...

    async def mentioning(self, identifiers: Sequence[str], after: int, limit: int) -> list[Record]:
        """Up to `limit` entries behind an offset that may be about any of these identifiers. Reads all of them."""
        ...

    async def rewrite(self, records: Sequence[Record]) -> None:
        """Replaces entries in their places; nothing of the old ones is left on disk when it returns."""
        ...

    async def truncate(self, through: int) -> None:
        """Forgets the entries up to and including an offset, at most up to the head."""
        ...

    async def close(self) -> None:
        """Finishes what was begun and lets go of the files."""
        ...
