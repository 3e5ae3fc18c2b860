"""Which calls are traced: those whose caller is, and a share of those that come without a trace."""

from collections.abc import Callable

from server.telemetry.context import Metadata
from server.telemetry.trace import Trace
from server.telemetry.traceparent import parse

_SHARE_BITS = 53


class Sampler:
    """Decides for each call as it comes. Without a `traceparent` that costs under a microsecond."""

    def __init__(self, ratio: float, bits: Callable[[int], int]) -> None:
        """`ratio` is the share of calls without a caller's trace that are traced; `bits` makes random bits."""
        self._below = int(ratio * (1 << _SHARE_BITS))
        self._bits = bits

    def __call__(self, call: Metadata) -> Trace | None:
        """A trace to note things in; None if the call is not sampled."""
        parent = parse(call.value("traceparent"))
        if parent is not None:
            return Trace(parent.trace_id, parent.span_id) if parent.sampled else None
        if self._below and self._bits(_SHARE_BITS) < self._below:
            # An id of zeros means none.
            return Trace(self._bits(128) | 1, 0)
        return None
