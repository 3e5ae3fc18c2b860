"""The scenario `recover`: how long a server that was killed takes until it serves again.

1. Customers are loaded; a second server on the same folder takes a snapshot of them and is ended.
2. A third one, which takes no snapshots, gets 100,000 messages of one delta each, and one more that is remembered.
3. It is killed (SIGKILL) and started again, several times: from exec to the first SERVING of the health service. The
   first calls after that must see the last delta that was acknowledged.

The page cache stays warm, as it does when a process dies and not the machine.
"""

import contextlib
import os
import signal
import statistics
import time
from dataclasses import dataclass

from loadtest.delta_stream import OUTSTANDING, STREAMS
from loadtest.folder import snapshot_offsets
from loadtest.ground import Ground, Serve, fill, prepared
from loadtest.machine import machine
from loadtest.marker import Marker
from loadtest.progress import say
from loadtest.restart import Restart, restart
from loadtest.serving import Server, ServerFailedError, durable
from loadtest.setting import now
from loadtest.streaming import A_DELTA

NO_SNAPSHOTS = ("--snapshot-entries", "1000000000", "--snapshot-minutes", "100000")
SNAPSHOT_AT_ONCE = ("--snapshot-entries", "1", "--snapshot-minutes", "100000")
SNAPSHOT_WITHIN_S = 120.0
WINDOW_S = 1.0
PREPARED = 20_000


@dataclass(frozen=True, slots=True)
class RecoverOptions:
    """What there is to recover, and how often it is."""

    offers: int = 1_000
    profiles: int = 1_000_000
    tail: int = 100_000
    transport: str = "native"
    runs: int = 3


def recover(options: RecoverOptions, serve: Serve = durable) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    started = now()
    with contextlib.ExitStack() as stack:
        ground, workload = stack.enter_context(prepared(options.offers, options.profiles, options.transport, serve))
        snapshot = take_snapshot(ground, options.profiles)
        with ground.server(*NO_SNAPSHOTS) as server:
            _stream(ground, server, list(workload.messages(PREPARED, 1)), options.tail)
            marker = Marker.set_at(server.address, workload.probes(1, 0)[0])
            os.kill(server.pid, signal.SIGKILL)
        say(f"Killed with {marker.profile_version - snapshot:,} entries behind the snapshot; starting again")
        restarts = [restart(ground, marker, NO_SNAPSHOTS) for _ in range(options.runs)]
        snapshot_bytes = sum(file.stat().st_size for file in (ground.data / "snapshots").iterdir())
    return {
        "scenario": "recover",
        "transport": options.transport,
        "profiles": options.profiles,
        "tail": marker.profile_version - snapshot,
        "delta": A_DELTA,
        "deltas_per_message": 1,
        **_figures(restarts),
        "snapshot_bytes": snapshot_bytes,
        "filesystem": dict(ground.disk),
        "started": started,
        "machine": machine(),
    }


def take_snapshot(ground: Ground, profiles: int) -> int:
    """Fills a folder and has a snapshot taken of all of it; returns the snapshot's offset."""
    with ground.server(*NO_SNAPSHOTS) as server:
        version = fill(server, profiles)["profile_version"]
    with ground.server(*SNAPSHOT_AT_ONCE):
        say("Waiting for a snapshot")
        give_up = time.monotonic() + SNAPSHOT_WITHIN_S
        while not (taken := [offset for offset in snapshot_offsets(ground.data) if offset >= version]):
            if time.monotonic() > give_up:
                raise ServerFailedError(f"There is no snapshot of entry {version} after {SNAPSHOT_WITHIN_S:.0f} s.")
            time.sleep(0.1)
    return taken[0]


def _stream(ground: Ground, server: Server, messages: list[bytes], tail: int) -> None:
    """Streams messages of one delta until so many are acknowledged, or a window's worth more."""
    say(f"Streaming {tail:,} messages of one delta each")
    with ground.target("tail", server, messages, "deltas") as target:
        sent = 0
        while sent < tail:
            window = target.closed(STREAMS * OUTSTANDING, WINDOW_S)
            if window.errors:
                raise ServerFailedError(f"The server refused deltas: {dict(window.errors)}")
            sent += window.calls


def _figures(restarts: list[Restart]) -> dict[str, object]:
    return {
        "ready_s": statistics.median(each.ready_s for each in restarts),
        "ready_s_all": [each.ready_s for each in restarts],
        "first_answer_ms": statistics.median(1e3 * each.first_answer_s for each in restarts),
        "server_cpu_s": statistics.median(each.server_cpu_s for each in restarts),
        "samples": len(restarts),
        "steal_percent": max(each.steal_percent for each in restarts),
        "others_percent": max(each.others_percent for each in restarts),
    }
