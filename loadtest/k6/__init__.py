"""The scenario `k6`: RankOffers at a constant rate, and streams of deltas beside it, from k6 and from ours."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opportune.client.__main__ import main as write_protos
from opportune.v1.decision_service_pb2 import RankOffersRequest

from loadtest.foreign import ForeignOptions, Seen, Stage, compared, staged
from loadtest.serving import ServeCommand, opportune
from loadtest.target import GeneratorFailedError

SCRIPT = Path(__file__).parent / "rank.js"
REQUESTS = 2_000
STREAMS = 4
WARM_UP_S = 3


def k6(options: ForeignOptions, serve: ServeCommand = opportune) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    program = _program()
    with staged(options, serve) as stage:
        write_protos([str(stage.directory / "protos")])
        requests = stage.requests[:REQUESTS]
        asked = [MessageToDict(RankOffersRequest.FromString(request)) for request in requests]
        (stage.directory / "requests.json").write_text(json.dumps(asked), encoding="utf-8")
        run = partial(_run, program, stage, options)
        figures = compared("k6", options, stage, requests, lambda: seen(run(streams=0)), warm_up_s=WARM_UP_S)
        figures["streams"] = acknowledged(run(streams=STREAMS))
    return figures


def seen(summary: Mapping[str, Mapping[str, float]]) -> Seen:
    """What k6 saw, by the summary that the script writes."""
    durations = summary["grpc_req_duration{scenario:rank}"]
    return Seen(
        p50_ms=durations["med"],
        p99_ms=durations["p(99)"],
        calls=int(durations["count"]),
        failed=int(summary.get("rank_failed", {}).get("count", 0)),
        missed=int(summary.get("dropped_iterations{scenario:rank}", {}).get("count", 0)),
    )


def acknowledged(summary: Mapping[str, Mapping[str, float]]) -> dict[str, object]:
    """What k6 saw of its streams: one message after the other on each, while it ranked at the same rate."""
    ranking, durations = seen(summary), summary.get("acknowledge_duration", {})
    return {
        "streams": STREAMS,
        "messages": int(summary.get("messages_acknowledged", {}).get("count", 0)),
        "broken": int(summary.get("streams_broken", {}).get("count", 0)),
        "acknowledged_p50_ms": durations.get("med", 0.0),
        "acknowledged_p99_ms": durations.get("p(99)", 0.0),
        "rank_p50_ms": ranking.p50_ms,
        "rank_p99_ms": ranking.p99_ms,
        "rank_failed": ranking.failed,
    }


def _run(program: str, stage: Stage, options: ForeignOptions, streams: int) -> dict[str, Any]:
    summary = stage.directory / "k6.json"
    summary.unlink(missing_ok=True)
    told = {
        "ADDRESS": stage.server.address,
        "PROTOS": str(stage.directory / "protos"),
        "REQUESTS": str(stage.directory / "requests.json"),
        "RATE": str(options.rate_rps),
        "WARM_UP": str(WARM_UP_S),
        "SECONDS": str(max(1, round(options.seconds))),
        "STREAMS": str(streams),
        "SUMMARY": str(summary),
    }
    variables = [part for name, content in told.items() for part in ("-e", f"{name}={content}")]
    command = [program, "run", "-q", "--no-color", *variables, str(SCRIPT)]
    environment = os.environ | {"K6_NO_USAGE_REPORT": "true"}
    limit_s = options.seconds + 60
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s, env=environment)
    if done.returncode != 0 or not summary.exists():
        raise GeneratorFailedError(f"k6 ended with {done.returncode}: {done.stderr[-2_000:]}")
    figures: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    return figures


def _program() -> str:
    """k6 of this environment, as its package puts it there, or of the system."""
    beside = Path(sys.executable).parent / "k6"
    found = str(beside) if beside.exists() else shutil.which("k6")
    if found is None:
        raise GeneratorFailedError("k6 is not installed; the Python package k6 brings it")
    return found
