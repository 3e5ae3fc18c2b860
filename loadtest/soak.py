"""The scenario `soak`: whether a server that has worked for long holds more than one that has not.

Rounds of rankings and of streams that their callers cancel, on one server with a data folder. After each round its
memory, descriptors, threads and tasks are read; the first rounds fill caches and do not count.

Few customers are asked for again and again, so that what is kept of each is full soon. As their caps leave them nothing
then, for every second customer a ranking is only tried out: that holds nothing, and goes on having a full answer.
"""

import asyncio
import contextlib
import statistics
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio
import numpy as np
from opportune.v1.decision_service_pb2 import RankOffersRequest
from opportune.v1.profile_service_pb2 import StreamProfileDeltasRequest

from loadtest.delta_stream import METHOD
from loadtest.machine import machine
from loadtest.overload import Flooder, flooded
from loadtest.probe import NotRankedError
from loadtest.procfs import PROC, MachineTime, resident_bytes
from loadtest.progress import say
from loadtest.serving import durable
from loadtest.setting import now
from loadtest.stage import workspace
from loadtest.watching import TASKS, Watching, metrics_address

CALLERS = 16
AT_ONCE = 16
ROUNDS = 20
WARM_UP_SHARE, WARM_UP_CALLS = 0.25, 25_000
"""Caches are full, and the allocator has its arenas, after both of these, or after half of a short run."""

OFFERS_MEAN_MIN = 2.0
"""Half of the rankings are tried out, and have ten offers or as many as there are; those of the rest run dry."""

STREAM_S = 30.0
SOURCES = 8
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """How much a server has to do."""

    calls: int = 500_000
    streams: int = 50_000
    offers: int = 200
    profiles: int = 5_000
    transport: str = "native"


class Reading(NamedTuple):
    """What a server holds after so many calls that were answered, with so many offers in the mean of a sample."""

    calls: int
    streams: int
    rss_mib: float
    descriptors: int
    threads: int
    tasks: int
    offers_mean: float


