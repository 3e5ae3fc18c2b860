"""The port for whoever watches: `/metrics`, `/livez` and `/readyz` over HTTP, from threads of its own.

Threads, as `/livez` must answer when the event loop does not. They only wait: what is read is read on the loop.
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import TimeoutError as LateError
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from time import monotonic
from typing import Any, NamedTuple

from server.telemetry.exposition import Page

ALIVE_S = 5.0
"""A loop that has not come round for so long is taken for dead."""

MOST_AT_ONCE = 16
ASKED_S = 5.0
"""Within how long a caller has to say what it wants, all of it."""

_SCRAPE_S = 5.0
_POLL_S = 0.2
_TEXT = "text/plain; charset=utf-8"


class Probes(NamedTuple):
    """What is asked by the port's threads, and the scrape, which is asked on the loop.

    Attributes:
        render: The metrics, for an `Accept` header.
        idle_s: How long ago the loop came round; 0 while the server starts, which has a probe of its own.
        is_ready: Whether the server has caught up and takes calls.
    """

    render: Callable[[str], Awaitable[Page]]
    idle_s: Callable[[], float]
    is_ready: Callable[[], bool]


class WatchPort:
    """An HTTP server on `HOST:PORT`, open for as long as it is entered."""

    def __init__(self, address: str, probes: Probes) -> None:
        """Binds the address; port 0 takes a free one.

        Raises:
            RuntimeError: it cannot be bound.
        """
        host, _, port = address.rpartition(":")
        self._probes = probes
        try:
            self._server = _Server((host.strip("[]"), int(port)), self)
        except OSError as error:
            raise RuntimeError(f"cannot listen on {address}: {error.strerror}") from error
        self.port: int = self._server.server_address[1]

    async def __aenter__(self) -> "WatchPort":
        self._loop = asyncio.get_running_loop()
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(_POLL_S,), name="watch-port", daemon=True).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        # A scrape that waits for this loop would keep its thread from ending.
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()

    def answer(self, path: str, accept: str) -> tuple[int, Page]:
        """Status and content for a path, on a thread of the port."""
        if path == "/livez":
            return _said(self._probes.idle_s() < ALIVE_S, "alive", "the event loop does not come round")
        if path == "/readyz":
            return _said(self._probes.is_ready(), "ready", "not ready")
        if path == "/metrics":
            return self._scraped(accept)
        return 404, Page(b"/metrics, /livez, /readyz\n", _TEXT)

    def _scraped(self, accept: str) -> tuple[int, Page]:
        async def render() -> Page:
            return await self._probes.render(accept)

        rendering = render()
        try:
            waiting = asyncio.run_coroutine_threadsafe(rendering, self._loop)
        except RuntimeError:
            rendering.close()
            return _said(False, "", "the server has stopped")
        try:
            return 200, waiting.result(_SCRAPE_S)
        except LateError:
            waiting.cancel()
            return _said(False, "", "the event loop does not come round")


def _said(good: bool, yes: str, no: str) -> tuple[int, Page]:
    return (200, Page(f"{yes}\n".encode(), _TEXT)) if good else (503, Page(f"{no}\n".encode(), _TEXT))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_AT_ONCE

    def __init__(self, address: tuple[str, int], port: WatchPort) -> None:
        self.watch_port = port
        self._room = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._asking_since_s: dict[Any, float] = {}
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Binds the address, without asking the DNS for a name that nobody needs."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers in a thread; beyond so many at once, not at all."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._asking_since_s[request] = monotonic()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers, and makes room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.asked(request)
            self._room.release()

    def asked(self, request: Any) -> None:
        """A caller has said what it wants, or has gone."""
        self._asking_since_s.pop(request, None)

    def service_actions(self) -> None:
        """Hangs up on those who take too long to ask, also if they say a byte now and then; several times a second."""
        latest_s = monotonic() - ASKED_S
        for request, since_s in list(self._asking_since_s.items()):
            if since_s <= latest_s:
                # Its thread, which waits for more, comes to the end then. It may just have closed it.
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever leaves in the middle is none of our business."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 5  # of a caller who does not take its answer
    server_version, sys_version = "opportune", ""

    def do_GET(self) -> None:
        self.server.asked(self.connection)
        status, page = self.server.watch_port.answer(self.path.partition("?")[0], self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", page.media_type)
        self.send_header("Content-Length", str(len(page.content)))
        self.end_headers()
        self.wfile.write(page.content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Probes come every few seconds; nobody wants to read of them."""
