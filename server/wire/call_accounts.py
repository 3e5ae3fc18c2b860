"""Accounts of calls: how many, how long, how they ended, told as metrics, log lines and spans.

`begin` is the first of a call's guards and `end` one of its observers. Cost: 1.5 us for both.
"""

from collections import Counter
from collections.abc import Sequence
from time import perf_counter_ns, time_ns

from server.telemetry import metrics
from server.telemetry.call_log import CallLog
from server.telemetry.codes import CODES
from server.telemetry.context import CURRENT, CallContext
from server.telemetry.instruments import Distribution, Distributions
from server.telemetry.sampling import Sampler
from server.telemetry.spans import SpanExporter
from server.telemetry.trace import FinishedCall, Trace
from server.wire.call import Call

_UNGUARDED = {"DEADLINE_EXCEEDED": "DEADLINE_PASSED", "RESOURCE_EXHAUSTED": "OVERLOADED"}
"""Why calls are refused before any guard is asked, by their status codes."""


class CallAccounts:
    """Keeps account of the calls of all methods."""

    def __init__(self, log: CallLog, sampler: Sampler | None = None, exporter: SpanExporter | None = None) -> None:
        """Without sampler and exporter nothing is traced."""
        self._log = log
        self._sampler = sampler
        self._exporter = exporter
        self.durations_s = Distributions(metrics.CALL_SECONDS)
        self.failed: Counter[tuple[str, ...]] = Counter()
        """Failed calls by method and reason; both are few, as nothing that callers send is among them."""
        self._of: dict[str, list[Distribution]] = {}
        self._in_flight: dict[str, int] = {}

    def know(self, paths: Sequence[str]) -> None:
        """Prepares for calls of these methods. Others cannot come."""
        for path in paths:
            self._of[path] = [self.durations_s.of(path[1:], code) for code in CODES]
            self._in_flight[path] = 0

    def in_flight(self) -> dict[tuple[str, ...], int]:
        """How many calls of each method have begun and not ended."""
        return {(path[1:],): count for path, count in self._in_flight.items()}

    def begin(self, path: str, call: Call) -> None:
        """A call has come, and is not too late: see `Guard`. Refuses nothing."""
        CURRENT.set(CallContext(call, None if self._sampler is None else self._sampler(call)))
        self._in_flight[path] += 1

    def end(self, path: str, call: Call, code: int, started_ns: int) -> None:
        """A call has ended: see `Observer`."""
        ended_ns = perf_counter_ns()
        duration_s = (ended_ns - started_ns) * 1e-9
        self._of[path][code].observe(duration_s)
        context = CURRENT.get()
        if context is not None and context.call is call:
            self._in_flight[path] -= 1
        else:
            # It was refused before any guard was asked, and what is found here is of another call.
            context = None
        if code:
            reason = _UNGUARDED.get(CODES[code], CODES[code]) if context is None else context.reason or CODES[code]
            self._log.failed(path, code, reason, duration_s, context)
            self.failed[path[1:], reason] += 1
        elif not self._log.is_silent_on_success:
            self._log.succeeded(path, duration_s, context)
        if context is not None and context.trace is not None and self._exporter is not None:
            self._export(context, context.trace, path, code, (started_ns, ended_ns))

    def _export(self, context: CallContext, trace: Trace, path: str, code: int, times_ns: tuple[int, int]) -> None:
        assert self._exporter is not None
        offset_ns = time_ns() - perf_counter_ns()
        began_ns, ended_ns = times_ns
        finished = FinishedCall(
            trace, path, code, context.reason, began_ns + offset_ns, ended_ns + offset_ns, offset_ns
        )
        self._exporter.put(finished)
