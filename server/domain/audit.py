"""What is noted of those who change things, and of those who take out or erase what is known of a customer."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol


class Phase(Enum):
    """Where an act is. Acts that must not go unnoticed are noted before they begin."""

    BEGUN = "begun"
    ENDED = "ended"


class AuditEntry(NamedTuple):
    """One act of a caller.

    Attributes:
        time_us: When, in microseconds since 1970.
        caller: Who, as their credentials say it; empty on a server that asks nobody.
        method: What, `ProfileService.EraseProfile`.
        phase: Whether it begins or has ended.
        status: How it ended: OK, or the reason; UNANSWERED if nobody knows how far it came; empty while it begins.
        counts: How much of what.
        details: Names of things, never of customers: a source, a version.
        subjects: Identifiers of customers. They are hashed with the log's key before anything is written.
    """

    time_us: int
    caller: str
    method: str
    phase: Phase
    status: str = ""
    counts: Mapping[str, int] = {}
    details: Mapping[str, str] = {}
    subjects: Sequence[str] = ()


class AuditLog(Protocol):
    """Keeps entries in the order in which they are given, each chained to the one before."""

    async def record(self, entry: AuditEntry) -> None:
        """Writes an entry; it is durable when this returns.

        Raises:
            OpportuneError: AUDIT_FAILED; it was not written.
        """
        ...

    def note(self, entry: AuditEntry) -> None:
        """Writes an entry soon. When that fails it is tried again with the entries that follow."""
        ...
