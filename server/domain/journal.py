"""The journal: everything that happened, in order. What is in memory is a fold over it.

An entry says what happened and when; applying it looks at no clock and nothing else outside, so that recovery, replay
and a second process all arrive at the same state.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from server.domain.attribute import Schema
from server.domain.contact import DEFAULT_CONTACT_POLICY, ContactPolicy, ContactSubject
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.identity import IdentityPolicy
from server.domain.load import ColumnBatch
from server.domain.outcome import Outcome
from server.domain.profile import ProfileDelta


class CatalogPublished(NamedTuple):
    """A catalog went live. What the fold needs of it is in it, so that the fold needs neither compiler nor models."""

    time_us: int
    version: int
    etag: str
    text: str
    schema: Schema
    identity: IdentityPolicy
    contacts: ContactPolicy = DEFAULT_CONTACT_POLICY


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


class DecisionMade(NamedTuple):
    """One decision, as far as it changes what later ones may show.

    Attributes:
        number: Decisions are numbered in the order in which they were made.
        tag: 64 random bits; number and tag are the decision's id.
        time_us: The time that was decided for.
        profile_version: The last entry that the decision knew; the decisions with lower numbers it knew too.
        customer_id: The identifier that was asked for; empty if the customer was erased since.
        household: The household's key, empty if there is none.
        until_us: Up to when the decision holds what its outcomes have not used.
        shown: What was shown, slot by slot, as places among the entry's subjects.
    """

    number: int
    tag: int
    time_us: int
    profile_version: int
    customer_id: str
    household: str
    until_us: int
    shown: tuple[int, ...]


class DecisionsMade(NamedTuple):
    """Decisions that were made one after the other. They were in force before they were written."""

    time_us: int
    subjects: tuple[ContactSubject, ...]
    decisions: tuple[DecisionMade, ...]


class OutcomesReported(NamedTuple):
    """What callers say has become of decisions. `subjects`: what each outcome without token is about, else None."""

    time_us: int
    outcomes: tuple[Outcome, ...]
    subjects: tuple[ContactSubject | None, ...]


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
    | DecisionsMade
    | OutcomesReported
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

    async def published(self, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries of the kind `CatalogPublished` behind an offset."""
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
