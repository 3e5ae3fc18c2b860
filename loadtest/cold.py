"""The scenario `cold`: from the start of a server to its first answers, and what those cost the callers.

1. Customers are loaded, and a snapshot is taken of them.
2. The server is started several times: from exec to the first SERVING of the health service. From then on rankings
   follow one another on one connection; the first ones are compared with those after several hundred.
3. Beside each, an empty servicer on stock grpc.aio is started: from exec to its first answer.

The page cache stays warm, as it does when a process is replaced and not the machine.
"""

import contextlib
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from loadtest.children import child
from loadtest.ground import Ground, Serve, prepared
from loadtest.machine import machine
from loadtest.procfs import MachineTime, cpu_seconds
from loadtest.progress import say
from loadtest.recover import NO_SNAPSHOTS, take_snapshot
from loadtest.restart import STEP_S, listens, started
from loadtest.serving import HOST, durable, empty, free_port
from loadtest.setting import now
from loadtest.transport import DEADLINE_S, METHOD

CALLS = 1_000
FIRST, LAST = 100, 500
"""How many of the calls count as the first ones, and how many as the last ones."""


@dataclass(frozen=True, slots=True)
class ColdOptions:
    """What a server has to read before it serves, and how often it is started."""

    offers: int = 1_000
    profiles: int = 100_000
    transport: str = "native"
    runs: int = 5


@dataclass(frozen=True, slots=True)
class Start:
    """One start, and its calls one after the other, in seconds."""

    ready_s: float
    calls_s: Sequence[float]
    empty_s: float
    server_cpu_s: float
    steal_percent: float
    others_percent: float


def cold(options: ColdOptions, serve: Serve = durable) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    began = now()
    with contextlib.ExitStack() as stack:
        ground, workload = stack.enter_context(prepared(options.offers, options.profiles, options.transport, serve))
        take_snapshot(ground, options.profiles)
        requests = workload.requests(CALLS)
        starts = [_start(ground, requests) for _ in range(options.runs)]
    ready_s = statistics.median(each.ready_s for each in starts)
    empty_s = statistics.median(each.empty_s for each in starts)
    last_ms = _median_ms(each.calls_s[-LAST:] for each in starts)
    return {
        "scenario": "cold",
        "transport": options.transport,
        "candidates": options.offers,
        "profiles": options.profiles,
        "ready_s": ready_s,
        "ready_s_all": [each.ready_s for each in starts],
        "empty_s": empty_s,
        "ready_ratio_to_empty": ready_s / empty_s,
        "server_cpu_s": statistics.median(each.server_cpu_s for each in starts),
        "first_ms": _median_ms(each.calls_s[:1] for each in starts),
        "first_hundred_p50_ms": _median_ms(each.calls_s[:FIRST] for each in starts),
        "first_hundred_worst_ms": 1e3 * max(max(each.calls_s[:FIRST]) for each in starts),
        "warm_p50_ms": last_ms,
        "first_ratio_to_warm": _median_ms(each.calls_s[:1] for each in starts) / last_ms,
        "first_hundred_ratio_to_warm": _median_ms(each.calls_s[:FIRST] for each in starts) / last_ms,
        "samples": len(starts),
        "errors": 0,
        "steal_percent": max(each.steal_percent for each in starts),
        "others_percent": max(each.others_percent for each in starts),
        "filesystem": dict(ground.disk),
        "started": began,
        "machine": machine(),
    }


def _start(ground: Ground, requests: Sequence[bytes]) -> Start:
    port = free_port()
    machine_before, own_s = MachineTime.now(), cpu_seconds(os.getpid())
    with started(ground.command(port, *NO_SNAPSHOTS), port, ground.log, ground.directory) as server:
        call = server.channel.unary_unary(METHOD)
        reply = b""
        calls_s = []
        for request in requests:
            began_s = time.perf_counter()
            reply = call(request, timeout=DEADLINE_S)
            calls_s.append(time.perf_counter() - began_s)
        server_cpu_s = cpu_seconds(server.pid)
    empty_s = _start_empty(ground.directory, requests[0], reply)
    spent_s, after = cpu_seconds(os.getpid()) - own_s, MachineTime.now()
    say(f"SERVING after {server.ready_s:.2f} s, first answer in {1e3 * calls_s[0]:.1f} ms; empty {empty_s:.2f} s")
    return Start(
        server.ready_s,
        calls_s,
        empty_s,
        server_cpu_s,
        after.steal_percent_since(machine_before),
        after.others_percent_since(machine_before, spent_s),
    )


def _start_empty(directory: Path, request: bytes, reply: bytes) -> float:
    """Seconds from exec to the first answer of the empty servicer."""
    file, port = directory / "reply.bin", free_port()
    file.write_bytes(reply)
    began_s = time.monotonic()
    with child(empty(file, port)):
        # As for ours: a channel that has found nobody would wait a second before it looks again.
        while not listens(port):
            time.sleep(STEP_S)
        with grpc.insecure_channel(f"{HOST}:{port}") as channel:
            channel.unary_unary(METHOD)(request, timeout=DEADLINE_S)
            return time.monotonic() - began_s


def _median_ms(calls_s: Iterable[Sequence[float]]) -> float:
    return 1e3 * statistics.median(call_s for calls in calls_s for call_s in calls)
