"""The demo: serves the households and coupons of one day and asks for offers, as another service would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opportune.v1 import decision_pb2, decision_service_pb2_grpc, profile_service_pb2_grpc
from opportune.v1 import decision_service_pb2 as decisions

from model_artifacts.complete_journey import prepared
from model_artifacts.complete_journey.requests import apply_requests

HOUSEHOLDS = ("household:718", "household:1326", "household:1430")
PLACEMENTS = ("checkout-web", "weekly-email")
NOON = datetime.combine(prepared.DAY, datetime.min.time(), tzinfo=UTC) + timedelta(hours=12)
_START_S = 60


def main(listen: str, once: bool) -> None:
    """Prepares the data, starts a server on `HOST:PORT`, asks it, prints the answers, and keeps serving.

    Raises:
        RuntimeError: the server did not start, or refused profiles.
    """
    began = time.monotonic()
    prepared.prepare(lambda line: print(f"==> {line} ({time.monotonic() - began:.0f} s)", flush=True))
    asyncio.run(_run(listen, once, began))


async def _run(listen: str, once: bool, began: float) -> None:
    command = [sys.executable, "-m", "server", "serve", "--ephemeral", "--listen", listen]
    command += ["--catalog", str(prepared.CATALOG), "--models", str(prepared.ROOT / "model_artifacts")]
    print("==> starting the server:", " ".join(["python", *command[1:]]), flush=True)
    server = await asyncio.create_subprocess_exec(*command, cwd=prepared.ROOT)
    try:
        async with aio.insecure_channel(listen) as channel:
            await _until_serving(channel, server)
            await _load_profiles(channel)
            print(f"==> ready after {time.monotonic() - began:.1f} s\n", flush=True)
            await _ask(channel)
        _print_calls(listen)
        if not once:
            print("\nServing until Ctrl-C.", flush=True)
            await _until_interrupted(server)
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()


async def _until_serving(channel: aio.Channel, server: asyncio.subprocess.Process) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for _ in range(_START_S * 10):
        if server.returncode is not None:
            raise RuntimeError("the server did not start; its message is above")
        with contextlib.suppress(aio.AioRpcError):
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the server was not ready within {_START_S} s")


async def _load_profiles(channel: aio.Channel) -> None:
    stub = cast(Any, profile_service_pb2_grpc.ProfileServiceStub)(channel)
    began, households = time.monotonic(), 0
    for request in apply_requests(prepared.profiles(), prepared.DAY):
        answer = await stub.ApplyProfileDeltas(request)
        if answer.rejected:
            raise RuntimeError(f"the server refused a profile: {answer.rejected[0].status.message}")
        households += len(request.deltas) // 2
        if sys.stdout.isatty():
            print(f"\r==> {households:,} households loaded", end="", flush=True)
    start = "\r" if sys.stdout.isatty() else ""
    print(f"{start}==> {households:,} households loaded in {time.monotonic() - began:.1f} s", flush=True)


async def _ask(channel: aio.Channel) -> None:
    stub = cast(Any, decision_service_pb2_grpc.DecisionServiceStub)(channel)
    rank = cast(Callable[..., Awaitable[decisions.RankOffersResponse]], stub.RankOffers)
    await rank(_request(HOUSEHOLDS[0], PLACEMENTS[0]))
    for household in HOUSEHOLDS:
        for placement in PLACEMENTS:
            began = time.perf_counter()
            await rank(_request(household, placement))
            latency_ms = (time.perf_counter() - began) * 1_000
            explained = await rank(_request(household, placement, view=decision_pb2.DECISION_VIEW_FULL))
            _print_decision(explained.decision, latency_ms)


def _request(household: str, placement: str, **fields: Any) -> decisions.RankOffersRequest:
    request = decisions.RankOffersRequest(customer_id=household, placement_id=placement, include_content=True, **fields)
    request.context.time.FromDatetime(NOON)
    return request


def _print_decision(decision: decision_pb2.Decision, latency_ms: float) -> None:
    rung = decision_pb2.Rung.Name(decision.rung).removeprefix("RUNG_")
    print(
        f"{decision.customer_id} in {decision.placement_id}: rung {rung}, {latency_ms:.1f} ms, {decision.model_version}"
    )
    if not decision.offers:
        print(f"  {decision_pb2.Result.Name(decision.result)}: {_reasons(decision)}")
    else:
        print(f"  {'offer':<18} {'title':<40} {'P(take)':>8} {'value':>7} {'expected':>9}  why eligible")
    for offer in decision.offers:
        title = offer.content["title"][:40]
        figures = f"{offer.propensity:>8.2%} {offer.value:>7.2f} {offer.expected_value:>9.4f}"
        print(f"  {offer.offer_id:<18} {title:<40} {figures}  {' && '.join(offer.conditions_met)}")
    print(f"  not shown: {_reasons(decision)}\n", flush=True)


def _reasons(decision: decision_pb2.Decision) -> str:
    counts: dict[str, int] = {}
    for exclusion in decision.exclusions:
        name = decision_pb2.Reason.Name(exclusion.reason).removeprefix("REASON_")
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"


def _print_calls(listen: str) -> None:
    moment = NOON.strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {
        "customer_id": HOUSEHOLDS[0],
        "placement_id": PLACEMENTS[0],
        "context": {"time": moment},
        "include_content": True,
    }
    print("Ask it yourself, with grpcurl (or `buf curl`):\n")
    print(f"  grpcurl -plaintext -d '{json.dumps(body)}' \\\n    {listen} opportune.v1.DecisionService/RankOffers\n")
    print("or with Python (.venv/bin/python):\n")
    print(
        f"""  import grpc
  from opportune.v1 import decision_service_pb2 as pb, decision_service_pb2_grpc as rpc
  stub = rpc.DecisionServiceStub(grpc.insecure_channel("{listen}"))
  request = pb.RankOffersRequest(customer_id="{HOUSEHOLDS[0]}", placement_id="{PLACEMENTS[0]}", include_content=True)
  request.context.time.FromJsonString("{moment}")
  print(stub.RankOffers(request, timeout=0.5))""",
        flush=True,
    )


async def _until_interrupted(server: asyncio.subprocess.Process) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    waiting = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(server.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
