"""The scenario `memory`: what a customer costs a server in memory, and how long it takes to load them all.

The server has a data folder. It is filled by LoadProfiles and left alone until its memory has settled; what it held
before the load, catalog and model included, does not count. Some customers are read back.
"""

import contextlib
import time
from dataclasses import dataclass

from loadtest.folder import filesystem, journal_bytes
from loadtest.ground import Ground, Serve, fill
from loadtest.machine import machine
from loadtest.procfs import MachineTime, cpu_seconds, resident_bytes, resident_bytes_max
from loadtest.progress import say
from loadtest.read_back import read_back
from loadtest.schema import CUSTOMER
from loadtest.serving import Server, durable
from loadtest.setting import now
from loadtest.stage import synthetic, workspace

STEP_S = 0.5
SETTLED_STEPS = 10
"""Memory has settled when it has not changed by more than the share below for so many steps."""
SETTLED_SHARE = 0.001
SETTLES_WITHIN_S = 60.0
GB = 1e9


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """How many customers to load."""

    offers: int = 1_000
    profiles: int = 1_000_000
    transport: str = "native"


def memory(options: MemoryOptions, serve: Serve = durable) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    started = now()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())
        workload = synthetic(directory / "workload", options.offers, options.profiles)
        ground = Ground(directory, workload, options.transport, serve)
        disk = filesystem(directory)
        server = stack.enter_context(ground.server())
        before = _settled(server)
        cpu_s, machine_before = cpu_seconds(server.pid), MachineTime.now()
        loaded = fill(server, options.profiles)
        cpu_s, steal = cpu_seconds(server.pid) - cpu_s, MachineTime.now().steal_percent_since(machine_before)
        peak = resident_bytes_max(server.pid)
        after = _settled(server)
        read = read_back(server.address, options.profiles)
        journal = journal_bytes(ground.data)
    return {
        "scenario": "memory",
        "transport": options.transport,
        "profiles": options.profiles,
        "attributes": len(CUSTOMER),
        "bytes_per_customer": (after - before) / options.profiles,
        "load_s": loaded["seconds"],
        "profiles_per_s": options.profiles / loaded["seconds"],
        "rss_gb": after / GB,
        "rss_before_gb": before / GB,
        "rss_max_gb": peak / GB,
        "server_cpu_us_per_customer": 1e6 * cpu_s / options.profiles,
        "generator_cpu_s": loaded["generator_cpu_s"],
        "journal_bytes_per_customer": journal / options.profiles,
        "samples": read,
        "steal_percent": steal,
        "filesystem": disk,
        "started": started,
        "machine": machine(),
    }


def _settled(server: Server) -> int:
    """The server's memory once it no longer changes, or after a minute."""
    say("Waiting until the server's memory has settled")
    held = [resident_bytes(server.pid)]
    for _ in range(round(SETTLES_WITHIN_S / STEP_S)):
        time.sleep(STEP_S)
        held.append(resident_bytes(server.pid))
        last = held[-SETTLED_STEPS - 1 :]
        if len(last) > SETTLED_STEPS and max(last) - min(last) <= SETTLED_SHARE * held[-1]:
            break
    return held[-1]
