from datetime import timedelta
from typing import Any

import pytest

from server.domain.decision import Decision, Rung
from server.domain.model import ModelFailure
from tests.support.catalogs import Document, catalog_document, offer_entry, placement_entry
from tests.support.clock import NOON
from tests.support.models import FakeModel, appeal
from tests.support.service import Service, offer_ids

ONCE: Document = {"count": 1, "window": "1d", "on": "decision"}


def by_placement(decision: Decision) -> dict[str, list[str]]:
    """What is shown where."""
    shown: dict[str, list[str]] = {}
    for offer in decision.offers:
        shown.setdefault(offer.placement_id, []).append(offer.offer_id)
    return shown


def two_placements(*offers: Document, **more: Any) -> Service:
    """A service with two placements of two slots."""
    placements = [placement_entry("one", slots=2, max_per_group=9), placement_entry("two", slots=2, max_per_group=9)]
    return Service(catalog_document(offers, placements, **more))


def test_cap_leaves_its_room_to_all_placements_of_a_decision_together() -> None:
    cap = ONCE | {"count": 3, "of": "all"}
    shop = two_placements(*[offer_entry(name, float(5 - n), caps=[cap]) for n, name in enumerate("abcde")])

    decision = shop.rank(placement_id="one", further_placement_ids=("two",))

    assert by_placement(decision) == {"one": ["a", "b"], "two": ["c"]}


def test_budget_is_shared_by_all_placements_of_a_decision() -> None:
    shop = two_placements(
        *[offer_entry(name, float(5 - n)) for n, name in enumerate("abcde")],
        budgets=[{"id": "b1", "limit": 3.0, "on": "decision"}],
    )

    assert len(shop.rank(placement_id="one", further_placement_ids=("two",)).offers) == 3


@pytest.mark.parametrize("per", ["customer", "global"])
def test_cap_of_a_channel_is_for_the_placements_of_that_channel(per: str) -> None:
    cap = ONCE | {"of": "channel", "per": per, "count": 2}
    both = [{"id": "w", "channel": "web"}, {"id": "m", "channel": "email"}]
    offers = [offer_entry(name, float(9 - n), caps=[cap], creatives=both) for n, name in enumerate("abcdefg")]
    placements = [
        placement_entry("top", slots=2),
        placement_entry("mail", channel="email", slots=3),
        placement_entry("foot", slots=2),
    ]
    shop = Service(catalog_document(offers, placements))

    decision = shop.rank(placement_id="top", further_placement_ids=("mail", "foot"))

    assert by_placement(decision) == {"top": ["a", "b"], "mail": ["c", "d"]}
    assert offer_ids(shop.rank(placement_id="foot")) == []


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        ((1, 1), {"one": ["a"]}),
        ((1, 3), {"one": ["a"], "two": ["b", "c"]}),
        ((2, 1), {"one": ["a", "b"]}),
    ],
)
def test_group_is_limited_in_each_placement_and_in_the_decision_by_the_most_generous(
    most: tuple[int, int], expected: dict[str, list[str]]
) -> None:
    offers = [offer_entry(name, float(9 - n), exclusion_group="g") for n, name in enumerate("abcd")]
    placements = [
        placement_entry(name, slots=2, max_per_group=each) for name, each in zip(("one", "two"), most, strict=True)
    ]

    decision = Service(catalog_document(offers, placements)).rank(placement_id="one", further_placement_ids=("two",))

    assert by_placement(decision) == expected


def test_decision_whose_first_placement_is_switched_off_is_taken_note_of() -> None:
    placements = [placement_entry("one", enabled=False), placement_entry("two")]
    shop = Service(catalog_document([offer_entry("a", caps=[ONCE])], placements))

    shown = [by_placement(shop.rank(placement_id="one", further_placement_ids=("two",))) for _ in range(2)]

    assert shown == [{"two": ["a"]}, {}]


