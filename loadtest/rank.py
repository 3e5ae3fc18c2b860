"""The scenario `rank`: RankOffers beside an empty call on stock grpc.aio, in one session.

1. Saturated, closed loop, both in turn: rate, and the server's CPU time per call.
2. Open loop, both at one rate: half of what the slower of the two can do, so that the latencies compare.
"""

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime

from loadtest.machine import machine
from loadtest.probe import Sample
from loadtest.saturation import Saturation, saturate
from loadtest.serving import ServeCommand, opportune
from loadtest.spinner import spinners
from loadtest.stage import demo, ranking, synthetic, workspace, yardstick
from loadtest.steady import Steady, hold


@dataclass(frozen=True, slots=True)
class RankOptions:
    """What to rank, and how long to hold the open loop, in seconds for each of the two servers."""

    offers: int
    profiles: int
    transport: str
    seconds: float
    demo: bool = False
    hold_cores: bool = False
    windows: int = 4


def rank(options: RankOptions, serve: ServeCommand = opportune) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    started = datetime.now(UTC)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())
        workload = demo() if options.demo else synthetic(directory / "workload", options.offers, options.profiles)
        ours = stack.enter_context(ranking("ours", directory, workload, options.transport, serve))
        empty = stack.enter_context(yardstick(directory, ours))
        saturated = saturate([ours.target, empty], options.windows)
        rate_rps = min(each.rate_rps for each in saturated) / 2
        with spinners() if options.hold_cores else contextlib.nullcontext():
            steady = hold([ours.target, empty], rate_rps, options.seconds)
        sample = ours.sample
    return {
        "scenario": "rank",
        "transport": options.transport,
        "candidates": workload.offers,
        "profiles": workload.profiles,
        **_figures(saturated, rate_rps, steady),
        **_context(saturated, steady, sample, started),
    }


def _figures(saturated: list[Saturation], rate_rps: float, steady: list[Steady]) -> dict[str, object]:
    (ours, empty), (ours_steady, empty_steady) = saturated, steady
    return {
        "saturated_rps": ours.rate_rps,
        "server_cpu_us_per_call": ours.cpu_us_per_call,
        "rate_rps": rate_rps,
        "p50_ms": ours_steady.p50_ms,
        "p99_ms": ours_steady.p99_ms,
        "p999_ms": ours_steady.p999_ms,
        "p99_to_p50": ours_steady.p99_ms / ours_steady.p50_ms,
        "p99_ratio_to_empty": ours_steady.p99_ms / empty_steady.p99_ms,
        "curve_ms": ours_steady.curve,
        "errors": (ours.errors + ours_steady.errors).total(),
        "empty": {
            "saturated_rps": empty.rate_rps,
            "server_cpu_us_per_call": empty.cpu_us_per_call,
            "p50_ms": empty_steady.p50_ms,
            "p99_ms": empty_steady.p99_ms,
            "p999_ms": empty_steady.p999_ms,
            "curve_ms": empty_steady.curve,
            "errors": (empty.errors + empty_steady.errors).total(),
            "errors_by_code": dict(empty.errors + empty_steady.errors),
        },
        "cpu_ratio_to_empty": ours.cpu_us_per_call / empty.cpu_us_per_call,
        "rps_ratio_to_empty": ours.rate_rps / empty.rate_rps,
    }


def _context(saturated: list[Saturation], steady: list[Steady], sample: Sample, started: datetime) -> dict[str, object]:
    """What else a reader needs to trust the figures, or not to."""
    ours, ours_steady = saturated[0], steady[0]
    steal = [each.steal_percent for each in saturated] + [each.steal_percent for each in steady]
    others = [each.others_percent for each in saturated] + [each.others_percent for each in steady]
    return {
        "samples": ours_steady.samples,
        "eligible_mean": sample.eligible_mean,
        "reply_bytes": len(sample.reply),
        "errors_by_code": dict(ours.errors + ours_steady.errors),
        "rungs_sampled": dict(ours.rungs + ours_steady.rungs),
        "steal_percent": max(steal),
        "others_percent": max(others),
        "generator_bound": ours.generator_bound,
        "generator_lateness_p99_ms": ours_steady.lateness_p99_ms,
        "saturation": {name: _load(each) for name, each in zip(("ours", "empty"), saturated, strict=True)},
        "started": started.isoformat(timespec="seconds"),
        "machine": machine(),
    }


def _load(saturation: Saturation) -> dict[str, object]:
    return {
        "callers": saturation.callers,
        "server_cores": saturation.server_cores,
        "generator_cores": saturation.generator_cores,
        "generator_cpu_us_per_call": saturation.generator_us_per_call,
    }
