"""A history in which everything happens that a decision may depend on, between decisions on every rung.

Deltas, events, consents, links and partings, outcomes with and without decision, catalogs, snapshots; caps of
customers, households and everybody, budgets, exclusion groups, quiet hours; some written while decisions are made.
"""

import asyncio
from collections import Counter
from random import Random
from typing import Any

import yaml

from loadtest.live_folder import LiveFolder
from server.domain.contact import ContactKind
from server.domain.decision import Context, Decision, RankQuery
from server.domain.journal import DeltasReceived, IdentifiersLinked, IdentifierUnlinked, OutcomesReported
from server.domain.outcome import DecisionRef, Outcome
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta
from server.inference.cost import Cost

TIERS, TACTICS, GROUPS = ["basic", "silver", "gold"], ["discount", "bundle", "points"], ["", "", "fun", "food", "fuel"]
DEPARTMENTS, ZONES = ["grocery", "floral"], ["Europe/Berlin", "America/New_York"]
KINDS = [ContactKind.IMPRESSION, ContactKind.ACCEPTED, ContactKind.DECLINED, ContactKind.CONVERTED]


def catalog_text(version: int, model_id: str, offers: int = 40) -> str:
    """One of several catalogs, which differ in offers, limits, conditions and columns."""
    rng = Random(version)
    entries = [_offer(rng, number) for number in range(offers - version % 3)]
    fallback = [entry["id"] for entry in rng.sample(entries, 8)]
    attributes: list[dict[str, Any]] = [
        {"id": "tier", "type": "category", "values": TIERS},
        {"id": "visits", "type": "number"},
        {"id": "member", "type": "boolean"},
        {"id": "home", "type": "key"},
        {"id": "zone", "type": "category", "values": ZONES},
        {"id": "income", "type": "number", "purpose": "ads"},
        {"id": "spend", "type": "number", "by": "department", "keys": DEPARTMENTS},
    ]
    if version % 2:
        attributes.insert(0, {"id": "seen", "type": "timestamp_age"})
    placement = {"model": model_id, "fallback_offers": fallback, "max_per_group": 1, "deadline": "10s"}
    document = {
        "currency": "USD",
        "attributes": attributes,
        "aggregates": [
            {"id": "bought", "event": "purchase", "op": "sum", "property": "amount", "window": f"{7 + version}d"},
            {"id": "taste", "event": "purchase", "op": "decayed_sum", "property": "amount", "half_life": "9d"},
            {"id": "views", "event": "offer_impression", "op": "count", "window": "3d"},
        ],
        "context": [{"id": "hour", "type": "number"}],
        "contacts": {"household": "home", "hold": "2h", "attribution": "7d"},
        "time_zone": {"attribute": "zone", "candidates": ZONES},
        "quiet_hours": [{"id": "night", "from": "22:00", "to": "06:00", "channels": ["email"]}],
        "offers": entries,
        "rules": [
            {
                "id": "calm",
                "when": "customer.bought > 150.0",
                "offers": 'offer.tactic == "points"',
                "effect": "exclude",
            },
            {
                "id": "push",
                "when": "customer.views > 2.0",
                "offers": 'offer.tactic == "bundle"',
                "effect": {"boost": 1.5},
            },
            {"id": "front", "when": "customer.member", "offers": 'offer.id == "o3"', "effect": {"pin": 1}},
        ],
        "budgets": [
            {"id": "points", "offers": 'offer.tactic == "points"', "limit": 40, "window": "1d", "unit": "count"},
            {"id": "costs", "offers": 'offer.tactic == "discount"', "limit": 150, "window": "2d", "unit": "currency"},
        ],
        "placements": [
            {"id": "home", "channel": "web", "slots": 3, **placement, "diversity": [{"by": "tactic", "max": 2}]},
            {"id": "mail", "channel": "email", "slots": 2, **placement},
            {"id": "plain", "channel": "web", "slots": 2, "fallback_offers": fallback},
        ],
    }
    return yaml.dump(document, Dumper=_PlainDumper, sort_keys=False)


class _PlainDumper(yaml.SafeDumper):
    """Writes everything out: a catalog may have no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Every object is written where it stands."""
        return True


def _offer(rng: Random, number: int) -> dict[str, Any]:
    caps: list[dict[str, Any]] = [
        {"count": 2, "window": "3d", "per": "customer", "on": "impression"},
        {"count": 4, "window": "1d", "per": "customer", "on": "decision", "of": "tactic"},
        {"count": 9, "window": "2d", "per": "household", "on": "decision", "of": "all"},
        {"count": 30, "window": "6h", "per": "global", "on": "decision", "of": "offer"},
    ]
    conditions = [
        "true", "customer.visits > offer.level * 5.0", 'customer.tier in ["silver", "gold"]', "customer.bought > 20.0",
        "customer.member || customer.spend[offer.department] > 3.0", "customer.taste > 10.0 || context.hour < 12.0",
        "!(customer.income > 50.0)", "history.impressions_7d < 6",
    ]  # fmt: skip
    entry: dict[str, Any] = {
        "id": f"o{number}",
        "tactic": rng.choice(TACTICS),
        "value": {"revenue": round(rng.uniform(2, 20), 2), "margin": 0.5, "cost": round(rng.uniform(0.1, 1), 2)},
        "attributes": {"level": round(rng.random(), 2), "department": rng.choice(DEPARTMENTS)},
        "eligible": rng.choice(conditions),
        "caps": rng.sample(caps, rng.randint(0, 3)),
        "creatives": [{"id": f"{number}-{channel}", "channel": channel, "content": {}} for channel in ("web", "email")],
    }
    group = rng.choice(GROUPS)
    if group:
        entry["exclusion_group"] = group
    if rng.random() < 0.2:
        entry["purpose"] = "ads"
    return entry


