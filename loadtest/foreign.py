"""The load generators that others wrote, beside ours: one server, one rate, the same requests, in one session.

They are the check on ours: who measures latency from the intended send time, as we do, should see what we see; who
measures from the moment of sending leaves out what a call waited for its turn, and may see less.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtest.calm import STEAL_PERCENT_MAX
from loadtest.generator import write_payloads
from loadtest.ingest import load_profiles
from loadtest.machine import machine
from loadtest.probe import Sample, probe
from loadtest.procfs import MachineTime, cpu_seconds
from loadtest.progress import say
from loadtest.serving import ServeCommand, Server, free_port, is_healthy, serving
from loadtest.stage import REQUESTS, synthetic, workspace
from loadtest.steady import Steady, hold
from loadtest.target import Target, target

TRIES = 3
"""Runs of a foreign generator at most, until the hypervisor has left one alone."""


@dataclass(frozen=True, slots=True)
class ForeignOptions:
    """What to rank, how often, and for how many seconds with each generator."""

    offers: int
    profiles: int
    transport: str
    rate_rps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Stage:
    """A server that has been filled, and what it may be asked."""

    server: Server
    directory: Path
    requests: Sequence[bytes]
    sample: Sample

    @contextlib.contextmanager
    def aimed(self, requests: Sequence[bytes]) -> Iterator[Target]:
        """Our generator, with these requests."""
        payloads = self.directory / "requests"
        write_payloads(payloads, requests)
        with target("ours", self.server, payloads) as ours:
            yield ours


@dataclass(frozen=True, slots=True)
class Seen:
    """What a generator saw. `failed` are calls that were not answered with OK; `missed` were due and never sent."""

    p50_ms: float
    p99_ms: float
    calls: int
    failed: int
    missed: int = 0


@contextlib.contextmanager
def staged(options: ForeignOptions, serve: ServeCommand) -> Iterator[Stage]:
    """Starts the server and fills it."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())
        workload = synthetic(directory / "workload", options.offers, options.profiles)
        port = free_port()
        say(f"Starting the server: {workload.offers:,} offers, {options.transport} transport")
        command = serve(workload, port, options.transport)
        server = stack.enter_context(serving(command, port, directory / "server.log", is_healthy))
        say(f"Loading {workload.profiles:,} profiles")
        load_profiles(server.address, workload.deltas())
        requests = workload.requests(min(REQUESTS, 10 * options.profiles))
        yield Stage(server, directory, requests, probe(server.address, requests))


def compared(
    name: str, options: ForeignOptions, stage: Stage, requests: Sequence[bytes], run: Callable[[], Seen]
) -> dict[str, object]:
    """Holds the rate with our generator and then with another, and returns the figures of both."""
    started = datetime.now(UTC)
    with stage.aimed(requests) as ours:
        (steady,) = hold([ours], options.rate_rps, options.seconds)
    seen, steal_percent, cpu_us = _undisturbed(name, stage.server, run)
    return {
        "scenario": name,
        "transport": options.transport,
        "candidates": options.offers,
        "profiles": options.profiles,
        "rate_rps": options.rate_rps,
        "ours": _ours(steady),
        name: asdict(seen) | {"server_cpu_us_per_call": cpu_us},
        "p50_ratio": seen.p50_ms / steady.p50_ms,
        "p99_ratio": seen.p99_ms / steady.p99_ms,
        "steal_percent": max(steal_percent, steady.steal_percent),
        "started": started.isoformat(timespec="seconds"),
        "machine": machine(),
    }


def foreign_table(figures: Mapping[str, Any]) -> str:
    """A foreign generator beside ours."""
    name = figures["scenario"]
    ours, theirs = figures["ours"], figures[name]
    title = f"RankOffers at {figures['rate_rps']:,} calls/s: {figures['candidates']:,} offers, "
    title += f"{figures['profiles']:,} profiles, {figures['transport']} transport"
    rows = [
        f"  {'p50, ms':24}{ours['p50_ms']:>12.3f}{theirs['p50_ms']:>12.3f}{figures['p50_ratio']:>9.2f}",
        f"  {'p99, ms':24}{ours['p99_ms']:>12.3f}{theirs['p99_ms']:>12.3f}{figures['p99_ratio']:>9.2f}",
        f"  {'calls':24}{ours['calls']:>12,}{theirs['calls']:>12,}",
        f"  {'not answered with OK':24}{ours['failed']:>12,}{theirs['failed']:>12,}",
        f"  {'due and not sent':24}{ours['missed']:>12,}{theirs['missed']:>12,}",
    ]
    more = [f"  {key}: {value}" for key, value in figures.get("streams", {}).items()]
    notes = [
        "Ours: from the intended send time, random arrivals. Theirs: from the moment of sending, regular arrivals.",
        f"Steal at most {figures['steal_percent']:.2f} %.",
    ]
    return "\n".join([title, "", f"  {'':24}{'ours':>12}{name:>12}{'ratio':>9}", *rows, *more, "", *notes])


def _ours(steady: Steady) -> dict[str, object]:
    failed = steady.errors.total()
    return asdict(Seen(steady.p50_ms, steady.p99_ms, steady.samples, failed)) | {
        "lateness_p99_ms": steady.lateness_p99_ms
    }


def _undisturbed(name: str, server: Server, run: Callable[[], Seen]) -> tuple[Seen, float, float]:
    """What it saw in the first calm run, or in the calmest; steal in percent; the server's CPU for each call."""
    runs = []
    for _ in range(TRIES):
        say(f"The same with {name}")
        machine_before, server_before_s = MachineTime.now(), cpu_seconds(server.pid)
        seen = run()
        spent_us = 1e6 * (cpu_seconds(server.pid) - server_before_s)
        steal_percent = MachineTime.now().steal_percent_since(machine_before)
        runs.append((steal_percent, seen, spent_us / max(seen.calls, 1)))
        if steal_percent <= STEAL_PERCENT_MAX:
            break
    steal_percent, seen, cpu_us = min(runs, key=lambda one: one[0])
    return seen, steal_percent, cpu_us
