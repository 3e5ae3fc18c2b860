"""The scenario `freshness`: how long after a delta was due do decisions use it, while 2,000 others a second stream in.

A probe is a delta that makes its customer eligible for an offer; it is over with the first answer of RankOffers that
has the offer. `at once`: offers are ranked again and again from the moment of sending. `acknowledged`: they are ranked
once, when the delta is acknowledged and at the version of the acknowledgement, which must be enough.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from loadtest.beside import Beside
from loadtest.calm import in_turn
from loadtest.ground import Serve, fill, prepared
from loadtest.probe import NotRankedError, probe
from loadtest.probe_offer import PROBE
from loadtest.progress import say
from loadtest.serving import durable
from loadtest.setting import now, setting
from loadtest.spinner import spinners
from loadtest.steady import WARM_UP_S, Steady
from loadtest.target import Target, Window

PROBES_PER_S = 50
SLICE_S = 5.0
PROBES_PREPARED = 20_000
DELTAS_PER_MESSAGE = 10
DELTAS_PREPARED = 100_000


@dataclass(frozen=True, slots=True)
class FreshnessOptions:
    """How many customers there are, what streams in beside the probes, and how many probes of each kind count."""

    offers: int = 1_000
    profiles: int = 100_000
    transport: str = "native"
    deltas_per_s: int = 2_000
    probes: int = 2_000
    hold_cores: bool = False


def freshness(options: FreshnessOptions, serve: Serve = durable) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    started = now()
    with contextlib.ExitStack() as stack:
        ground, workload = stack.enter_context(prepared(options.offers, options.profiles, options.transport, serve))
        server = stack.enter_context(ground.server())
        fill(server, options.profiles)
        probes = [workload.probes(min(PROBES_PREPARED, options.profiles // 2), half) for half in (0, 1)]
        sample = probe(server.address, probes[0])
        if PROBE in sample.offers:
            raise NotRankedError("A customer was eligible for the probe before there was one.")
        messages = list(workload.messages(DELTAS_PREPARED, DELTAS_PER_MESSAGE))
        stream = stack.enter_context(ground.target("stream", server, messages, "deltas"))
        beside = Beside(stream, options.deltas_per_s / DELTAS_PER_MESSAGE, DELTAS_PER_MESSAGE)
        targets = [
            stack.enter_context(ground.target(name, server, payloads, name))
            for name, payloads in zip(("probe-at-once", "probe-acknowledged"), probes, strict=True)
        ]
        with spinners() if options.hold_cores else contextlib.nullcontext():
            at_once, acknowledged = _measure(targets, beside, options.probes)
    return {
        "scenario": "freshness",
        "transport": options.transport,
        "candidates": options.offers,
        "profiles": options.profiles,
        **_figures("freshness_", at_once),
        "rankings_per_probe": at_once.rungs["ASKED"] / max(1, at_once.samples),
        **_figures("acknowledged_freshness_", acknowledged),
        "probes_per_s": PROBES_PER_S,
        "stream": beside.figures(),
        "eligible_mean": sample.eligible_mean,
        "filesystem": dict(ground.disk),
        **setting([at_once, acknowledged, beside.steady], started),
    }


def _measure(targets: list[Target], beside: Beside, probes: int) -> list[Steady]:
    # One more than it should take: how many are due in a slice is left to chance.
    slices = ceil(probes / (PROBES_PER_S * SLICE_S)) + 1
    say(f"{PROBES_PER_S} probes/s of each kind, {slices} or more slices of {SLICE_S:.1f} s, in turn")
    taken = in_turn([_probing(target, beside) for target in targets], slices, ceil(1.5 * slices))
    return [Steady.of(windows) for windows in taken]


def _probing(target: Target, beside: Beside) -> Callable[[], Window]:
    return lambda: beside.window(lambda: target.open(PROBES_PER_S, SLICE_S, WARM_UP_S), WARM_UP_S + SLICE_S)


def _figures(prefix: str, steady: Steady) -> dict[str, object]:
    return {
        f"{prefix}p50_ms": steady.p50_ms,
        f"{prefix}p99_ms": steady.p99_ms,
        f"{prefix}samples": steady.samples,
        f"{prefix}lateness_p99_ms": steady.lateness_p99_ms,
    }