def soak(options: SoakOptions) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file.

    Raises:
        NotRankedError: calls failed, or their answers were empty: what a server holds then says nothing.
    """
    started, machine_before = now(), MachineTime.now()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())
        metrics = metrics_address()
        settings = ("--decision-log-mib", "64", "--snapshot-entries", "50000", "--metrics-listen", metrics)
        command = durable(directory / "data", *settings)
        flooder, _ = stack.enter_context(flooded(directory, options, command, every_second_tried_out))
        watching = Watching(metrics)
        readings: list[Reading] = []
        for number in range(1, ROUNDS + 1):
            before = readings[-1].calls if readings else 0
            readings.append(_round(flooder, watching, options, number, before))
    return {
        "scenario": "soak",
        "transport": options.transport,
        "candidates": options.offers,
        "profiles": options.profiles,
        **growth(readings),
        "readings": [reading._asdict() for reading in readings],
        "steal_percent": MachineTime.now().steal_percent_since(machine_before),
        "started": started,
        "machine": machine(),
    }


def _round(flooder: Flooder, watching: Watching, options: SoakOptions, number: int, before: int) -> Reading:
    ran = flooder.some(CALLERS, options.calls * number // ROUNDS - options.calls * (number - 1) // ROUNDS)
    streams = options.streams * number // ROUNDS - options.streams * (number - 1) // ROUNDS
    asyncio.run(cancel_streams(flooder.address, streams))
    pid = flooder.pid
    reading = Reading(
        calls=before + ran["statuses"].get("OK", 0),
        streams=options.streams * number // ROUNDS,
        rss_mib=resident_bytes(pid) / MIB,
        descriptors=_count(PROC / str(pid) / "fd"),
        threads=_count(PROC / str(pid) / "task"),
        tasks=round(watching.scrape()[TASKS]),
        offers_mean=ran["offers_mean"],
    )
    holds = f"{reading.rss_mib:.1f} MiB, {reading.descriptors} descriptors, {reading.threads} threads"
    holds += f", {reading.tasks} tasks"
    say(f"{reading.calls:,} calls, {reading.streams:,} streams: {holds}; {reading.offers_mean:.1f} offers")
    if ran["statuses"].keys() - {"OK"} or (ran["sampled"] and reading.offers_mean < OFFERS_MEAN_MIN):
        raise NotRankedError(f"{ran['statuses']}, {reading.offers_mean:.1f} offers in the mean")
    return reading


def every_second_tried_out(requests: list[bytes]) -> list[bytes]:
    """Requests that only try out what they ask, for every second of the customers."""
    asked = [RankOffersRequest.FromString(request) for request in requests]
    for request in asked:
        request.validate_only = zlib.crc32(request.customer_id.encode()) % 2 == 0
    return [request.SerializeToString() for request in asked]


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def growth(readings: Sequence[Reading]) -> dict[str, object]:
    """How much more a server holds for what it has done, by a line through the readings after the warm-up."""
    warm = sum(reading.calls < WARM_UP_CALLS for reading in readings)
    settled = readings[min(max(warm, int(WARM_UP_SHARE * len(readings))), len(readings) // 2) :]
    first, last, half = settled[0], settled[-1], len(settled) // 2
    slope = np.polyfit([each.calls for each in settled], [each.rss_mib for each in settled], 1)[0]
    return {
        "calls": last.calls,
        "streams_cancelled": last.streams,
        "offers_mean": statistics.fmean(each.offers_mean for each in settled),
        "rss_slope_mib_per_100k_calls": 1e5 * float(slope),
        "rss_mib_first": first.rss_mib,
        "rss_mib_last": last.rss_mib,
        # A reader of the database comes and goes: what was there at the quietest moment of each half is compared.
        "descriptor_growth": _fewest(settled[half:], "descriptors") - _fewest(settled[:half], "descriptors"),
        "thread_growth": _fewest(settled[half:], "threads") - _fewest(settled[:half], "threads"),
        "task_growth": _fewest(settled[half:], "tasks") - _fewest(settled[:half], "tasks"),
    }


def _fewest(readings: Sequence[Reading], name: str) -> int:
    return min(int(getattr(reading, name)) for reading in readings)


async def cancel_streams(address: str, count: int) -> None:
    """Opens so many streams of deltas, has each answered, and hangs up in the middle of it."""
    numbers = iter(range(count))
    async with grpc.aio.insecure_channel(address) as channel:
        open_stream: Any = channel.stream_stream(METHOD)

        async def cancelling() -> None:
            for number in numbers:
                call = open_stream(timeout=STREAM_S)
                # What a producer asks first: where it left off.
                await call.write(StreamProfileDeltasRequest(source=f"soak-{number % SOURCES}").SerializeToString())
                await call.read()
                call.cancel()

        await asyncio.gather(*(cancelling() for _ in range(AT_ONCE)))


def soak_table(figures: Mapping[str, Any]) -> str:
    """The scenario as a table."""
    rows = [
        ("rankings", f"{figures['calls']:,}"),
        ("offers of an answer, mean", f"{figures['offers_mean']:.1f}"),
        ("streams cancelled", f"{figures['streams_cancelled']:,}"),
        ("memory, MiB per 100,000 calls", f"{figures['rss_slope_mib_per_100k_calls']:.2f}"),
        ("memory, MiB", f"{figures['rss_mib_first']:.1f} to {figures['rss_mib_last']:.1f}"),
        ("more descriptors", f"{figures['descriptor_growth']}"),
        ("more threads", f"{figures['thread_growth']}"),
        ("more tasks", f"{figures['task_growth']}"),
    ]
    title = f"Soak: {figures['candidates']:,} offers, {figures['transport']} transport"
    return "\n".join([title, "", *(f"  {name:32}{value:>20}" for name, value in rows)])
