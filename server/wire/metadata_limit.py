"""How much metadata a call may bring: transports refuse more than 16 KiB, this refuses many small entries within."""

from server.domain.errors import ErrorReason, OpportuneError
from server.wire.call import Call

MAX_ENTRIES = 128
"""Meshes, tracing and credentials together send a few dozen."""


def limit_metadata(path: str, call: Call) -> None:
    """See `Guard`."""
    if len(call.metadata) > MAX_ENTRIES:
        message = f"the call has {len(call.metadata):,} entries of metadata; at most {MAX_ENTRIES} are taken"
        raise OpportuneError(ErrorReason.METADATA_TOO_LARGE, message, {"limit_entries": str(MAX_ENTRIES)})
