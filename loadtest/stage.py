"""Everything that one measurement needs, set up in order and taken down in reverse."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadtest.credentials import TOKEN, bearer
from loadtest.generator import write_payloads
from loadtest.ingest import load_profiles
from loadtest.probe import Sample, probe
from loadtest.progress import say
from loadtest.serving import ServeCommand, Server, empty, free_port, is_connected, is_healthy, serving
from loadtest.streaming import StreamingWorkload
from loadtest.target import Target, target
from loadtest.workload import SyntheticWorkload, Workload

REQUESTS = 20_000
"""Different requests, prepared before measuring; they go round."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """A server that ranks a workload, with its generator and what its answers look like."""

    target: Target
    sample: Sample
    requests: Sequence[bytes]


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A directory for catalogs, models and logs, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="opportune-loadtest-") as directory:
        yield Path(directory)


def synthetic(directory: Path, offers: int, profiles: int) -> Workload:
    """Writes a synthetic workload below a directory of its own."""
    directory.mkdir()
    return SyntheticWorkload(directory, offers, profiles, datetime.now(UTC).date())


def streaming(directory: Path, offers: int, profiles: int) -> StreamingWorkload:
    """Writes a workload that takes deltas below a directory of its own."""
    directory.mkdir()
    return StreamingWorkload(directory, offers, profiles, datetime.now(UTC).date())


def demo() -> Workload:
    """The real households and coupons of the demo. It needs the extra `demo`, which nothing else here does."""
    from loadtest.demo import DemoWorkload

    return DemoWorkload()


@contextlib.contextmanager
def ranking(
    name: str, directory: Path, workload: Workload, transport: str, serve: ServeCommand, *, known: bool = False
) -> Iterator[Ranking]:
    """Starts the server, loads the profiles, looks at some answers, and aims a generator at it.

    Args:
        known: Whether callers say who they are.
    """
    metadata = bearer(TOKEN) if known else ()
    port = free_port()
    say(f"Starting {name}: {workload.offers:,} offers, {transport} transport")
    with serving(serve(workload, port, transport), port, directory / f"{name}.log", is_healthy) as server:
        say(f"Loading {workload.profiles:,} profiles")
        load_profiles(server.address, workload.deltas(), metadata)
        requests = workload.requests(REQUESTS)
        sample = probe(server.address, requests, metadata)
        say(f"{sample.eligible_mean:.0f} offers eligible on average, answers of {len(sample.reply)} bytes")
        with _aimed(name, server, directory, requests, "rank-known" if known else "rank") as aimed:
            yield Ranking(aimed, sample, requests)


@contextlib.contextmanager
def yardstick(directory: Path, ranking: Ranking) -> Iterator[Target]:
    """The empty handler, given the same requests and answering with one of the answers."""
    reply = directory / "reply.bin"
    reply.write_bytes(ranking.sample.reply)
    port = free_port()
    with (
        serving(empty(reply, port), port, directory / "empty.log", is_connected) as server,
        _aimed("empty", server, directory, ranking.requests) as aimed,
    ):
        yield aimed


def _aimed(
    name: str, server: Server, directory: Path, requests: Sequence[bytes], transport: str = "rank"
) -> contextlib.AbstractContextManager[Target]:
    payloads = directory / f"{name}.requests"
    write_payloads(payloads, requests)
    return target(name, server, payloads, transport)
