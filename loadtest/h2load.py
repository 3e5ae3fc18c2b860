"""The scenario `h2load`: RankOffers from nghttp2's generator, beside ours.

h2load sends one body again and again, and takes any answer of HTTP 200 for a success, whatever its grpc-status. A
call that failed has no message, though, so the bytes that it received tell how many were answered.
"""

import math
import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import grpc
import numpy as np
from opportune.v1.decision_service_pb2 import RankOffersRequest

from loadtest.foreign import ForeignOptions, Seen, compared, staged
from loadtest.probe import NotRankedError
from loadtest.serving import ServeCommand, opportune
from loadtest.target import GeneratorFailedError
from loadtest.transport import METHOD

CLIENTS, STREAMS = 4, 100
WARM_UP_S = 1
SIZE_SPREAD = 0.02
"""By how much answers to one request may differ in size: times are written in more or fewer bytes."""

SIZE_TOLERANCE_BYTES = 2
"""How much shorter than the shortest answer that was seen before another one may be."""

_PREFIX = struct.Struct(">BI")


def h2load(options: ForeignOptions, serve: ServeCommand = opportune) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    if shutil.which("h2load") is None:
        raise GeneratorFailedError("h2load is not installed; Debian has it in nghttp2-client")
    with staged(options, serve) as stage:
        request = unrecorded(stage.requests[0])
        body, log = stage.directory / "body", stage.directory / "h2load.tsv"
        body.write_bytes(framed(request))
        sizes = _sizes(stage.server.address, request)

        def run() -> Seen:
            log.unlink(missing_ok=True)
            output = _run(stage.server.address, body, log, options)
            return seen(output, np.loadtxt(log, dtype=np.int64, ndmin=2), sizes)

        return compared("h2load", options, stage, [request], run, warm_up_s=WARM_UP_S)


def unrecorded(request: bytes) -> bytes:
    """The same request, decided without a record: thousands of contacts of one customer would change what is ranked."""
    parsed = RankOffersRequest.FromString(request)
    parsed.validate_only = True
    return parsed.SerializeToString()


def framed(message: bytes) -> bytes:
    """A message as gRPC sends it: not compressed, and its length."""
    return _PREFIX.pack(0, len(message)) + message


def seen(output: str, log: "np.ndarray[tuple[int, int], np.dtype[np.int64]]", sizes: Sequence[int]) -> Seen:
    """What h2load saw, by what it printed and its log: start in µs, HTTP status, latency in µs.

    `sizes` are those of some answers to the same request. Of calls that failed with HTTP 200 it counts as many as there
    are for certain: all but a few in a thousand.
    """
    latencies_ms = log[:, 2] / 1_000
    counted = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed", output)
    received = re.search(r"headers \(.*?\), .*? \((\d+)\) data", output)
    if counted is None or received is None:
        raise GeneratorFailedError(f"h2load printed something else than it used to:\n{output}")
    done, succeeded = int(counted[1]), int(counted[2])
    # At most so many had a message, so at least the others had none.
    answered = int(received[1]) / (_PREFIX.size + min(sizes) - SIZE_TOLERANCE_BYTES)
    unanswered = max(0, succeeded - math.floor(answered))
    return Seen(
        p50_ms=float(np.percentile(latencies_ms, 50)),
        p99_ms=float(np.percentile(latencies_ms, 99)),
        calls=done,
        failed=done - succeeded + unanswered,
    )


def _sizes(address: str, request: bytes) -> list[int]:
    """How long answers to the request are."""
    with grpc.insecure_channel(address) as channel:
        rank = channel.unary_unary(METHOD)
        sizes = [len(rank(request, timeout=10)) for _ in range(50)]
    if max(sizes) > min(sizes) * (1 + SIZE_SPREAD):
        raise NotRankedError(f"answers to one request have {min(sizes)} to {max(sizes)} bytes, so they tell nothing")
    return sizes


def _run(address: str, body: Path, log: Path, options: ForeignOptions) -> str:
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    load = ["-c", str(CLIENTS), "-m", str(STREAMS), "--rps", str(max(1, options.rate_rps // CLIENTS))]
    times = ["-D", str(max(1, round(options.seconds))), f"--warm-up-time={WARM_UP_S}"]
    command = ["h2load", *headers, *load, *times, "-d", str(body), "--log-file", str(log), f"http://{address}{METHOD}"]
    limit_s = options.seconds + WARM_UP_S + 30
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s)
    if done.returncode != 0 or not log.exists():
        raise GeneratorFailedError(f"h2load ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout
