"""The scenario `hostile`: what others notice of callers who mean harm.

Open loop at one rate on one server that knows its callers, in turn: alone, and beside intruders of each kind, who call
so many times a second: once a neighbour, a stock grpc.aio server on the same machine, and once this server. What they
send is refused; what counts is the p99 of those who rank meanwhile. That of the neighbour's callers is what sending all
this takes of the machine by itself, and the ratio of the two is what it does to a server.
"""

import contextlib
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from loadtest.calm import in_turn
from loadtest.children import child
from loadtest.credentials import known_tokens
from loadtest.guarded import with_guards
from loadtest.intruder import KINDS
from loadtest.progress import say
from loadtest.serving import ServeCommand, opportune
from loadtest.setting import now, setting
from loadtest.stage import ranking, synthetic, workspace, yardstick
from loadtest.steady import SLICE_S, WARM_UP_S, Steady
from loadtest.target import Target, Window
from loadtest.watching import metrics_address


@dataclass(frozen=True, slots=True)
class HostileOptions:
    """The rates of both, and for how long each kind of window is held, in seconds."""

    offers: int = 1_000
    profiles: int = 20_000
    transport: str = "native"
    rate_rps: int = 500
    intrusions_per_s: int = 20
    seconds: float = 20.0


def hostile(options: HostileOptions, serve: ServeCommand = opportune) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    started = now()
    ended: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())
        workload = synthetic(directory / "workload", options.offers, options.profiles)
        tokens = directory / "tokens"
        tokens.write_text(known_tokens())
        command = with_guards(serve, tokens, metrics_address())
        ranked = stack.enter_context(ranking("guarded", directory, workload, options.transport, command, known=True))
        neighbour = stack.enter_context(yardstick(directory, ranked))
        alone, *beside = _measure(ranked.target, neighbour, options, ended)
    kinds = {
        kind: _kind(alone, at_neighbour, here) | {"ended": dict(ended[kind])}
        for kind, at_neighbour, here in zip(KINDS, beside[::2], beside[1::2], strict=True)
    }
    return {
        "scenario": "hostile",
        "transport": options.transport,
        "candidates": options.offers,
        "profiles": options.profiles,
        "rate_rps": options.rate_rps,
        "intrusions_per_s": options.intrusions_per_s,
        "p50_ms": alone.p50_ms,
        "p99_ms": alone.p99_ms,
        "samples": alone.samples,
        "beside": kinds,
        "p99_ratio_max": max(each["p99_ratio"] for each in kinds.values()),
        **setting([alone, *beside], started),
    }


def _kind(alone: Steady, at_neighbour: Steady, here: Steady) -> dict[str, Any]:
    """What one kind of intruder does to those who rank."""
    return {
        "p50_ms": here.p50_ms,
        "p99_ms": here.p99_ms,
        "p99_at_neighbour_ms": at_neighbour.p99_ms,
        "p99_ratio": here.p99_ms / at_neighbour.p99_ms,
        "p99_ratio_to_alone": here.p99_ms / alone.p99_ms,
    }


def _measure(
    target: Target, neighbour: Target, options: HostileOptions, ended: Mapping[str, Counter[str]]
) -> list[Steady]:
    """The rankings alone, and for each kind beside intruders at the neighbour and beside those who come here."""
    slices = ceil(options.seconds / SLICE_S)
    say(f"{options.rate_rps:,} rankings/s: alone, and beside {', '.join(KINDS)}, in turn")

    def alone() -> Window:
        return target.open(options.rate_rps, options.seconds / slices, WARM_UP_S)

    def beside(address: str, kind: str, ended: Counter[str]) -> Callable[[], Window]:
        def measure() -> Window:
            with intruding(address, kind, options.intrusions_per_s, ended):
                return alone()

        return measure

    measures = [alone]
    for kind in KINDS:
        measures += [beside(neighbour.address, kind, Counter()), beside(target.address, kind, ended[kind])]
    return [Steady.of(windows) for windows in in_turn(measures, slices, 2 * slices)]


@contextlib.contextmanager
def intruding(address: str, kind: str, rate_rps: float, ended: Counter[str]) -> Iterator[None]:
    """An intruder beside the block; how its calls have ended is added at the end of it."""
    command = ["-m", "loadtest.intruder", address, kind, str(rate_rps)]
    # What its own transport says of being refused is not for the reader.
    with child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        output, _ = process.communicate("")
    ended.update(json.loads(output))


def hostile_table(figures: Mapping[str, Any]) -> str:
    """The scenario as a table: a row for each kind of intruder."""
    title = f"Callers who mean harm: {figures['candidates']:,} offers, {figures['transport']} transport, "
    title += f"{figures['rate_rps']:,} rankings/s, {figures['intrusions_per_s']} intrusions/s"
    rows = [f"  {'alone':18}{figures['p50_ms']:>9.2f}{figures['p99_ms']:>9.2f}"]
    for kind, beside in figures["beside"].items():
        ends = ", ".join(f"{name} {count}" for name, count in beside["ended"].items())
        measured = f"{beside['p50_ms']:>9.2f}{beside['p99_ms']:>9.2f}{beside['p99_at_neighbour_ms']:>14.2f}"
        rows.append(f"  {kind:18}{measured}{beside['p99_ratio']:>7.2f}  {ends}")
    notes = [
        "At neighbour: p99 while the same calls go to a stock grpc.aio server beside this one.",
        f"{figures['samples']:,} samples each. Errors {figures['errors']}. "
        f"Steal at most {figures['steal_percent']:.2f} %, other processes at most {figures['others_percent']:.1f} %.",
    ]
    columns = f"  {'':18}{'p50, ms':>9}{'p99, ms':>9}{'at neighbour':>14}{'ratio':>7}"
    return "\n".join([title, "", columns, *rows, "", *notes])
