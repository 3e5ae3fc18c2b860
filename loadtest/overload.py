"""The scenario `overload`: what is answered in time when several times more is asked than can be done.

1. Saturated, closed loop with patient callers: the rate that everything else is a multiple of.
2. Open loop at 0.5, 1, 2 and 4 times that rate, every call with a deadline of 100 ms.
3. Four times that rate, and half of it without a pause in between: how long it takes until all is well.

What counts as late is whatever is neither answered in time nor refused, however it ends: a transport that ends calls at
their deadlines itself has no late answers, but calls that were taken and came to nothing.

The generator is `flood.py`, which costs a tenth of what a ranking does, for the saturated rate as well.
"""

import contextlib
import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from loadtest.became import recovery_s
from loadtest.calm import STEAL_PERCENT_MAX
from loadtest.children import child
from loadtest.generator import write_payloads
from loadtest.ingest import load_profiles
from loadtest.machine import machine
from loadtest.probe import probe
from loadtest.procfs import MachineTime, cpu_seconds
from loadtest.progress import say
from loadtest.serving import ServeCommand, Server, free_port, is_healthy, opportune, serving
from loadtest.setting import now
from loadtest.spinner import spinners
from loadtest.stage import synthetic, workspace
from loadtest.target import GeneratorFailedError

LOADS = (0.5, 1.0, 2.0, 4.0)
DEADLINE_MS = 100
PATIENT_MS = 10_000
CALLERS = (32, 64, 128)
SATURATED_S, WINDOWS = 2.0, 3
WARM_UP_S = 1.0
RUSH_S, RECOVERY_S = 3.0, 4.0
TRIES = 2
REQUESTS = 20_000
"""Of so many customers each comes too seldom for its caps to make rankings cheaper from load to load."""


@dataclass(frozen=True, slots=True)
class OverloadOptions:
    """What to rank, and how long each load is held, in seconds."""

    offers: int = 1_000
    profiles: int = 20_000
    transport: str = "native"
    seconds: float = 6.0
    hold_cores: bool = False


class Flooding(Protocol):
    """What it takes to set a server up."""

    @property
    def offers(self) -> int: ...

    @property
    def profiles(self) -> int: ...

    @property
    def transport(self) -> str: ...


class Flooder:
    """A flood in a process of its own, aimed at a server."""

    def __init__(self, process: subprocess.Popen[str], server: Server) -> None:
        self._process = process
        self._server = server
        self._runs = 0

    def closed(self, callers: int) -> dict[str, Any]:
        """Patient callers who send their next request when they have their answer."""
        return self._run({"loop": "closed", "callers": callers, "seconds": SATURATED_S, "timeout_ms": PATIENT_MS})

    def some(self, callers: int, calls: int) -> dict[str, Any]:
        """The same until about so many calls are answered."""
        return self._run({"loop": "some", "callers": callers, "calls": calls, "seconds": 0.0, "timeout_ms": PATIENT_MS})

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._server.pid

    @property
    def address(self) -> str:
        """The server's `host:port`."""
        return self._server.address

    def open(self, *stages: tuple[float, float]) -> dict[str, Any]:
        """Calls at rates for so many seconds each, whatever becomes of them; the last stage counts."""
        # Far apart, as each stage has a seed of its own.
        self._runs += 100
        return self._run({"loop": "open", "timeout_ms": DEADLINE_MS, "stages": stages, "seed": self._runs})

    def _run(self, command: dict[str, object]) -> dict[str, Any]:
        machine_time, own_s, server_s = MachineTime.now(), cpu_seconds(os.getpid()), cpu_seconds(self._server.pid)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise GeneratorFailedError(f"The flood ended, exit {self._process.wait()}.")
        after = MachineTime.now()
        own_s = cpu_seconds(os.getpid()) - own_s
        return {
            **json.loads(line),
            "server_cpu_s": cpu_seconds(self._server.pid) - server_s,
            "steal_percent": after.steal_percent_since(machine_time),
            "others_percent": after.others_percent_since(machine_time, own_s),
        }


