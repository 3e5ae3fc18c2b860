"""The last slot of a cap, and what is left of a budget, while 64 callers race for it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from opportune.v1 import decision_pb2, profile_service_pb2

from tests.integration.connection import TIMEOUT_S, Connection

CALLERS = 64
ROUNDS = 20


def _offer(offer_id: str, **more: Any) -> dict[str, Any]:
    return {
        "id": offer_id,
        "tactic": "discount",
        "value": {"revenue": 10.0, "margin": 1.0, "cost": 2.5},
        "creatives": [{"id": f"{offer_id}-web", "channel": "web"}],
        **more,
    }


def _catalog(**more: Any) -> dict[str, Any]:
    return {
        "currency": "USD",
        "attributes": [{"id": "visits", "type": "number"}],
        "placements": [{"id": "home", "channel": "web", "slots": 3, "max_per_group": 3}],
        **more,
    }


async def race(server: Connection, customer_ids: Sequence[str]) -> list[decision_pb2.Decision]:
    """The answers to 64 calls at once, for these customers in turn."""
    return await asyncio.gather(*(server.rank(customer_ids[n % len(customer_ids)]) for n in range(CALLERS)))


def times_shown(decisions: Sequence[decision_pb2.Decision], offer_id: str) -> int:
    """How many answers have an offer."""
    return sum(offer.offer_id == offer_id for decision in decisions for offer in decision.offers)


@pytest.mark.parametrize("on", ["decision", "impression"])
async def test_cap_of_a_customer_is_shared_by_linked_identifiers(fresh_server: Connection, on: str) -> None:
    caps = [{"count": 3, "window": "30d", "on": on}]
    await fresh_server.apply_catalog(_catalog(offers=[_offer("capped", caps=caps), _offer("always")]))

    for number in range(ROUNDS):
        identifiers = [f"cookie:{number}", f"card:{number}"]
        link = profile_service_pb2.LinkIdentifiersRequest(customer_id=identifiers[0], other_id=identifiers[1])
        await fresh_server.profiles.LinkIdentifiers(link, timeout=TIMEOUT_S)

        decisions = await race(fresh_server, identifiers)

        assert times_shown(decisions, "capped") == 3
        assert times_shown(decisions, "always") == CALLERS


async def test_several_slots_of_one_decision_take_what_is_left_together(fresh_server: Connection) -> None:
    caps = [{"count": 7, "window": "1h", "of": "tactic"}]
    offers = [_offer(name, caps=caps, tactic="sms") for name in ("one", "two", "three")]
    await fresh_server.apply_catalog(_catalog(offers=offers))

    for number in range(ROUNDS):
        decisions = await race(fresh_server, [f"customer:{number}"])

        assert sum(len(decision.offers) for decision in decisions) == 7


async def test_budget_of_everybody_is_spent_to_the_last_unit_and_no_further(fresh_server: Connection) -> None:
    budgets = [
        {"id": "money", "offers": 'offer.id == "costly"', "limit": 25.0 * ROUNDS, "unit": "currency", "on": "accepted"},
        {"id": "pieces", "offers": 'offer.id == "rare"', "limit": 5.0 * ROUNDS, "unit": "count", "on": "decision"},
    ]
    offers = [_offer("costly"), _offer("rare"), _offer("always")]
    await fresh_server.apply_catalog(_catalog(offers=offers, budgets=budgets))

    decisions = []
    for number in range(ROUNDS):
        decisions += await race(fresh_server, [f"customer:{number}-{caller}" for caller in range(CALLERS)])

    assert times_shown(decisions, "costly") == 10 * ROUNDS
    assert times_shown(decisions, "rare") == 5 * ROUNDS
    assert times_shown(decisions, "always") == CALLERS * ROUNDS


async def test_trying_out_takes_nothing(fresh_server: Connection) -> None:
    caps = [{"count": 1, "window": "30d", "on": "decision"}]
    await fresh_server.apply_catalog(_catalog(offers=[_offer("capped", caps=caps)]))

    tried = await asyncio.gather(*(fresh_server.rank("customer:1", validate_only=True) for _ in range(CALLERS)))
    decisions = await race(fresh_server, ["customer:1"])

    assert times_shown(tried, "capped") == CALLERS
    assert times_shown(decisions, "capped") == 1
