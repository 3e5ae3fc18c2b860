"""The scenario `deltas`: how many deltas a second become durable, and how long an acknowledgement takes.

1. Saturated, closed loop, as much on its way as the server allows: messages of 100 deltas, then messages of one, each
   beside a stream on stock grpc.aio that keeps nothing. All of them in turn.
2. How far the journal grew by a delta.
3. Open loop at half of each rate: from the time a message was due to its acknowledgement.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loadtest.calm import in_turn
from loadtest.delta_stream import OUTSTANDING, STREAMS
from loadtest.folder import journal_bytes
from loadtest.ground import Ground, Serve, fill, prepared
from loadtest.procfs import written_bytes
from loadtest.progress import say
from loadtest.saturation import WINDOW_S, Saturation
from loadtest.serving import Server, durable, empty_stream, free_port, is_connected, serving
from loadtest.setting import now, setting
from loadtest.spinner import spinners
from loadtest.steady import Steady, hold
from loadtest.streaming import A_DELTA
from loadtest.target import Target, Window

MANY = 100
CALLERS = STREAMS * OUTSTANDING
ROUNDS_MAX = 6
SAMPLES_WANTED = 10_000
PREPARED = {MANY: 200_000, 1: 20_000}
"""How many deltas are prepared, by the deltas of a message; they go round."""


@dataclass(frozen=True, slots=True)
class DeltasOptions:
    """How many customers there are, and how long an open loop may take for its samples at most, in seconds."""

    offers: int = 1_000
    profiles: int = 100_000
    transport: str = "native"
    seconds: float = 60.0
    hold_cores: bool = False
    windows: int = 4


@dataclass(frozen=True, slots=True)
class Sized:
    """Messages of one size, to both servers."""

    deltas: int
    message_bytes: float
    ours: Target
    empty: Target


@dataclass(frozen=True, slots=True)
class Growth:
    """What a delta leaves behind, in bytes: in the journal, and as writes to storage, which take its log as well."""

    journal: float
    written: float


def deltas(options: DeltasOptions, serve: Serve = durable) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    started = now()
    with contextlib.ExitStack() as stack:
        ground, workload = stack.enter_context(prepared(options.offers, options.profiles, options.transport, serve))
        server = stack.enter_context(ground.server())
        empty = stack.enter_context(_empty(ground))
        fill(server, options.profiles)
        many, single = (
            stack.enter_context(_sized(ground, list(workload.messages(prepared, size)), server, empty, size))
            for size, prepared in PREPARED.items()
        )
        rates = _saturate([many.ours, single.ours, many.empty, single.empty], options.windows)
        grown = [_growth(ground, sized) for sized in (many, single)]
        with spinners() if options.hold_cores else contextlib.nullcontext():
            (many_ack,) = _hold([many.ours], rates[0], options.seconds)
            single_ack, empty_ack = _hold([single.ours, single.empty], rates[1], options.seconds)
    return {
        "scenario": "deltas",
        "transport": options.transport,
        "profiles": options.profiles,
        "streams": STREAMS,
        "messages_outstanding": CALLERS,
        "delta": A_DELTA,
        **_figures("durable_", "", many, (rates[0], rates[2]), grown[0]),
        **_acknowledged("", many_ack),
        **_figures("single_", "single_", single, (rates[1], rates[3]), grown[1]),
        **_acknowledged("single_", single_ack),
        "empty": {
            "durable_deltas_per_s": MANY * rates[2].rate_rps,
            "server_cpu_us_per_delta": rates[2].cpu_us_per_call / MANY,
            "single_deltas_per_s": rates[3].rate_rps,
            "single_server_cpu_us_per_delta": rates[3].cpu_us_per_call,
            **_acknowledged("single_", empty_ack),
        },
        "generator_bound": {"durable": rates[0].generator_bound, "single": rates[1].generator_bound},
        "filesystem": dict(ground.disk),
        **setting([*rates, many_ack, single_ack, empty_ack], started),
    }


@contextlib.contextmanager
def _empty(ground: Ground) -> Iterator[Server]:
    port = free_port()
    with serving(empty_stream(port), port, ground.directory / "empty.log", is_connected) as server:
        yield server


@contextlib.contextmanager
def _sized(ground: Ground, payloads: list[bytes], server: Server, empty: Server, size: int) -> Iterator[Sized]:
    with (
        ground.target(f"ours-{size}", server, payloads, "deltas") as ours,
        ground.target(f"empty-{size}", empty, payloads, "deltas") as beside,
    ):
        yield Sized(size, sum(map(len, payloads)) / len(payloads), ours, beside)


def _saturate(targets: list[Target], windows: int) -> list[Saturation]:
    say(f"{CALLERS} messages on their way: {windows} or more windows of {WINDOW_S:.0f} s each, in turn")
    measures = [_closed(target) for target in targets]
    for measure in measures:
        measure()  # The first messages open streams and fill caches.
    taken = in_turn(measures, windows, max(ROUNDS_MAX, windows))
    return [Saturation.of(each, CALLERS) for each in taken]


def _closed(target: Target) -> Callable[[], Window]:
    return lambda: target.closed(CALLERS, WINDOW_S)


def _growth(ground: Ground, sized: Sized) -> Growth:
    """What one more window leaves behind, by delta."""
    pid = sized.ours.pid
    journal, written = journal_bytes(ground.data), written_bytes(pid)
    count = sized.deltas * sized.ours.closed(CALLERS, WINDOW_S).calls
    return Growth((journal_bytes(ground.data) - journal) / count, (written_bytes(pid) - written) / count)


def _hold(targets: list[Target], saturated: Saturation, seconds_max: float) -> list[Steady]:
    """Half the rate for as long as the wanted samples take."""
    rate = saturated.rate_rps / 2
    return hold(targets, rate, min(seconds_max, SAMPLES_WANTED / rate))


def _figures(
    rate: str, prefix: str, sized: Sized, saturated: tuple[Saturation, Saturation], growth: Growth
) -> dict[str, object]:
    ours, empty = saturated
    return {
        f"{rate}deltas_per_s": sized.deltas * ours.rate_rps,
        f"{prefix}rate_ratio_to_empty": ours.rate_rps / empty.rate_rps,
        f"{prefix}deltas_per_message": sized.deltas,
        f"{prefix}message_bytes": sized.message_bytes,
        f"{prefix}server_cpu_us_per_delta": ours.cpu_us_per_call / sized.deltas,
        f"{prefix}cpu_ratio_to_empty": ours.cpu_us_per_call / empty.cpu_us_per_call,
        f"{prefix}server_cores": ours.server_cores,
        f"{prefix}generator_cores": ours.generator_cores,
        f"{prefix}journal_bytes_per_delta": growth.journal,
        f"{prefix}written_bytes_per_delta": growth.written,
        f"{prefix}ack_messages_per_s": ours.rate_rps / 2,
    }


def _acknowledged(prefix: str, steady: Steady) -> dict[str, object]:
    return {
        f"{prefix}ack_p50_ms": steady.p50_ms,
        f"{prefix}ack_p99_ms": steady.p99_ms,
        f"{prefix}ack_samples": steady.samples,
        f"{prefix}ack_lateness_p99_ms": steady.lateness_p99_ms,
    }