def overload(options: OverloadOptions, serve: ServeCommand = opportune) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    started = now()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())
        flooder, sample = stack.enter_context(flooded(directory, options, serve))
        if options.hold_cores:
            stack.enter_context(spinners())
        saturated = _saturate(flooder)
        steps = [_step(flooder, load, load * saturated["rate_rps"], options.seconds) for load in LOADS]
        say(f"{LOADS[-1]:g} x for {RUSH_S:.0f} s, then half of it for {RECOVERY_S:.0f} s")
        rush, calm = LOADS[-1] * saturated["rate_rps"], saturated["rate_rps"] / 2
        after = flooder.open((rush, RUSH_S), (calm, RECOVERY_S))
    return {
        "scenario": "overload",
        "transport": options.transport,
        "candidates": options.offers,
        "profiles": options.profiles,
        "deadline_ms": DEADLINE_MS,
        "saturated": saturated,
        **ratios(saturated["rate_rps"], steps),
        "recovery_s": recovery_s(after["buckets"]),
        "steps": steps,
        "after": figures(0.5, after),
        "eligible_mean": sample,
        "started": started,
        "machine": machine(),
    }


@contextlib.contextmanager
def flooded(
    directory: Path,
    options: "Flooding",
    serve: ServeCommand,
    asked: Callable[[list[bytes]], list[bytes]] = lambda requests: requests,
) -> Iterator[tuple["Flooder", float]]:
    """A server with profiles and a flood aimed at it; and how many offers are eligible on average.

    Args:
        asked: Makes of the workload's requests those that are sent.
    """
    workload, port = synthetic(directory / "workload", options.offers, options.profiles), free_port()
    say(f"Starting the server: {options.offers:,} offers, {options.transport} transport")
    with serving(serve(workload, port, options.transport), port, directory / "server.log", is_healthy) as server:
        say(f"Loading {options.profiles:,} profiles")
        load_profiles(server.address, workload.deltas())
        requests = workload.requests(REQUESTS)
        sample = probe(server.address, requests)
        write_payloads(directory / "requests", asked(requests))
        command = ["-m", "loadtest.flood", server.address, str(directory / "requests")]
        with child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            yield Flooder(process, server), sample.eligible_mean


def _saturate(flooder: Flooder) -> dict[str, Any]:
    """The rate with as many patient callers as it takes, and what a call costs then."""
    flooder.closed(CALLERS[0])  # The first calls fill caches.
    rates = {callers: _rate(flooder.closed(callers)) for callers in CALLERS}
    callers = max(rates, key=lambda each: rates[each])
    windows = [flooder.closed(callers) for _ in range(WINDOWS)]
    rate_rps = median(map(_rate, windows))
    say(f"Saturated: {rate_rps:,.0f} calls/s with {callers} callers")
    calls = sum(window["good"] for window in windows)
    return {
        "rate_rps": rate_rps,
        "callers": callers,
        "server_cpu_us_per_call": 1e6 * sum(window["server_cpu_s"] for window in windows) / max(calls, 1),
        "generator_cpu_us_per_call": 1e6 * sum(window["generator_cpu_s"] for window in windows) / max(calls, 1),
        "rungs_sampled": dict(sum((Counter(window["rungs"]) for window in windows), Counter[str]())),
        "steal_percent": max(window["steal_percent"] for window in windows),
        "others_percent": max(window["others_percent"] for window in windows),
    }


def _rate(window: Mapping[str, Any]) -> float:
    return float(window["good"] / window["seconds"])


def _step(flooder: Flooder, load: float, rate_rps: float, seconds: float) -> dict[str, object]:
    """One load; once more if the machine was not there for it."""
    for tries in range(TRIES):
        say(f"{load:g} x: {rate_rps:,.0f} calls/s for {WARM_UP_S + seconds:.0f} s")
        window = flooder.open((rate_rps, WARM_UP_S), (rate_rps, seconds))
        if window["steal_percent"] <= STEAL_PERCENT_MAX or tries + 1 == TRIES:
            break
    return figures(load, window)