def test_pin_takes_its_slot_unless_a_cap_holds_it_back() -> None:
    offers = [offer_entry("best", 9.0), offer_entry("pinned", 1.0, caps=[ONCE]), offer_entry("other", 5.0)]
    pin = {"id": "r", "offers": "offer.id == 'pinned'", "effect": {"pin": 1}}
    shop = Service(catalog_document(offers, rules=[pin]))

    assert [offer_ids(shop.rank()) for _ in range(2)] == [["pinned", "best", "other"], ["best", "other"]]


def test_pins_share_what_a_cap_leaves() -> None:
    cap = ONCE | {"of": "tactic"}
    offers = [offer_entry("best", 9.0, tactic="x"), *[offer_entry(name, 1.0, caps=[cap]) for name in ("p1", "p2")]]
    pins = ((1, "p1"), (2, "p2"))
    rules = [{"id": name, "offers": f"offer.id == '{name}'", "effect": {"pin": slot}} for slot, name in pins]

    assert offer_ids(Service(catalog_document(offers, rules=rules)).rank()) == ["p1", "best"]


def test_boost_counts_losses_as_many_times_as_profits() -> None:
    offers = [offer_entry("profit", 1.0), offer_entry("loss", -1.0), offer_entry("more", 1.5)]
    boost = {"id": "r", "when": "customer.member", "offers": "offer.id != 'more'", "effect": {"boost": 2.0}}
    shop = Service(catalog_document(offers, rules=[boost]))
    shop.set(member=True)

    assert offer_ids(shop.rank()) == ["profit", "more", "loss"]
    assert offer_ids(shop.rank("other")) == ["more", "profit", "loss"]


def failing() -> FakeModel:
    """A model that is out of order from its second run on."""
    model = FakeModel()

    def score(inputs: Any) -> Any:
        if len(model.calls) > 1:
            raise ModelFailure("out of order")
        return appeal(inputs)

    model._score = score
    return model


@pytest.mark.parametrize(("warm", "rung"), [(True, Rung.CACHED), (False, Rung.DEFAULT)])
def test_lower_rungs_keep_caps_and_budgets_all_the_same(warm: bool, rung: Rung) -> None:
    caps = [{"count": 2, "window": "1d", "on": "decision"}]
    offers = [
        offer_entry("capped", 9.0, caps=caps, attributes={"appeal": 0.5}),
        offer_entry("paid", 5.0, attributes={"appeal": 0.5}),
        offer_entry("free", 1.0, attributes={"appeal": 0.5}),
    ]
    placement = placement_entry(model="fake/1", slots=2, fallback_offers=["paid", "capped", "free"], deadline="1s")
    budgets = [{"id": "b", "offers": "offer.id == 'paid'", "limit": 2.0, "on": "decision"}]
    shop = Service(catalog_document(offers, [placement], budgets=budgets), failing())
    first = shop.rank("customer:1" if warm else "customer:2")
    assert first.rung is Rung.FULL

    rest = [shop.rank("customer:1") for _ in range(4)]

    assert {decision.rung for decision in rest} == {rung}
    shown = [offer_id for decision in [first, *rest] for offer_id in offer_ids(decision)]
    assert shown.count("paid") == 2
    assert shown.count("capped") == (2 if warm else 3)
    assert offer_ids(rest[-1]) == ["free"]


@pytest.mark.parametrize(
    ("ranked_for", "asked_for", "later_s", "rung"),
    [
        (1, 0, 0, Rung.CACHED),
        (1, 0, 301, Rung.DEFAULT),
        (0, 1, 0, Rung.CACHED),
        (0, -1, 301, Rung.DEFAULT),
    ],
    ids=["for tomorrow", "for tomorrow, long ago", "now for tomorrow", "long ago for yesterday"],
)
def test_ranking_is_repeated_by_when_it_was_asked_for(
    ranked_for: int, asked_for: int, later_s: int, rung: Rung
) -> None:
    placement = placement_entry(model="fake/1", fallback_offers=["a"], deadline="1s")
    shop = Service(catalog_document([offer_entry("a", attributes={"appeal": 0.5})], [placement]), failing())
    shop.rank(time=NOON + timedelta(days=ranked_for))
    shop.clock.advance(seconds=later_s)

    assert shop.rank(time=NOON + timedelta(days=asked_for)).rung is rung