class History:
    """Goes on with a history over a folder; the same seed, the same history but for what clocks decide."""

    def __init__(self, rng: Random, model_id: str, customers: int = 200) -> None:
        self.rungs: Counter[str] = Counter()
        self._rng = rng
        self._model_id = model_id
        self._customers = [f"c:{number}" for number in range(customers)]
        self._recent: list[Decision] = []
        self._outcomes = 0

    async def go_on(self, live: LiveFolder, decisions: int) -> None:
        """Makes so many decisions, with everything else between them."""
        for number in range(decisions):
            live.clock.advance(self._rng.expovariate(1 / 10))
            for _ in range(self._rng.choice([0, 0, 1, 1, 2])):
                # Not waited for: it is applied after decisions that are made meanwhile.
                live.writer.write(self._entry(live.now_us())).add_done_callback(lambda done: done.result())
            if self._rng.random() < 0.2:
                await asyncio.sleep(0)
            if self._rng.random() < 0.02:
                await asyncio.sleep(0.006)
            if number % (decisions // 3 + 1) == decisions // 6:
                await live.publish(catalog_text(live.state.catalog_version + 1, self._model_id))
            if number == decisions // 2:
                await live.snapshotter.take()
            self._decide(live)

    def _decide(self, live: LiveFolder) -> None:
        rng = self._rng
        placements = rng.choice(
            [("home",), ("home",), ("mail",), ("plain",), ("home", "mail"), ("plain", "home", "mail")]
        )
        query = RankQuery(
            self._customer(),
            placements[0],
            Context("", "", None, {"hour": float(live.clock.now.hour)}),
            further_placement_ids=placements[1:],
            order_by=rng.choice(["", "", "", "value desc"]),
            filter=rng.choice(["", "", "", 'offer.department == "grocery"']),
        )
        time_left_s = rng.choice([None, None, None, 0.014, 1e-6])
        if time_left_s is not None:
            for scorer in live.state.snapshot().scorers.values():
                # As if a dozen offers took all the time there is.
                scorer.cost = Cost(1_000.0, 1_000_000.0)
        decision = live.rank(query, time_left_s)
        self.rungs[decision.rung.name] += 1
        if decision.offers:
            self._recent = [*self._recent[-40:], decision]

    def _customer(self) -> str:
        """Often one of a few, who are asked for again before their last ranking is too old."""
        rng = self._rng
        return rng.choice(
            [rng.choice(self._customers[:8]), rng.choice(self._customers), f"new:{rng.randrange(100_000)}"]
        )

    def _entry(self, now_us: int) -> Any:
        rng = self._rng
        kind = rng.random()
        if kind < 0.45:
            deltas = tuple(self._delta(now_us) for _ in range(rng.randint(1, 3)))
            return DeltasReceived(now_us, "crm", 0, deltas)
        if kind < 0.9:
            outcomes = tuple(self._outcome(now_us) for _ in range(rng.randint(1, 3)))
            return OutcomesReported(now_us, outcomes, (None,) * len(outcomes))
        one, other = rng.sample(self._customers, 2)
        if kind < 0.94:
            return IdentifierUnlinked(now_us, one, "")
        # Few are linked to each other, so that customers stay small.
        return IdentifiersLinked(now_us, one, f"{one}:twin" if rng.random() < 0.5 else other)

    def _delta(self, now_us: int) -> ProfileDelta:
        rng = self._rng
        customer, kind = rng.choice(self._customers), rng.random()
        change: AttributeUpdates | Event | ConsentUpdate
        if kind < 0.5:
            change = Event("purchase", {"amount": round(rng.uniform(0, 30), 2)})
        elif kind < 0.6:
            change = ConsentUpdate("ads", rng.random() < 0.7)
        else:
            change = AttributeUpdates(set=self._values())
        return ProfileDelta(customer, now_us - rng.choice([0, 0, 3_600_000_000]), change)

    def _values(self) -> dict[str, Any]:
        rng = self._rng
        values: dict[str, Any] = {
            "visits": float(rng.randint(0, 9)), "tier": rng.choice(TIERS), "member": rng.random() < 0.3,
            "home": f"h{rng.randrange(60)}", "zone": rng.choice(ZONES), "income": float(rng.randint(0, 99)),
            "spend.grocery": float(rng.randint(0, 9)),
        }  # fmt: skip
        return dict(rng.sample(list(values.items()), 3))

    def _outcome(self, now_us: int) -> Outcome:
        rng = self._rng
        self._outcomes += rng.random() > 0.05
        name, kind = f"outcome {self._outcomes}", rng.choice(KINDS)
        if not self._recent:
            return Outcome(name, kind, now_us, None, "c:1", "o1")
        decision = rng.choice(self._recent)
        slot = rng.randrange(len(decision.offers))
        if rng.random() < 0.6:
            number, tag = int(decision.decision_id[:16], 16), int(decision.decision_id[16:], 16)
            return Outcome(name, kind, now_us, DecisionRef(number, tag, slot), revenue=9.5)
        return Outcome(name, kind, now_us, None, decision.customer_id, decision.offers[slot].offer_id)