def figures(load: float, window: Mapping[str, Any]) -> dict[str, object]:
    """What is reported of a window: rates a second."""
    seconds, statuses = window["seconds"], window["statuses"]
    return {
        "load": load,
        "offered_rps": window["offered"] / seconds,
        "goodput_rps": window["good"] / seconds,
        "refused_rps": window["refused"] / seconds,
        "late_rps": window["late"] / seconds,
        "expired_rps": statuses.get("DEADLINE_EXCEEDED", 0) / seconds,
        "late_ratio": window["missed"] / max(window["good"] + window["missed"], 1),
        "p50_ms": window["p50_ms"],
        "p99_ms": window["p99_ms"],
        "refused_p99_ms": window["refused_p99_ms"],
        "generator_lateness_p99_ms": window["lateness_p99_ms"],
        "statuses": statuses,
        "rungs_sampled": dict(window["rungs"]),
        "offers_mean_sampled": window["offers_mean"],
        "server_cores": window["server_cpu_s"] / window["ran_s"],
        "generator_cores": window["generator_cpu_s"] / window["ran_s"],
        "steal_percent": window["steal_percent"],
        "others_percent": window["others_percent"],
    }


def ratios(saturated_rps: float, steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The goodput of loads that are too much by the best of all, and the largest share of calls that were missed."""
    peak_rps = max(saturated_rps, *(step["goodput_rps"] for step in steps))
    return {
        "peak_rps": peak_rps,
        **{f"goodput_ratio_{step['load']:g}x": step["goodput_rps"] / peak_rps for step in steps if step["load"] > 1},
        "late_ratio": max(step["late_ratio"] for step in steps),
    }


def overload_table(figures: Mapping[str, Any]) -> str:
    """The scenario as a table: a row for each load."""
    saturated = figures["saturated"]
    title = f"Overload: {figures['candidates']:,} offers, {figures['transport']} transport, "
    title += f"deadlines of {figures['deadline_ms']} ms, saturated at {saturated['rate_rps']:,.0f} calls/s"
    head = f"  {'load':>5}{'offered':>9}{'good':>8}{'refused':>9}{'expired':>9}{'late':>7}{'p50, ms':>9}{'p99, ms':>9}"
    rows = [
        f"  {step['load']:>5g}{step['offered_rps']:>9,.0f}{step['goodput_rps']:>8,.0f}{step['refused_rps']:>9,.0f}"
        f"{step['expired_rps']:>9,.0f}{step['late_rps']:>7,.0f}{step['p50_ms']:>9.1f}{step['p99_ms']:>9.1f}"
        f"  {_rungs(step['rungs_sampled'])}"
        for step in figures["steps"]
    ]
    notes = [
        f"Goodput at 2 x {figures['goodput_ratio_2x']:.2f}, at 4 x {figures['goodput_ratio_4x']:.2f} of the peak; "
        f"late {100 * figures['late_ratio']:.2f} % of what was not refused; {_recovered(figures['recovery_s'])}.",
        f"Refusals took {max(step['refused_p99_ms'] for step in figures['steps']):.1f} ms at p99; "
        f"at 4 x an answer had {figures['steps'][-1]['offers_mean_sampled']:.1f} offers.",
        f"Calls a second. Server CPU {saturated['server_cpu_us_per_call']:.0f} µs/call when saturated, generator "
        f"{saturated['generator_cpu_us_per_call']:.0f}. "
        f"Steal at most {max(step['steal_percent'] for step in figures['steps']):.2f} %, "
        f"other processes at most {max(step['others_percent'] for step in figures['steps']):.1f} %.",
    ]
    return "\n".join([title, "", head, *rows, "", *notes])


def _recovered(recovery_s: float | None) -> str:
    return "not back to normal" if recovery_s is None else f"back to normal after {recovery_s:.2f} s"


def _rungs(sampled: Mapping[str, int]) -> str:
    total = sum(sampled.values())
    shares = sorted(sampled.items())
    return ", ".join(f"{name.removeprefix('RUNG_').lower()} {100 * count / total:.0f} %" for name, count in shares)
