"""The scenario `caps`: many callers at once race for the last slots of a cap, round after round.

Each round has a customer of its own with two linked identifiers, and an offer that may be shown so often; half of the
callers name one identifier, half the other. More answers with the offer than slots are an overshoot, fewer are slots
that nobody got. Then the same for a budget that everybody shares.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc import aio
from opportune.v1.decision_service_pb2 import RankOffersRequest, RankOffersResponse
from opportune.v1.profile_pb2 import ProfileDelta
from opportune.v1.profile_service_pb2 import ApplyProfileDeltasRequest, ApplyProfileDeltasResponse

from loadtest.machine import machine
from loadtest.progress import say
from loadtest.serving import Server, free_port, is_healthy, serving
from loadtest.setting import now
from loadtest.stage import workspace

RANK = "/opportune.v1.DecisionService/RankOffers"
APPLY = "/opportune.v1.ProfileService/ApplyProfileDeltas"
CHANNELS = 8
SLOTS = 3
"""How often the offer of a round may be shown."""

DELTAS_AT_ONCE = 500
TOLD_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class CapsOptions:
    """How many rounds, and how many callers in each."""

    rounds: int = 10_000
    callers: int = 64
    transport: str = "native"


@dataclass(frozen=True, slots=True)
class Race:
    """How the rounds of one kind ended: answers beyond the slots, and slots that stayed empty."""

    rounds: int
    overshoot: int
    undershoot: int
    seconds: float


class OvershotError(Exception):
    """A server that gave away more than there was."""


def caps(options: CapsOptions) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file.

    Raises:
        OvershotError: a cap or a budget was exceeded.
    """
    started = now()
    with workspace() as directory, contextlib.ExitStack() as stack:
        catalog = directory / "catalog.json"
        catalog.write_text(json.dumps(_catalog(options.rounds)))
        server = stack.enter_context(_server(directory, catalog, options.transport))
        capped, budgeted = asyncio.run(_races(server.address, options))
    if capped.overshoot or budgeted.overshoot:
        raise OvershotError(f"overshoot: {capped.overshoot} of caps, {budgeted.overshoot} of budgets")
    return {
        "scenario": "caps",
        "transport": options.transport,
        "rounds": capped.rounds,
        "callers": options.callers,
        "slots": SLOTS,
        "overshoot": capped.overshoot,
        "undershoot": capped.undershoot,
        "calls_per_s": capped.rounds * options.callers / capped.seconds,
        "budget_rounds": budgeted.rounds,
        "budget_overshoot": budgeted.overshoot,
        "budget_undershoot": budgeted.undershoot,
        "started": started,
        "machine": machine(),
    }


def _catalog(rounds: int) -> dict[str, object]:
    """One offer with a cap, and an offer with a budget of its own for each of some rounds."""
    value = {"revenue": 2, "margin": 1}
    creatives = [{"id": "c", "channel": "web"}]
    cap = {"count": SLOTS, "window": "1d", "on": "impression"}
    shared = [{"id": f"shared-{number}"} for number in range(_budget_rounds(rounds))]
    return {
        "currency": "USD",
        "offers": [
            {"id": "capped", "tactic": "race", "value": value, "caps": [cap], "creatives": creatives},
            *({**offer, "tactic": "race", "value": value, "creatives": creatives} for offer in shared),
        ],
        "budgets": [
            {"id": offer["id"], "offers": f'offer.id == "{offer["id"]}"', "limit": SLOTS, "window": "1d"}
            for offer in shared
        ],
        "placements": [{"id": "home", "channel": "web", "slots": 1}],
    }


def _budget_rounds(rounds: int) -> int:
    return max(rounds // 20, 1)


def _server(directory: Path, catalog: Path, transport: str) -> contextlib.AbstractContextManager[Server]:
    port = free_port()
    say(f"Starting the server with a data folder, {transport} transport")
    where = ["--listen", f"127.0.0.1:{port}", "--transport", transport, "--data", str(directory / "data")]
    command = ["-m", "server", "serve", "--catalog", str(catalog), *where]
    return serving(command, port, directory / "server.log", is_healthy)


async def _races(address: str, options: CapsOptions) -> tuple[Race, Race]:
    async with contextlib.AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(
                aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(CHANNELS)
        ]
        await _link(channels[0], options.rounds)
        say(f"{options.callers} callers race for {SLOTS} slots of a cap, {options.rounds:,} rounds")
        identifiers = [(f"race:{number}:web", f"race:{number}:app") for number in range(options.rounds)]
        capped = await _run(channels, options.callers, [(pair, "capped") for pair in identifiers])
        shared = _budget_rounds(options.rounds)
        say(f"{options.callers} callers race for {SLOTS} pieces of a budget, {shared:,} rounds")
        strangers = tuple(f"stranger:{number}" for number in range(options.callers))
        budgeted = await _run(channels, options.callers, [(strangers, f"shared-{number}") for number in range(shared)])
        return capped, budgeted


async def _link(channel: aio.Channel, rounds: int) -> None:
    """Makes the two identifiers of each round one customer's."""
    apply = channel.unary_unary(
        APPLY, ApplyProfileDeltasRequest.SerializeToString, ApplyProfileDeltasResponse.FromString
    )
    for start in range(0, rounds, DELTAS_AT_ONCE):
        numbers = range(start, min(start + DELTAS_AT_ONCE, rounds))
        deltas = [ProfileDelta(customer_id=f"race:{n}:web", other_ids=[f"race:{n}:app"]) for n in numbers]
        answer = await apply(ApplyProfileDeltasRequest(source="race", deltas=deltas), timeout=60)
        assert not answer.rejected, answer.rejected[0].status.message


async def _run(channels: Sequence[aio.Channel], callers: int, rounds: Sequence[tuple[Sequence[str], str]]) -> Race:
    """Runs rounds, each of some customers and an offer, one after the other."""
    calls = [
        channel.unary_unary(RANK, RankOffersRequest.SerializeToString, RankOffersResponse.FromString)
        for channel in channels
    ]
    overshoot = undershoot = 0
    began_s = time.monotonic()
    for number, (customers, offer_id) in enumerate(rounds, 1):
        requests = [
            RankOffersRequest(
                customer_id=customers[caller % len(customers)],
                placement_id="home",
                candidate_offer_ids=[offer_id],
            )
            for caller in range(callers)
        ]
        answers = await asyncio.gather(
            *(calls[caller % len(calls)](request, timeout=60) for caller, request in enumerate(requests))
        )
        shown = sum(len(answer.decision.offers) for answer in answers)
        overshoot += max(shown - SLOTS, 0)
        undershoot += max(SLOTS - shown, 0)
        if not number % TOLD_EVERY:
            say(f"{number:,} rounds, overshoot {overshoot}, undershoot {undershoot}")
    return Race(len(rounds), overshoot, undershoot, time.monotonic() - began_s)


def caps_table(figures: Mapping[str, Any]) -> str:
    """The figures, for people."""
    return "\n".join(
        [
            f"Caps: {figures['callers']} callers at once, {figures['slots']} slots, {figures['transport']} transport",
            f"  rounds              {figures['rounds']:>10,}",
            f"  overshoot           {figures['overshoot']:>10,}",
            f"  undershoot          {figures['undershoot']:>10,}",
            f"  calls/s             {figures['calls_per_s']:>10,.0f}",
            f"  budget rounds       {figures['budget_rounds']:>10,}",
            f"  budget overshoot    {figures['budget_overshoot']:>10,}",
            f"  budget undershoot   {figures['budget_undershoot']:>10,}",
        ]
    )
