"""The generator's way to a server where several generators share the machine with it.

RankOffers over `http2.py`: a quarter of what a call by grpc.aio takes. Beside a catalog that is compiled, a stream of
deltas and shoppers, a stock client has no core to itself, and what it then waits for would be blamed on the server.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator

import grpc

from loadtest.became import NAMES
from loadtest.http2 import OK, Connection, Request, ServerLeftError, request_headers
from loadtest.transport import CONNECTIONS, DEADLINE_S, METHOD, Kept

_UNAVAILABLE: int = grpc.StatusCode.UNAVAILABLE.value[0]


class LeanTransport:
    """RankOffers on connections of its own; calls go round."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._headers = request_headers(METHOD, address, round(1_000 * DEADLINE_S))
        self._requests: dict[bytes, Request] = {}
        self._waiting: dict[float, asyncio.Future[tuple[int, bytes]]] = {}
        self._numbers = itertools.count()
        self._kept = Kept()
        self._left: set[Connection] = set()
        self._connections = [self._connect(address) for _ in range(CONNECTIONS)]
        self._turns: Iterator[Connection] = itertools.cycle(self._connections)

    def _connect(self, address: str) -> Connection:
        connection = Connection(address, lambda *ended: self._ended(connection, *ended))
        self._loop.add_reader(connection.socket.fileno(), self._read, connection)
        return connection

    async def send(self, payload: bytes) -> str:
        """Sends one serialised request and returns the status' name."""
        request = self._requests.get(payload)
        if request is None:
            request = self._requests[payload] = Request(self._headers, payload)
        number, connection = next(self._numbers), next(self._turns)
        answer = self._waiting[number] = self._loop.create_future()
        connection.call(request, number)
        self._flush(connection)
        try:
            # A little longer than the server has, which knows the deadline too.
            async with asyncio.timeout(DEADLINE_S + 1):
                status, reply = await answer
        except TimeoutError:
            return "DEADLINE_EXCEEDED"
        finally:
            del self._waiting[number]
        if status == OK:
            self._kept.see(reply)
        name: str = NAMES[status]
        return name

    def rungs(self) -> Counter[str]:
        """How often the answers kept since the last time were ranked how thoroughly."""
        return self._kept.rungs()

    async def close(self) -> None:
        """Closes the connections."""
        for connection in self._connections:
            self._loop.remove_reader(connection.socket.fileno())
            connection.close()

    def _read(self, connection: Connection) -> None:
        try:
            connection.read()
        except (ServerLeftError, OSError):
            self._leave(connection)
        # What the server has asked for, and what it has made room for.
        self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        if connection in self._left:
            self._leave(connection)
            return
        try:
            connection.flush()
        except OSError:
            self._leave(connection)

    def _leave(self, connection: Connection) -> None:
        """Ends the calls of a connection that is over."""
        self._left.add(connection)
        self._loop.remove_reader(connection.socket.fileno())
        for number in connection.give_up():
            self._answered(number, _UNAVAILABLE, b"")

    def _ended(self, connection: Connection, stream: int, status: int, message: bytes) -> None:
        self._answered(connection.flying[stream], status, message)

    def _answered(self, number: float, status: int, message: bytes) -> None:
        answer = self._waiting.get(number)
        if answer is not None and not answer.done():
            answer.set_result((status, message))
