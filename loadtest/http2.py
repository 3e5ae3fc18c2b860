"""Just enough of an HTTP/2 client to flood a server with gRPC calls: some 10 us a call where grpc.aio needs 100.

A generator shares the machine with the server it is to overload, so it must cost a tenth of it. Every request is bytes
that were made before but for its stream's number, and answers are told apart by what they are made of: a message is an
answer, and of a refusal only the status is looked for. The server is asked to keep no table of headers (RFC 7541, 4.2),
so that each block of headers can be read alone.
"""

import socket
import struct
from collections import deque
from collections.abc import Callable

from loadtest.hpack import literal, status_of

MAX_STREAMS = 1_000

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW_SIZE = 1, 2, 4
_WINDOW = 1 << 30
_READ_BYTES = 1 << 18
_FRAME = struct.Struct(">HBBBL")

OK, RESET = 0, -1

Ended = Callable[[int, int, bytes], None]
"""Takes a stream's number, the status of its call (`RESET`: the stream was cut off), and its message if it is OK."""


class ServerLeftError(Exception):
    """The server has closed a connection or told to leave it."""


def request_headers(path: str, authority: str, timeout_ms: int) -> bytes:
    """The block of headers of a gRPC call, with nothing for a table to keep."""
    return b"".join(
        [
            b"\x83\x86",  # :method POST, :scheme http
            b"\x04" + literal(path),
            b"\x01" + literal(authority),
            b"\x0f\x10" + literal("application/grpc"),  # content-type
            b"\x00" + literal("te") + literal("trailers"),
            b"\x00" + literal("grpc-timeout") + literal(f"{timeout_ms}m"),
        ]
    )


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    size = len(payload)
    return _FRAME.pack(size >> 8, size & 255, kind, flags, stream) + payload


class Request:
    """A call but for its stream's number."""

    __slots__ = ("behind", "between", "size", "start")

    def __init__(self, headers: bytes, message: bytes) -> None:
        body = b"\x00" + struct.pack(">L", len(message)) + message
        self.start = frame(_HEADERS, _END_HEADERS, 0, headers)[:5]
        self.between = headers + frame(_DATA, _END_STREAM, 0, body)[:5]
        self.behind = body
        self.size = len(body)


class Connection:
    """One connection, without blocking. `flying` maps streams to whatever their callers have noted."""

    def __init__(self, address: str, ended: Ended) -> None:
        """Connects to `host:port`, and says hello; `ended` is called for each call that ends."""
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(">HLHLHL", _HEADER_TABLE_SIZE, 0, _ENABLE_PUSH, 0, _INITIAL_WINDOW_SIZE, _WINDOW)
        hello = [_PREFACE, frame(_SETTINGS, 0, 0, settings), frame(_WINDOW_UPDATE, 0, 0, struct.pack(">L", _WINDOW))]
        self.socket.sendall(b"".join(hello))
        self.socket.setblocking(False)
        self.flying: dict[int, float] = {}
        self._ended = ended
        self._messages: dict[int, bytes] = {}
        self._next, self._room, self._taken = 1, 65_535, 0
        self._out: list[bytes] = []
        self._unsent = b""
        self._held: deque[tuple[Request, float]] = deque()
        self._input = b""

    def call(self, request: Request, note: float) -> None:
        """Has a call sent with the next `flush`, or as soon as the server takes more."""
        if self._held or len(self.flying) >= MAX_STREAMS or self._room < request.size:
            self._held.append((request, note))
            return
        stream, self._next = self._next, self._next + 2
        self.flying[stream] = note
        self._room -= request.size
        number = stream.to_bytes(4, "big")
        self._out += (request.start, number, request.between, number, request.behind)

    def flush(self) -> None:
        """Sends as much as the system takes."""
        while self._held and len(self.flying) < MAX_STREAMS and self._room >= self._held[0][0].size:
            held, self._held = self._held, deque()
            request, note = held.popleft()
            self.call(request, note)
            self._held = held
        if self._out or self._unsent:
            pending = self._unsent + b"".join(self._out)
            self._out.clear()
            try:
                sent = self.socket.send(pending)
            except BlockingIOError:
                sent = 0
            self._unsent = pending[sent:]

    @property
    def is_idle(self) -> bool:
        """Whether every call has ended."""
        return not self.flying and not self._held

    def read(self) -> None:
        """Takes in what has arrived.

        Raises:
            ServerLeftError: the connection is over.
        """
        try:
            received = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        if not received:
            raise ServerLeftError("the server has closed the connection")
        data, at = self._input + received, 0
        while len(data) - at >= 9:
            high, low, kind, flags, stream = _FRAME.unpack_from(data, at)
            end = at + 9 + (high << 8 | low)
            if end > len(data):
                break
            self._take(kind, flags, stream, data[at + 9 : end])
            at = end
        self._input = data[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _HEADERS:
            if flags & _END_STREAM:
                message = self._messages.pop(stream, b"")
                self._end(stream, OK if message else status_of(payload), message)
        elif kind == _DATA:
            # An answer may come in pieces, and the size of a message is before it.
            self._messages[stream] = self._messages.get(stream, b"") + payload
            self._give_room(len(payload))
        elif kind == _WINDOW_UPDATE:
            if stream == 0:
                self._room += int.from_bytes(payload, "big")
        elif kind == _RST_STREAM:
            self._messages.pop(stream, None)
            self._end(stream, RESET, b"")
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self._out.append(frame(kind, _ACK, 0, payload if kind == _PING else b""))
        elif kind == _GOAWAY:
            raise ServerLeftError("the server has told to leave the connection")

    def _end(self, stream: int, status: int, message: bytes) -> None:
        if stream in self.flying:
            self._ended(stream, status, message[5:])
            self.flying.pop(stream, None)

    def _give_room(self, size: int) -> None:
        self._taken += size
        if self._taken > _WINDOW // 2:
            self._out.append(frame(_WINDOW_UPDATE, 0, 0, struct.pack(">L", self._taken)))
            self._taken = 0

    def give_up(self) -> list[float]:
        """What was noted of the calls that have not ended, sent or not; what becomes of them is nobody's any more."""
        left = [*self.flying.values(), *(note for _, note in self._held)]
        self.flying.clear()
        self._held.clear()
        return left

    def close(self) -> None:
        """Hangs up."""
        self.socket.close()
