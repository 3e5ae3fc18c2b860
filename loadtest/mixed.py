"""The scenario `mixed`: what RankOffers loses while the rest of the work goes on.

Open loop at one rate on one server, four kinds of windows in turn: alone; while 5,000 deltas a second stream in and
become durable; with a catalog published in the middle that switches to another model; and with everything: both, and
100 shoppers a second who rank and report outcomes. Meanwhile metrics are scraped, and snapshots are written.

The rankings come from a lean generator (`lean.py`), and all generators keep off the first core: with everything, seven
processes share the machine. The rate is a quarter of what the server answers alone, as deltas, shoppers and a catalog
take another half of it.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil

from loadtest.beside import LEAD_S, Beside
from loadtest.calm import in_turn
from loadtest.ground import Serve, fill, prepared
from loadtest.probe import probe
from loadtest.progress import say
from loadtest.saturation import saturate
from loadtest.serving import durable
from loadtest.setting import now, setting
from loadtest.spinner import spinners
from loadtest.stage import REQUESTS
from loadtest.steady import SLICE_S, WARM_UP_S, Steady
from loadtest.switching import Switching, with_other_model
from loadtest.tally import OK
from loadtest.target import Target, Window
from loadtest.watching import LoopLag, Watching, metrics_address

DELTAS_PER_MESSAGE = 10
DELTAS_PREPARED = 100_000
SNAPSHOT_ENTRIES = 20_000
"""Entries between two snapshots: some fall into the windows."""


@dataclass(frozen=True, slots=True)
class MixedOptions:
    """The rates of the loads, and for how long each kind of window is held, in seconds.

    A `rate_rps` of 0 is a quarter of what the server answers when saturated.
    """

    offers: int = 1_000
    profiles: int = 100_000
    transport: str = "native"
    rate_rps: int = 0
    deltas_per_s: int = 5_000
    shoppers_per_s: int = 100
    seconds: float = 20.0
    hold_cores: bool = False


def mixed(options: MixedOptions, serve: Serve = durable) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    started = now()
    with contextlib.ExitStack() as stack:
        ground, workload = stack.enter_context(prepared(options.offers, options.profiles, options.transport, serve))
        catalogs = with_other_model(workload)
        metrics = metrics_address()
        server = stack.enter_context(
            ground.server("--metrics-listen", metrics, "--snapshot-entries", str(SNAPSHOT_ENTRIES))
        )
        watching = stack.enter_context(Watching(metrics).open())
        fill(server, options.profiles)
        requests = workload.requests(REQUESTS)
        sample = probe(server.address, requests)
        messages = list(workload.messages(DELTAS_PREPARED, DELTAS_PER_MESSAGE))

        def aimed(name: str, payloads: Sequence[bytes], transport: str) -> Target:
            return stack.enter_context(ground.target(name, server, payloads, transport, apart=True))

        stream, shoppers = aimed("stream", messages, "deltas"), aimed("shoppers", requests, "shoppers")
        ranked = aimed("rank", requests, "rank-lean")
        options = replace(options, rate_rps=options.rate_rps or round(saturate([ranked])[0].rate_rps / 4))
        beside = Beside(stream, options.deltas_per_s / DELTAS_PER_MESSAGE, DELTAS_PER_MESSAGE)
        work = _Work(beside, Beside(shoppers, options.shoppers_per_s, 1), Switching(server.address, catalogs))
        lags = LoopLag(), LoopLag()
        with spinners() if options.hold_cores else contextlib.nullcontext():
            kinds = _measure(ranked, work, options, watching, lags)
    return {
        "scenario": "mixed",
        "transport": options.transport,
        "candidates": options.offers,
        "profiles": options.profiles,
        "rate_rps": options.rate_rps,
        **_compared(kinds),
        "stream": beside.figures(),
        "shoppers": work.shopping(),
        "published_s": work.switching.took_s,
        **_lag_figures(*lags),
        "snapshots": watching.snapshots,
        "eligible_mean": sample.eligible_mean,
        "rungs_sampled": dict(sum((kind.rungs for kind in kinds), Counter[str]())),
        "filesystem": dict(ground.disk),
        **setting([*kinds, beside.steady, work.shoppers.steady], started),
    }


@dataclass(frozen=True, slots=True)
class _Work:
    """What goes on beside the rankings."""

    deltas: Beside
    shoppers: Beside
    switching: Switching

    def window(self, measure: Callable[[], Window], seconds: float) -> Window:
        """Runs a window of so many seconds, warm-up included, with all of it."""

        def switched() -> Window:
            return self.switching.window(measure, seconds)

        def shopped() -> Window:
            return self.shoppers.window(switched, seconds)

        return self.deltas.window(shopped, seconds + 2 * LEAD_S)

    def shopping(self) -> dict[str, object]:
        """What became of the outcomes that shoppers have reported."""
        windows = self.shoppers.windows
        attributions = sum((window.rungs for window in windows), Counter[str]())
        return {
            "per_s": sum(window.statuses[OK] for window in windows) / sum(window.seconds for window in windows),
            "outcomes": dict(attributions),
            "errors": sum(window.errors.total() for window in windows),
        }


def _measure(
    ranked: Target, work: _Work, options: MixedOptions, watching: Watching, lags: tuple[LoopLag, LoopLag]
) -> list[Steady]:
    slices = ceil(options.seconds / SLICE_S)
    slice_s = options.seconds / slices
    say(f"{options.rate_rps:,} rankings/s: alone, with {options.deltas_per_s:,} deltas/s, a catalog, and everything")

    def alone() -> Window:
        return ranked.open(options.rate_rps, slice_s, WARM_UP_S)

    def streaming_in() -> Window:
        return work.deltas.window(alone, WARM_UP_S + slice_s)

    def with_everything() -> Window:
        return work.window(alone, WARM_UP_S + slice_s)

    kinds = [
        lambda: watching.during(lags[0], alone),
        streaming_in,
        lambda: work.switching.window(alone, WARM_UP_S + slice_s),
        lambda: watching.during(lags[1], with_everything),
    ]
    return [Steady.of(windows) for windows in in_turn(kinds, slices, 2 * slices)]


def _lag_figures(without: LoopLag, with_everything: LoopLag) -> dict[str, object]:
    return {
        "loop_lag_p999_ms_without_at_most": without.at_most_ms(99.9),
        "loop_lag_p999_ms_with_everything_at_most": with_everything.at_most_ms(99.9),
        "loop_lag_max_ms_with_everything_at_most": with_everything.at_most_ms(100),
    }


def _compared(kinds: Sequence[Steady]) -> dict[str, object]:
    without, beside_stream, switching, beside_all = kinds
    return {
        **_figures("without", without),
        **_figures("with", beside_stream),
        **_figures("with_catalog", switching),
        **_figures("with_everything", beside_all),
        "p50_ratio": beside_stream.p50_ms / without.p50_ms,
        "p99_ratio": beside_stream.p99_ms / without.p99_ms,
        "p99_ratio_with_catalog": switching.p99_ms / without.p99_ms,
        "p99_ratio_with_everything": beside_all.p99_ms / without.p99_ms,
    }


def _figures(how: str, steady: Steady) -> dict[str, object]:
    return {
        f"rank_p50_ms_{how}": steady.p50_ms,
        f"rank_p99_ms_{how}": steady.p99_ms,
        f"samples_{how}": steady.samples,
        f"lateness_p99_ms_{how}": steady.lateness_p99_ms,
    }
