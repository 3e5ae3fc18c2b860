"""The W3C header `traceparent`: which trace a call belongs to, and whether it is sampled.

https://www.w3.org/TR/trace-context/
"""

import re
from typing import NamedTuple

_FORMAT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_INVALID_VERSION = "ff"


class Traceparent(NamedTuple):
    """The caller's span."""

    trace_id: int
    span_id: int
    sampled: bool


def parse(text: str) -> Traceparent | None:
    """The caller's span; None for a header that is missing or that the specification has us ignore."""
    match = _FORMAT.fullmatch(text) if text else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    # Later versions may have more at the end; version 00 has not.
    if version == _INVALID_VERSION or (version == "00" and more is not None):
        return None
    parent = Traceparent(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & 1))
    return parent if parent.trace_id and parent.span_id else None
