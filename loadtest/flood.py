"""The flood: a generator that can offer several times what a server can do, in a process of its own.

`python -m loadtest.flood ADDRESS FILE`, with requests in FILE as for `loadtest.generator`; commands and results are
lines of JSON. It is one thread that wakes every millisecond, sends what is due, and reads what has come (`http2.py`).
"""

import gc
import itertools
import json
import select
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from opportune.v1.decision_pb2 import Decision, Rung
from opportune.v1.decision_service_pb2 import RankOffersResponse

from loadtest.became import BUCKET_S, LOST, Row, became_of, percentile_ms
from loadtest.generator import read_payloads
from loadtest.http2 import OK, Connection, Request, request_headers
from loadtest.open_loop import poisson
from loadtest.transport import METHOD

CONNECTIONS = 4
WAKE_S = 0.001
PATIENCE_S = 3.0
"""How long answers are waited for after the last request was sent; what is still out then counts as lost."""

SAMPLE_EVERY = 64

Stage = tuple[float, float]
"""Calls a second, and for how many seconds."""


class Flood:
    """Sends requests to one server, and keeps a row for each call."""

    def __init__(self, address: str, payloads: Sequence[bytes]) -> None:
        self._address = address
        self._payloads = payloads
        self._connections: list[Connection] = []
        self._poll = select.epoll()
        for _ in range(CONNECTIONS):
            self._connect()
        self._requests: dict[int, Iterator[Request]] = {}
        self.rows: list[Row] = []
        self.lateness: list[float] = []
        self._messages: list[bytes] = []
        self._start = 0.0
        self._again: Iterator[Request] | None = None
        self._until = 0.0

    def _connect(self) -> None:
        connection = Connection(self._address, lambda *ended: self._ended(connection, *ended))
        self._connections.append(connection)
        self._poll.register(connection.socket, select.EPOLLIN)

    def _ended(self, connection: Connection, stream: int, status: int, message: bytes) -> None:
        now, due = perf_counter(), connection.flying[stream]
        self.rows.append((due - self._start, now - due, status))
        if status == OK and len(self.rows) % SAMPLE_EVERY == 0:
            self._messages.append(message)
        if self._again is not None and now < self._until:
            connection.call(next(self._again), now)

    def _prepared(self, timeout_ms: int) -> Iterator[Request]:
        if timeout_ms not in self._requests:
            headers = request_headers(METHOD, self._address, timeout_ms)
            # One run goes on where the last one ended: nobody is asked for more often than others.
            self._requests[timeout_ms] = itertools.cycle([Request(headers, payload) for payload in self._payloads])
            gc.collect()
            gc.freeze()
        return self._requests[timeout_ms]

    def open(self, stages: Sequence[Stage], timeout_ms: int, seed: int) -> None:
        """Sends calls when they are due, whatever becomes of those before; one stage follows on another at once."""
        requests, due = self._prepared(timeout_ms), due_in(stages, seed)
        self._begin()
        turns, start, at = itertools.cycle(self._connections), self._start, 0
        while at < len(due):
            now = perf_counter() - start
            while at < len(due) and due[at] <= now:
                self.lateness.append(now - due[at])
                next(turns).call(next(requests), start + due[at])
                at += 1
            self._turn()
        self._finish()

    def closed(self, callers: int, seconds: float, timeout_ms: int, calls: int = 0) -> None:
        """Has so many callers who send their next request when they have their answer, for so long or so many."""
        self._again = self._prepared(timeout_ms)
        self._begin()
        self._until = inf if calls else self._start + seconds
        turns = itertools.cycle(self._connections)
        for _ in range(callers):
            next(turns).call(next(self._again), self._start)
        while len(self.rows) < calls or perf_counter() < self._until < inf:
            self._turn()
        self._again = None
        self._finish()

    def _begin(self) -> None:
        self.rows, self.lateness, self._messages = [], [], []
        self._start = perf_counter()

    def _turn(self) -> None:
        for connection in self._connections:
            connection.flush()
        files = {file for file, _ in self._poll.poll(WAKE_S)}
        for connection in self._connections:
            if connection.socket.fileno() in files:
                connection.read()

    def _finish(self) -> None:
        give_up = perf_counter() + PATIENCE_S
        while not all(connection.is_idle for connection in self._connections) and perf_counter() < give_up:
            self._turn()
        for connection in self._connections:
            for due in connection.give_up():
                self.rows.append((due - self._start, perf_counter() - due, LOST))

    def sampled(self) -> list[Decision]:
        """Some of the answers."""
        return [RankOffersResponse.FromString(message).decision for message in self._messages if message]


def due_in(stages: Sequence[Stage], seed: int) -> list[float]:
    """When calls are due, in seconds from the start of the first stage."""
    due: list[float] = []
    began_s = 0.0
    for number, (rate_rps, seconds) in enumerate(stages):
        due += [began_s + offset for offset in poisson(rate_rps, seconds, seed + number) if offset < seconds]
        began_s += seconds
    return due


def run(flood: Flood, command: dict[str, Any]) -> dict[str, Any]:
    """Runs a command `{"loop": "closed" | "some" | "open", ...}`, and says what came of its calls.

    Of an open loop the last stage counts; what was before it, a warm-up or a rush, is only its past.
    """
    seconds, timeout_ms = command.get("seconds", 0.0), command["timeout_ms"]
    if command["loop"] == "some":
        flood.closed(command["callers"], 0.0, timeout_ms, command["calls"])
        seconds, before_s = max((row[0] for row in flood.rows), default=0.0) + BUCKET_S, 0.0
    elif command["loop"] == "closed":
        flood.closed(command["callers"], seconds, timeout_ms)
        before_s = 0.0
    else:
        *before, (_, seconds) = stages = command["stages"]
        before_s = sum(stage_s for _, stage_s in before)
        flood.open(stages, timeout_ms, command["seed"])
    answers = flood.sampled()
    return {
        **became_of(flood.rows, before_s, before_s + seconds, timeout_ms / 1_000),
        "ran_s": before_s + seconds,
        "rungs": Counter(Rung.Name(decision.rung) for decision in answers),
        "sampled": len(answers),
        "offers_mean": sum(len(decision.offers) for decision in answers) / max(len(answers), 1),
        "lateness_p99_ms": percentile_ms(flood.lateness, 99),
    }


def serve(address: str, file: Path) -> None:
    """Answers commands until standard input ends."""
    flood = Flood(address, read_payloads(file))
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        started_s = process_time()
        result = run(flood, command)
        print(json.dumps({**result, "generator_cpu_s": process_time() - started_s}), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
