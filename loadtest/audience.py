"""The scenario `audience`: how long it takes to count the customers for whom four predicates hold, and who waits.

1. Customers are loaded, and an audience of them is counted several times by CountAudience, with nothing else going on.
   Each count is checked against the values that were loaded.
2. RankOffers, open loop at one rate, windows without and with audiences counted all the time, in turn.
"""

import contextlib
import time
from dataclasses import dataclass
from math import ceil

import grpc

from loadtest.calm import in_turn
from loadtest.counter import CONDITION, Counter, Counts, expected
from loadtest.ground import Serve, fill, prepared
from loadtest.probe import probe
from loadtest.procfs import MachineTime, cpu_seconds
from loadtest.progress import say
from loadtest.recover import NO_SNAPSHOTS
from loadtest.serving import Server, durable
from loadtest.setting import now, setting
from loadtest.spinner import spinners
from loadtest.stage import REQUESTS
from loadtest.steady import SLICE_S, WARM_UP_S, Steady
from loadtest.target import Target, Window


@dataclass(frozen=True, slots=True)
class AudienceOptions:
    """How many customers there are, how often they are counted, and for how long rankings are measured, in seconds."""

    offers: int = 1_000
    profiles: int = 1_000_000
    transport: str = "native"
    runs: int = 20
    rate_rps: int = 200
    seconds: float = 10.0
    hold_cores: bool = False


@dataclass(frozen=True, slots=True)
class Alone:
    """Counts with nothing else going on, and what the server and the hypervisor spent meanwhile."""

    counts: Counts
    server_cpu_s: float
    seconds: float
    steal_percent: float


def audience(options: AudienceOptions, serve: Serve = durable) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    started = now()
    with contextlib.ExitStack() as stack:
        ground, workload = stack.enter_context(prepared(options.offers, options.profiles, options.transport, serve))
        # A snapshot of everybody would take its turns among those of the counts.
        server = stack.enter_context(ground.server(*NO_SNAPSHOTS))
        fill(server, options.profiles)
        channel = stack.enter_context(grpc.insecure_channel(server.address))
        counter = Counter(channel, options.profiles, expected(options.profiles))
        alone = _alone(server, counter, options.runs)
        requests = workload.requests(REQUESTS)
        probe(server.address, requests)
        ranked = stack.enter_context(ground.target("rank", server, requests, "rank"))
        with spinners() if options.hold_cores else contextlib.nullcontext():
            without, beside = _measure(ranked, counter, options)
    counts = alone.counts
    return {
        "scenario": "audience",
        "transport": options.transport,
        "customers": options.profiles,
        "matched": counter.matched,
        "audience": CONDITION,
        "predicates": CONDITION.count("&&") + 1,
        "count_ms": counts.median_ms,
        "count_ms_best": counts.best_ms,
        "count_ms_all": list(counts.taken_ms),
        "server_cpu_ms_per_count": 1_000 * alone.server_cpu_s / len(counts.taken_ms),
        "loop_share": alone.server_cpu_s / alone.seconds,
        "candidates": options.offers,
        "rate_rps": options.rate_rps,
        **_figures("without", without),
        **_figures("with", beside),
        "p50_ratio": beside.p50_ms / without.p50_ms,
        "p99_ratio": beside.p99_ms / without.p99_ms,
        "count_ms_beside": Counts(counter.beside_ms).median_ms,
        "counts_beside": len(counter.beside_ms),
        "filesystem": dict(ground.disk),
        **setting([without, beside], started),
        "count_steal_percent": alone.steal_percent,
    }


def _alone(server: Server, counter: Counter, runs: int) -> Alone:
    say(f"Counting {runs} times, with nothing else going on")
    machine, cpu_s, started_s = MachineTime.now(), cpu_seconds(server.pid), time.monotonic()
    counts = counter.several(runs)
    seconds, cpu_s = time.monotonic() - started_s, cpu_seconds(server.pid) - cpu_s
    say(f"{counts.median_ms:.1f} ms (median), {counts.best_ms:.1f} ms (best)")
    # The count before the first that counts is in the time and in what was spent.
    share = runs / (runs + 1)
    return Alone(counts, cpu_s * share, seconds * share, MachineTime.now().steal_percent_since(machine))


def _measure(ranked: Target, counter: Counter, options: AudienceOptions) -> list[Steady]:
    slices = ceil(options.seconds / SLICE_S)
    slice_s = options.seconds / slices
    say(f"{options.rate_rps:,} rankings/s, without and with audiences being counted, in turn")

    def alone() -> Window:
        return ranked.open(options.rate_rps, slice_s, WARM_UP_S)

    def beside() -> Window:
        return counter.beside(alone)

    return [Steady.of(windows) for windows in in_turn([alone, beside], slices, 2 * slices)]


def _figures(how: str, steady: Steady) -> dict[str, object]:
    return {
        f"rank_p50_ms_{how}": steady.p50_ms,
        f"rank_p99_ms_{how}": steady.p99_ms,
        f"samples_{how}": steady.samples,
        f"lateness_p99_ms_{how}": steady.lateness_p99_ms,
    }
