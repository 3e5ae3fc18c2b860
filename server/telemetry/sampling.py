"""Which calls are traced: those whose caller is, and a share of those that come without a trace."""

from collections.abc import Callable

from server.telemetry.context import Metadata
from server.telemetry.trace import Trace
from server.telemetry.traceparent import parse

_SHARE_BITS = 53
_FLAGS, _NOT_SAMPLED = 52, "-00"


class Sampler:
    """Decides for each call as it comes: under a microsecond for one that is not sampled."""

    def __init__(self, ratio: float, bits: Callable[[int], int]) -> None:
        """`ratio` is the share of calls without a caller's trace that are traced; `bits` makes random bits."""
        self._below = int(ratio * (1 << _SHARE_BITS))
        self._bits = bits

    def __call__(self, call: Metadata) -> Trace | None:
        """A trace to note things in; None if the call is not sampled."""
        given = call.value("traceparent")
        if given:
            # Most callers sample few of their calls: what these send is not worth parsing.
            if given[_FLAGS:] == _NOT_SAMPLED:
                return None
            parent = parse(given)
            if parent is not None:
                return Trace(parent.trace_id, parent.span_id) if parent.sampled else None
        if self._below and self._bits(_SHARE_BITS) < self._below:
            # An id of zeros means none.
            return Trace(self._bits(128) | 1, 0)
        return None
