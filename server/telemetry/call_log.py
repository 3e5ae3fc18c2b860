"""A log line for calls: for each that failed, by its reason and within a limit; for a sample of the others.

No line has an identifier, a value or an error's sentence in it. Whoever looks for a customer has the hash.
"""

import logging
from collections.abc import Callable
from typing import Any

from server.domain.decision import Decision
from server.telemetry.codes import CODES
from server.telemetry.context import CallContext
from server.telemetry.logs import Pseudonyms, RateLimit

LINES = 10
WINDOW_S = 10.0
"""So many lines for each method and reason are written in so many seconds."""

_FAULTS = frozenset({2, 13, 15})
_WORTH_A_LOOK = frozenset({4, 7, 8, 14, 16})
_LOG = logging.getLogger(__name__)


class CallLog:
    """Writes lines for calls that have ended."""

    def __init__(
        self, sample: float, pseudonyms: Pseudonyms, share: Callable[[], float], limit: RateLimit | None = None
    ) -> None:
        """`sample` is the share of successful calls that get a line; `share` draws a number in [0, 1)."""
        self._sample = sample
        self._pseudonyms = pseudonyms
        self._share = share
        self.limit = limit or RateLimit(LINES, WINDOW_S)
        self._tells_all = _LOG.isEnabledFor(logging.DEBUG)
        self.is_silent_on_success = not sample and not self._tells_all

    def succeeded(self, path: str, duration_s: float, context: CallContext | None) -> None:
        """A call went well. Do not ask where `is_silent_on_success`."""
        if self._sample and self._share() < self._sample:
            self._write(logging.INFO, path, {"code": "OK"}, duration_s, context)
        elif self._tells_all:
            self._write(logging.DEBUG, path, {"code": "OK"}, duration_s, context)

    def failed(self, path: str, code: int, reason: str, duration_s: float, context: CallContext | None) -> None:
        """A call ended with another code than OK."""
        suppressed = self.limit.take((path, code, reason))
        if suppressed is None:
            return
        level = logging.ERROR if code in _FAULTS else logging.WARNING if code in _WORTH_A_LOOK else logging.INFO
        fields: dict[str, Any] = {"code": CODES[code], "reason": reason}
        if suppressed:
            fields["suppressed"] = suppressed
        self._write(level, path, fields, duration_s, context)

    def _write(
        self, level: int, path: str, fields: dict[str, Any], duration_s: float, context: CallContext | None
    ) -> None:
        fields = {"method": path, **fields, "duration_ms": round(duration_s * 1e3, 3)}
        if context is not None:
            if context.parent is not None:
                fields["trace_id"] = f"{context.parent.trace_id:032x}"
            if context.decision is not None:
                fields |= self._decision(context.decision)
        _LOG.log(level, "call", extra={"fields": fields})

    def _decision(self, decision: Decision) -> dict[str, Any]:
        return {
            "decision_id": decision.decision_id,
            "customer": self._pseudonyms(decision.customer_id),
            "placement": decision.placement_id,
            "result": decision.result.name,
            "rung": decision.rung.name,
            "offers": len(decision.ranking.shown),
        }
