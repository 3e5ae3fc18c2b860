"""The scenario `mixed`: what RankOffers loses while 5,000 deltas a second stream in and become durable.

Open loop at one rate, windows without and with the stream in turn, on one server.
"""

import contextlib
from dataclasses import dataclass
from math import ceil

from loadtest.beside import Beside
from loadtest.calm import in_turn
from loadtest.ground import Serve, fill, prepared
from loadtest.probe import probe
from loadtest.progress import say
from loadtest.serving import durable
from loadtest.setting import now, setting
from loadtest.spinner import spinners
from loadtest.stage import REQUESTS
from loadtest.steady import SLICE_S, WARM_UP_S, Steady
from loadtest.target import Target, Window

DELTAS_PER_MESSAGE = 10
DELTAS_PREPARED = 100_000


@dataclass(frozen=True, slots=True)
class MixedOptions:
    """The rates of both loads, and for how long each kind of window is held, in seconds."""

    offers: int = 1_000
    profiles: int = 100_000
    transport: str = "native"
    rate_rps: int = 500
    deltas_per_s: int = 5_000
    seconds: float = 20.0
    hold_cores: bool = False


def mixed(options: MixedOptions, serve: Serve = durable) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    started = now()
    with contextlib.ExitStack() as stack:
        ground, workload = stack.enter_context(prepared(options.offers, options.profiles, options.transport, serve))
        server = stack.enter_context(ground.server())
        fill(server, options.profiles)
        requests = workload.requests(REQUESTS)
        sample = probe(server.address, requests)
        messages = list(workload.messages(DELTAS_PREPARED, DELTAS_PER_MESSAGE))
        stream = stack.enter_context(ground.target("stream", server, messages, "deltas"))
        beside = Beside(stream, options.deltas_per_s / DELTAS_PER_MESSAGE, DELTAS_PER_MESSAGE)
        ranked = stack.enter_context(ground.target("rank", server, requests, "rank"))
        with spinners() if options.hold_cores else contextlib.nullcontext():
            without, beside_stream = _measure(ranked, beside, options)
    return {
        "scenario": "mixed",
        "transport": options.transport,
        "candidates": options.offers,
        "profiles": options.profiles,
        "rate_rps": options.rate_rps,
        **_figures("without", without),
        **_figures("with", beside_stream),
        "p50_ratio": beside_stream.p50_ms / without.p50_ms,
        "p99_ratio": beside_stream.p99_ms / without.p99_ms,
        "stream": beside.figures(),
        "eligible_mean": sample.eligible_mean,
        "rungs_sampled": dict(without.rungs + beside_stream.rungs),
        "filesystem": dict(ground.disk),
        **setting([without, beside_stream, beside.steady], started),
    }


def _measure(ranked: Target, beside: Beside, options: MixedOptions) -> list[Steady]:
    slices = ceil(options.seconds / SLICE_S)
    slice_s = options.seconds / slices
    say(f"{options.rate_rps:,} rankings/s, without and with {options.deltas_per_s:,} deltas/s, in turn")

    def alone() -> Window:
        return ranked.open(options.rate_rps, slice_s, WARM_UP_S)

    def streaming_in() -> Window:
        return beside.window(alone, WARM_UP_S + slice_s)

    return [Steady.of(windows) for windows in in_turn([alone, streaming_in], slices, 2 * slices)]


def _figures(how: str, steady: Steady) -> dict[str, object]:
    return {
        f"rank_p50_ms_{how}": steady.p50_ms,
        f"rank_p99_ms_{how}": steady.p99_ms,
        f"samples_{how}": steady.samples,
        f"lateness_p99_ms_{how}": steady.lateness_p99_ms,
    }
