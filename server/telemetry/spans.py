"""Spans: sampled calls are sent to a trace collector (OTLP over HTTP) by a thread of its own.

The event loop only puts a note of what happened into a queue. OpenTelemetry is imported when an endpoint is given, as
it takes some 15 MiB and a second.
"""

import logging
import random
import threading
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from server.telemetry.codes import CODES
from server.telemetry.trace import DecisionNote, FinishedCall

MOST_WAITING = 2_048
AT_ONCE = 32
"""Calls made into spans in one go: the thread holds the GIL meanwhile, for about a millisecond."""

_CLOSING_S = 1.0
_LOG = logging.getLogger(__name__)


class SpanExporter:
    """Sends what is `put`; what the collector does not take is lost and counted."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is the collector's URL; without a path, `/v1/traces` is meant."""
        self.exported = 0
        self.dropped = 0
        self._queue: SimpleQueue[FinishedCall | None] = SimpleQueue()
        url = endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + "/v1/traces"
        self._thread = threading.Thread(target=self._run, args=(url,), name="span-exporter", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def put(self, call: FinishedCall) -> None:
        """Takes a call that has ended; never waits."""
        if self._queue.qsize() >= MOST_WAITING:
            self.dropped += _spans_in(call)
            return
        self._queue.put(call)

    def close(self) -> None:
        """Sends what waits, for a second at most."""
        self._queue.put(None)
        self._thread.join(_CLOSING_S)

    def _run(self, url: str) -> None:
        spans = _Spans(url)
        ended = False
        while not ended:
            calls, ended = self._gathered()
            if calls:
                count = sum(map(_spans_in, calls))
                if spans.send(calls):
                    self.exported += count
                else:
                    self.dropped += count

    def _gathered(self) -> tuple[list[FinishedCall], bool]:
        """The calls to send next, at least one unless it is over, and whether it is."""
        calls: list[FinishedCall] = []
        item = self._queue.get()
        while item is not None:
            calls.append(item)
            if len(calls) == AT_ONCE:
                return calls, False
            try:
                item = self._queue.get(timeout=0.2)
            except Empty:
                return calls, False
        return calls, True


def _spans_in(call: FinishedCall) -> int:
    return 1 + sum(max(len(decision.marks_ns) - 1, 0) for decision in call.trace.decisions)


class _Spans:
    """Makes OpenTelemetry's spans. All of it belongs to the thread."""

    def __init__(self, url: str) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.trace.export import SpanExportResult
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._api, self._span, self._done = trace, ReadableSpan, SpanExportResult.SUCCESS
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=5)
        self._resource = Resource.create({"service.name": "opportune"})
        self._scope = InstrumentationScope("opportune")

    def send(self, calls: list[FinishedCall]) -> bool:
        """Whether the collector has taken these calls."""
        try:
            spans = [span for call in calls for span in self._of(call)]
            return bool(self._exporter.export(spans) is self._done)
        except Exception as error:
            _LOG.warning("spans are lost: %s", type(error).__name__)
            return False

    def _of(self, call: FinishedCall) -> list[Any]:
        trace, api = call.trace, self._api
        own = self._context(trace.trace_id)
        parent = self._context(trace.trace_id, trace.parent_id) if trace.parent_id else None
        service, _, method = call.path.strip("/").partition("/")
        attributes: dict[str, Any] = {
            "rpc.system": "grpc", "rpc.service": service, "rpc.method": method, "rpc.grpc.status_code": call.code,
        }  # fmt: skip
        if call.reason:
            attributes["opportune.reason"] = call.reason
        status = api.Status(api.StatusCode.ERROR, CODES[call.code]) if call.code else api.Status()
        root = self._made(
            call.path.strip("/"),
            own,
            parent,
            attributes,
            (call.began_ns, call.ended_ns),
            kind=api.SpanKind.SERVER,
            status=status,
        )
        stages = [span for note in trace.decisions for span in self._stages(note, own, call.clock_offset_ns)]
        return [root, *stages]

    def _stages(self, note: DecisionNote, parent: Any, offset_ns: int) -> list[Any]:
        attributes = {
            "opportune.result": note.result, "opportune.rung": note.rung, "opportune.model": note.model,
        }  # fmt: skip
        return [
            self._made(
                name, self._context(parent.trace_id), parent, attributes, (began_ns + offset_ns, ended_ns + offset_ns)
            )
            for name, began_ns, ended_ns in zip(note.stages, note.marks_ns, note.marks_ns[1:], strict=False)
        ]

    def _made(
        self,
        name: str,
        context: Any,
        parent: Any,
        attributes: dict[str, Any],
        times_ns: tuple[int, int],
        *,
        kind: Any = None,
        status: Any = None,
    ) -> Any:
        api = self._api
        return self._span(
            name=name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            kind=kind or api.SpanKind.INTERNAL,
            status=status or api.Status(),
            start_time=times_ns[0],
            end_time=times_ns[1],
            instrumentation_scope=self._scope,
        )

    def _context(self, trace_id: int, span_id: int = 0) -> Any:
        """The identity of a span of this trace; without an id, of a new one."""
        api, is_remote = self._api, span_id != 0
        return api.SpanContext(trace_id, span_id or random.getrandbits(64) | 1, is_remote, api.TraceFlags(1))
