"""A trace collector in this process: takes OTLP over HTTP and keeps the spans."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class TraceSink(ThreadingHTTPServer):
    """The spans that were sent, and the bytes they came in; `status` is what senders are answered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Any] = []
        self.received = b""
        self.status = 200
        self.came = threading.Event()

    @property
    def url(self) -> str:
        """What an exporter is given."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self, payload: bytes) -> None:
        """Keeps the spans of a request."""
        self.received += payload
        request = ExportTraceServiceRequest.FromString(payload)
        if self.status == 200:
            self.spans += [
                span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
            ]
        self.came.set()


class _Handler(BaseHTTPRequestHandler):
    server: TraceSink

    def do_POST(self) -> None:
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.take(gzip.decompress(payload) if self.headers.get("Content-Encoding") == "gzip" else payload)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Silent."""


@contextmanager
def trace_sink() -> Iterator[TraceSink]:
    """A collector, while it is entered."""
    with TraceSink() as sink:
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        try:
            yield sink
        finally:
            sink.shutdown()
