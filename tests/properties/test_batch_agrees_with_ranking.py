"""A batch answers every customer as RankOffers would with `validate_only`: the same offers and numbers, to the bit."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from server.domain.attribute import AttributeType, FloatRow, Value
from server.domain.clock import microseconds_of
from server.domain.contact import ContactKind, ContactSubject
from server.domain.decision import Context, RankQuery, Result, Rung
from server.domain.journal import IdentifiersLinked, IdentifierUnlinked, OutcomesReported
from server.domain.model import Calibration, CalibrationLine, Feature, ModelFailure, ModelInput, OutputKind, Scope
from server.domain.outcome import Outcome
from server.domain.profile import AttributeUpdates
from server.execution import batch, batch_scores
from server.execution.batch import BatchQuery, RankAudience
from server.execution.compile import compile_text
from server.execution.rank import Bits, RankOffers
from server.inference.circuit import Circuit
from tests.properties.conditions import rich_conditions
from tests.support.catalogs import (
    ATTRIBUTES,
    CONTEXT,
    Document,
    catalog_document,
    offer_entry,
    placement_entry,
    text_of,
)
from tests.support.clock import NOON
from tests.support.models import FakeModel, manifest
from tests.support.service import Service

ZONES = ["UTC", "Asia/Tokyo", "America/Denver"]
PURPOSE = "personalization"
DECLARED = [
    *ATTRIBUTES,
    {"id": "score", "type": "number"},
    {"id": "wish", "type": "category", "values": ["gold", "vegan", "phone"]},
    {"id": "zone", "type": "category", "values": ZONES},
    {"id": "home", "type": "key"},
]
IDENTIFIERS = [f"customer:{number}" for number in range(6)]
EVERYTHING = {"level": 9.0, "department": "grocery", "promo": True, "audience": ["vegan"], "appeal": 0.0, "kind": "A"}
"""The attributes of an offer that is never shown, so that every name is known whatever the other offers have."""

CONDITIONS = [
    *[""] * 6, "customer.visits > 0", "customer.visits >= -1 || customer.member", "has(customer.score)",
    'customer.tier in ["gold", "silver"]', '"vegan" in customer.tags', "customer.spend[offer.department] > 0.0",
    "customer.score + 1.0 > offer.level", "history.offer_decisions_30d < 2", "customer.last_visit < 5",
    "customer.income > 0 || customer.visits < 1", "!(history.days_since_decision < 1.0)", "context.hour > 1",
]  # fmt: skip
AUDIENCES = [
    "", "customer.visits > 0", "customer.member", 'customer.tier == "gold"', "history.decisions_365d >= 1",
    "!(history.days_since_decision < 2.0) && customer.visits < 1.5",
]  # fmt: skip
SELECTIONS = ["", 'offer.department == "grocery"', "offer.promo", "offer.level > 0"]
LIFTING = ["", "customer.visits > 0", "customer.member", 'customer.tier == "gold"']


def maybe(random: Random, share: float, value: Any, otherwise: Any) -> Any:
    """One of the two."""
    return value if random.random() < share else otherwise


def cap(random: Random, *subjects: str) -> Document:
    """At most once or twice."""
    return {
        "count": random.randint(1, 3),
        "window": random.choice(["1d", "7d", "30d"]),
        "per": random.choice(subjects),
        "of": random.choice(["offer", "exclusion_group", "tactic", "channel", "all"]),
        "on": random.choice(["decision", "impression", "declined"]),
    }


def offer(random: Random, offer_id: str, conditions: Sequence[str]) -> Document:
    """An offer that most customers may be shown. Few values, so that many offers are worth the same."""
    channels = random.choice([["web"], ["email"], *[["web", "email"]] * 6])
    attributes = {
        "appeal": float(random.randint(-1, 1)),
        "level": random.randint(-4, 4) / 4,
        "department": random.choice(["grocery", "floral", "tools"]),
        "promo": random.random() < 0.5,
        "kind": random.choice(["A", "B"]),
    }
    start, end = random.choice([(20, 22), (25, 28), *[(-9, 99)] * 6])
    return offer_entry(
        offer_id,
        float(random.randint(-1, 2)),
        tactic=random.choice(["discount", "points"]),
        attributes={name: value for name, value in attributes.items() if name == "appeal" or random.random() < 0.8},
        eligible=random.choice(conditions),
        schedule={"start": NOON + timedelta(hours=start), "end": NOON + timedelta(hours=end)},
        exclusion_group=random.choice(["", "", "", "drinks", "snacks"]),
        purpose=maybe(random, 0.2, PURPOSE, ""),
        caps=maybe(random, 0.2, [cap(random, "customer", "customer", "household", "global")], []),
        creatives=[{"id": f"{offer_id}-{channel}", "channel": channel} for channel in channels],
    )


def rule(random: Random, number: int) -> Document:
    """A rule of any effect; one that excludes names few offers."""
    when, offers = random.choice(LIFTING), random.choice(SELECTIONS)
    kind = random.choice(["exclude", "boost", "pin", "cap"])
    if kind == "exclude":
        return {"id": f"rule-{number}", "when": when or "customer.member", "offers": "offer.promo", "effect": "exclude"}
    effects = {"boost": random.choice([0.5, 2.0, 3.0]), "pin": random.randint(1, 4), "cap": cap(random, "customer")}
    return {"id": f"rule-{number}", "when": when, "offers": offers, "effect": {kind: effects[kind]}}


def document(random: Random, has_model: bool, conditions: Sequence[str]) -> Document:
    """A catalog with some of everything."""
    ids = [f"offer{number}" for number in range(random.randint(4, 14))]
    placement = placement_entry(
        channel=["web", "email"],
        slots=random.randint(2, 6),
        max_per_group=random.randint(1, 3),
        diversity=maybe(random, 0.3, [{"by": "department", "max": random.randint(1, 2)}], []),
        model="fake/1" if has_model else "",
        fallback_offers=random.sample(ids, min(len(ids), 4)),
        enabled=random.random() < 0.97,
    )
    budget = {"id": "budget", "offers": random.choice(SELECTIONS), "limit": random.randint(1, 9), "on": "decision"}
    lever = {"id": "lever", "multiplier": 2.0, "offers": "offer.promo"}
    night = {"id": "night", "from": "20:00", "to": "08:00"}
    return catalog_document(
        [offer_entry("everything", attributes=EVERYTHING, eligible="false")]
        + [offer(random, offer_id, conditions) for offer_id in ids],
        [placement],
        attributes=DECLARED,
        context=[*CONTEXT, {"id": "vip", "type": "boolean"}],
        rules=[rule(random, number) for number in range(random.choice([0, 0, 1, 2, 4]))],
        budgets=maybe(random, 0.3, [budget], []),
        levers=maybe(random, 0.3, [lever], []),
        contacts={"household": "home"},
        time_zone={"attribute": "zone"},
        quiet_hours=maybe(random, 0.3, [night], []),
        channels=maybe(random, 0.2, [{"id": "web", "purpose": PURPOSE}], []),
    )


def described(scopes: frozenset[str]) -> Any:
    """A model with an input of each of these scopes."""
    number = AttributeType.NUMBER
    features = {
        Scope.OFFER: (Feature("offer.appeal", number),),
        Scope.CUSTOMER: (Feature("customer.visits", number), Feature("context.hour", number)),
        Scope.PAIR: (Feature("customer.spend[offer.department]", number), Feature("offer.level", number),
                     Feature("customer.score", number)),
    }  # fmt: skip
    inputs = tuple(ModelInput(scope, scope, features[scope]) for scope in Scope if scope in scopes)
    calibration = Calibration(CalibrationLine(), "offer.kind", {"B": CalibrationLine(0.7, -1.0)})
    return manifest(inputs=inputs, output_kind=OutputKind.LOG_ODDS, calibration=calibration)


def scored(inputs: Mapping[str, FloatRow]) -> FloatRow:
    """Adds up what there is; fails for customers who visited often, and only for them."""
    total = sum(np.nan_to_num(rows).sum(axis=1) for rows in inputs.values())
    if "customer" in inputs and inputs["customer"][0, 0] > 2:
        raise ModelFailure("fake/1: out of order")
    return np.asarray(total, np.float32)


def customer(random: Random) -> dict[str, Value]:
    """What somebody may be known by."""
    values: dict[str, Value] = {
        "visits": random.randint(-8, 12) / 4,
        "score": random.randint(-8, 8) / 4,
        "tier": random.choice(["basic", "silver", "gold"]),
        "wish": random.choice(["gold", "vegan", "phone"]),
        "tags": tuple(tag for tag in ("vegan", "parent", "student") if random.random() < 0.5),
        "member": random.random() < 0.5,
        "income": float(random.randint(-1, 1)),
        "last_visit": NOON - timedelta(days=random.randint(0, 9)),
        "zone": random.choice(ZONES),
        "home": random.choice(["one", "two"]),
        **{f"spend.{department}": random.randint(-4, 8) / 4 for department in ("grocery", "floral")},
    }
    return {name: value for name, value in values.items() if random.random() < 0.8}


def happening(random: Random) -> tuple[str, str, str]:
    """Something that happens to somebody."""
    who, other = random.sample(IDENTIFIERS, 2)
    what = random.choice(["rank", "rank", "rank", "link", "unlink", "IMPRESSION", "DECLINED"])
    others = {"rank": random.choice(["web", "email"]), "link": other, "unlink": ""}
    return what, who, others.get(what, f"offer{random.randint(0, 3)}")


def happen(service: Service, what: str, who: str, other: str) -> None:
    """One thing, a while after the one before."""
    service.clock.advance(hours=5)
    now_us = microseconds_of(service.clock.now)
    if what == "rank":
        service.rank(who, channel=other)
    elif what == "link":
        service.writer.write(IdentifiersLinked(now_us, who, other))
    elif what == "unlink":
        service.writer.write(IdentifierUnlinked(now_us, who, other))
    elif what in ContactKind.__members__:
        subject = ContactSubject(other, "home", "web", "discount", "")
        outcome = Outcome(f"{now_us}", ContactKind[what], now_us, None, who, other, "home")
        service.writer.write(OutcomesReported(now_us, (outcome,), (subject,)))


@settings(max_examples=150)
@given(
    st.integers(0, 2**32),
    st.sampled_from([frozenset(), frozenset({"offer"}), frozenset(Scope), frozenset({"pair"})]),
    st.lists(rich_conditions.map(lambda condition: condition.ours), max_size=3),
)
def test_batch_says_what_ranking_one_by_one_says(seed: int, scopes: frozenset[str], conditions: list[str]) -> None:
    random = Random(seed)
    model = FakeModel(scored, described(scopes or frozenset({"offer"})))
    catalog = document(random, bool(scopes), [*CONDITIONS, *conditions])
    assume(not compile_text(text_of(catalog), {"fake/1": model.manifest}).problems)
    service = Service(catalog, model)
    for name in random.sample(IDENTIFIERS, random.randint(1, len(IDENTIFIERS))):
        service.change(name, AttributeUpdates(set=customer(random)))
        service.consent(PURPOSE, random.random() < 0.7, name)
    for _ in range(random.choice([0, 4, 12])):
        happen(service, *happening(random))
    audience, most, at_once = random.choice(AUDIENCES), random.choice([0, 0, 0, 3]), random.randint(1, 6)
    attributes = maybe(random, 0.5, {"hour": random.randint(-4, 8) / 4, "vip": random.random() < 0.5}, {})
    context = Context(random.choice(["", "web", "email"]), "", NOON + timedelta(days=1), attributes)

    found = in_a_batch(service, BatchQuery(audience, "home", context, most), at_once)

    everybody = in_a_batch(service, BatchQuery("", "home", context, most), at_once)
    assert everybody == one_by_one(service, context, most)
    assert found == {name: everybody[name] for name in members(service, audience, context) if name in everybody}


Answer = tuple[Rung, list[tuple[str, str, float, float, float]]]


def in_a_batch(service: Service, query: BatchQuery, at_once: int) -> dict[str, Answer]:
    """The answers of a batch to whoever is offered something."""
    assert query.context.time is not None
    ranking = RankAudience(service.state.snapshot(), query, query.context.time)
    shown = ranking.occasion.creatives.shown
    found: dict[str, Answer] = {}
    with pytest.MonkeyPatch.context() as patch:
        # Small enough that there are several crowds, and several portions of pairs in them.
        patch.setattr(batch, "MOST_AT_ONCE", at_once)
        patch.setattr(batch_scores, "PAIRS_AT_ONCE", 5 * at_once)
        parts = list(ranking)
    assert sum(part.looked_at for part in parts) == ranking.customers
    for answers in (part.answers for part in parts if part.answers is not None):
        for customer, slot, offer, propensity, expected_value in zip(
            *(c.tolist() for c in answers.slates), strict=True
        ):
            rung = Rung.DEFAULT if answers.failed[customer] else Rung.FULL
            _, offers = found.setdefault(answers.names[customer], (rung, []))
            assert slot == len(offers)
            offers.append((*shown[offer][:2], propensity, shown[offer].value, expected_value))
    return found


def names_of(service: Service) -> list[str]:
    """Each customer once, by the identifier that sorts first."""
    profiles = service.state.profiles
    rows = {profiles.graph.customer(row): row for name in IDENTIFIERS if (row := profiles.find(name)) >= 0}
    return [profiles.name(profiles.members(row)[0]) for row in rows.values()]


def one_by_one(service: Service, context: Context, most: int) -> dict[str, Answer]:
    """The answers of RankOffers, with the seeds of a batch."""
    version = service.state.catalog_version
    found: dict[str, Answer] = {}
    for name in names_of(service):
        for scorer in service.state.snapshot().scorers.values():
            # A model that fails for one customer is not to be left alone for the next.
            scorer.circuit = Circuit()
        rank = RankOffers(service.state, service.clock, service.note, always(batch.seed_of(version, name)))
        decision = rank(RankQuery(name, "home", context, most, validate_only=True))
        if decision.result is Result.RANKED:
            offers = [(o.offer_id, o.creative_id, o.propensity, o.value, o.expected_value) for o in decision.offers]
            assert not any(math.isnan(number) for offer in offers for number in offer[2:])
            found[name] = (decision.rung, offers)
    return found


def always(seed: int) -> Bits:
    """Random bits that are none."""
    return lambda bits: seed


def members(service: Service, audience: str, context: Context) -> list[str]:
    """Who is in an audience: whoever an offer with this condition is shown to by another catalog."""
    document = catalog_document(
        [offer_entry("theirs", eligible=audience)], [placement_entry(channel=["web", "email"])], attributes=DECLARED
    )
    document["offers"][0]["creatives"].append({"id": "mail", "channel": "email"})
    service.publish(document)
    return [
        name
        for name in names_of(service)
        if service.rank(name, validate_only=True, channel=context.channel, time=context.time).offers
    ]
