"""What can go wrong, in the product's own words; `wire/status.py` alone knows how gRPC says it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What a caller should do about an error; named like gRPC's canonical codes."""

    INVALID_ARGUMENT = auto()
    NOT_FOUND = auto()
    FAILED_PRECONDITION = auto()
    ABORTED = auto()
    UNAVAILABLE = auto()
    DEADLINE_EXCEEDED = auto()
    RESOURCE_EXHAUSTED = auto()
    INTERNAL = auto()
    UNAUTHENTICATED = auto()
    PERMISSION_DENIED = auto()


class ErrorReason(Enum):
    """Why a call was refused. Names are those of `opportune.v1.ErrorReason`; values are the kinds."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def __new__(cls, kind: Kind) -> "ErrorReason":
        # Several reasons share a kind; a value of their own keeps Enum from making them aliases.
        reason = object.__new__(cls)
        reason._value_ = len(cls.__members__) + 1
        return reason

    MALFORMED_REQUEST = Kind.INVALID_ARGUMENT
    INVALID_FIELD = Kind.INVALID_ARGUMENT
    INVALID_CATALOG = Kind.INVALID_ARGUMENT
    PLACEMENT_NOT_FOUND = Kind.NOT_FOUND
    PROFILE_NOT_FOUND = Kind.NOT_FOUND
    NO_CATALOG = Kind.FAILED_PRECONDITION
    REQUEST_ID_REUSED = Kind.FAILED_PRECONDITION
    ETAG_MISMATCH = Kind.ABORTED
    PROFILE_BEHIND = Kind.UNAVAILABLE
    DEADLINE_PASSED = Kind.DEADLINE_EXCEEDED
    INTERNAL = Kind.INTERNAL
    REQUEST_TOO_LARGE = Kind.RESOURCE_EXHAUSTED
    JOURNAL_FULL = Kind.RESOURCE_EXHAUSTED
    JOURNAL_FAILED = Kind.UNAVAILABLE
    TOO_MANY_REJECTED = Kind.RESOURCE_EXHAUSTED
    TOO_MANY_IDENTIFIERS = Kind.FAILED_PRECONDITION
    NOT_LINKED = Kind.NOT_FOUND
    NO_VAULT = Kind.FAILED_PRECONDITION
    SHUTTING_DOWN = Kind.UNAVAILABLE
    DECISION_NOT_FOUND = Kind.NOT_FOUND
    VERSION_GONE = Kind.FAILED_PRECONDITION
    CATALOG_CHANGED = Kind.ABORTED
    OVERLOADED = Kind.RESOURCE_EXHAUSTED
    CREDENTIALS_MISSING = Kind.UNAUTHENTICATED
    CREDENTIALS_INVALID = Kind.UNAUTHENTICATED
    CREDENTIALS_EXPIRED = Kind.UNAUTHENTICATED
    ROLE_MISSING = Kind.PERMISSION_DENIED
    AUDIT_FAILED = Kind.UNAVAILABLE
    METADATA_TOO_LARGE = Kind.RESOURCE_EXHAUSTED
    STREAM_SILENT = Kind.DEADLINE_EXCEEDED
    OFFER_NOT_FOUND = Kind.NOT_FOUND


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is wrong: its path within the request or document, and what is wrong with it."""

    field: str
    description: str


class OpportuneError(Exception):
    """A call that was refused, with everything that its caller may switch on or read.

    `metadata` holds whatever the sentence varies, never a customer's data.
    """

    def __init__(
        self,
        reason: ErrorReason,
        message: str,
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_ms = retry_after_ms


def invalid_field(field: str, description: str) -> OpportuneError:
    """The error for one field that is wrong."""
    return OpportuneError(
        ErrorReason.INVALID_FIELD, f"{field}: {description}", violations=[Violation(field, description)]
    )
