"""The load generators that others wrote, beside ours: one server, one rate, the same requests, in one session.

They are the check on ours: who measures latency from the intended send time, as we do, should see what we see; who
measures from the moment of sending leaves out what a call waited for its turn, and may see less.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtest.calm import OTHERS_PERCENT_MAX, STEAL_PERCENT_MAX
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
"""Runs of a foreign generator at most, until one was left alone."""


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
    name: str,
    options: ForeignOptions,
    stage: Stage,
    requests: Sequence[bytes],
    run: Callable[[], Seen],
    *,
    warm_up_s: float,
) -> dict[str, object]:
    """Holds the rate with our generator and then with another, and returns the figures of both.

    Args:
        warm_up_s: How long the other one calls before it counts; the server works then, too.
    """
    started = datetime.now(UTC)
    with stage.aimed(requests) as ours:
        (steady,) = hold([ours], options.rate_rps, options.seconds)
    theirs = _undisturbed(name, stage.server, run, round(warm_up_s * options.rate_rps))
    seen = theirs.seen
    return {
        "scenario": name,
        "transport": options.transport,
        "candidates": options.offers,
        "profiles": options.profiles,
        "rate_rps": options.rate_rps,
        "ours": _ours(steady),
        name: asdict(seen) | {"server_cpu_us_per_call": theirs.server_cpu_us_per_call},
        "p50_ratio": seen.p50_ms / steady.p50_ms,
        "p99_ratio": seen.p99_ms / steady.p99_ms,
        "steal_percent": max(theirs.steal_percent, steady.steal_percent),
        "others_percent": max(theirs.others_percent, steady.others_percent),
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
        f"Steal at most {figures['steal_percent']:.2f} %, other processes at most {figures['others_percent']:.1f} %.",
    ]
    return "\n".join([title, "", f"  {'':24}{'ours':>12}{name:>12}{'ratio':>9}", *rows, *more, "", *notes])


def _ours(steady: Steady) -> dict[str, object]:
    failed = steady.errors.total()
    return asdict(Seen(steady.p50_ms, steady.p99_ms, steady.samples, failed)) | {
        "lateness_p99_ms": steady.lateness_p99_ms
    }


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of a foreign generator, and what else the machine was doing."""

    seen: Seen
    server_cpu_us_per_call: float
    steal_percent: float
    others_percent: float

    @property
    def calm(self) -> bool:
        """Whether it counts without a second thought."""
        return self.steal_percent <= STEAL_PERCENT_MAX and self.others_percent <= OTHERS_PERCENT_MAX


def _undisturbed(name: str, server: Server, run: Callable[[], Seen], uncounted: int) -> _Run:
    """The first calm run, or the calmest."""
    runs: list[_Run] = []
    while len(runs) < TRIES and not any(one.calm for one in runs):
        say(f"The same with {name}")
        before, own_s, server_s = MachineTime.now(), _own_s(), cpu_seconds(server.pid)
        seen = run()
        after, own_s, server_s = MachineTime.now(), _own_s() - own_s, cpu_seconds(server.pid) - server_s
        steal_percent, others_percent = after.steal_percent_since(before), after.others_percent_since(before, own_s)
        runs.append(_Run(seen, 1e6 * server_s / max(seen.calls + uncounted, 1), steal_percent, others_percent))
    return min(runs, key=lambda one: one.steal_percent + one.others_percent)


def _own_s() -> float:
    """Processor time of this process and its children, those that have ended among them, in seconds."""
    times = os.times()
    return cpu_seconds(os.getpid()) + times.children_user + times.children_system
