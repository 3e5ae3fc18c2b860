"""The scenario `scaling`: what ten times the offers and a hundred times the profiles cost.

Three servers run at once, idle but for the one whose turn it is, so that their windows alternate within
seconds: `few` offers and profiles, `offers` with ten times the offers, `profiles` with a hundred times the
profiles.
"""

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime

from loadtest.machine import machine
from loadtest.saturation import Saturation, saturate
from loadtest.serving import ServeCommand, opportune
from loadtest.spinner import spinners
from loadtest.stage import ranking, synthetic, workspace
from loadtest.steady import Steady, hold


@dataclass(frozen=True, slots=True)
class ScalingOptions:
    """The sizes to compare, and how long to hold the open loop, in seconds for each of the two servers."""

    offers: tuple[int, int] = (1_000, 10_000)
    profiles: tuple[int, int] = (1_000, 100_000)
    transport: str = "native"
    seconds: float = 20.0
    hold_cores: bool = False
    windows: int = 4


def scaling(options: ScalingOptions, serve: ServeCommand = opportune) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    started = datetime.now(UTC)
    (few_offers, many_offers), (few_profiles, many_profiles) = options.offers, options.profiles
    sizes = {
        "few": (few_offers, few_profiles),
        "offers": (many_offers, few_profiles),
        "profiles": (few_offers, many_profiles),
    }
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())
        few, offers, profiles = (
            stack.enter_context(
                ranking(name, directory, synthetic(directory / name, *size), options.transport, serve)
            ).target
            for name, size in sizes.items()
        )
        saturated = saturate([few, offers, profiles], options.windows)
        rate_rps = min(saturated[0].rate_rps, saturated[2].rate_rps) / 2
        with spinners() if options.hold_cores else contextlib.nullcontext():
            steady = hold([few, profiles], rate_rps, options.seconds)
    errors = [each.errors.total() for each in saturated] + [each.errors.total() for each in steady]
    steal = [each.steal_percent for each in saturated] + [each.steal_percent for each in steady]
    others = [each.others_percent for each in saturated] + [each.others_percent for each in steady]
    return {
        "scenario": "scaling",
        "transport": options.transport,
        "offers": {"counts": list(options.offers), **_costs(saturated[0], saturated[1])},
        "profiles": {
            "counts": list(options.profiles),
            **_costs(saturated[0], saturated[2]),
            **_latencies(*steady),
            "rate_rps": rate_rps,
        },
        "errors": sum(errors),
        "steal_percent": max(steal),
        "others_percent": max(others),
        "started": started.isoformat(timespec="seconds"),
        "machine": machine(),
    }


def _costs(few: Saturation, many: Saturation) -> dict[str, object]:
    return {
        "cpu_us_per_call": [few.cpu_us_per_call, many.cpu_us_per_call],
        "saturated_rps": [few.rate_rps, many.rate_rps],
        "cpu_ratio": many.cpu_us_per_call / few.cpu_us_per_call,
    }


def _latencies(few: Steady, many: Steady) -> dict[str, object]:
    return {
        "p50_ms": [few.p50_ms, many.p50_ms],
        "p99_ms": [few.p99_ms, many.p99_ms],
        "p50_ratio": many.p50_ms / few.p50_ms,
        "p99_ratio": many.p99_ms / few.p99_ms,
        "samples": [few.samples, many.samples],
    }
