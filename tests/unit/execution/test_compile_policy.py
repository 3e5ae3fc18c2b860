from typing import Any

import numpy as np

from server.execution.policy import ALWAYS, Policy
from tests.support.catalogs import (
    ATTRIBUTES,
    Document,
    catalog_document,
    compiled_catalog,
    offer_entry,
    placement_entry,
    problems_of,
)

CAP: Document = {"count": 1, "window": "1d"}
OFFERS = [
    offer_entry("a", 2.0, exclusion_group="drinks"),
    offer_entry("b", -1.0),
    offer_entry("c", 4.0, tactic="points"),
]  # fmt: skip


def policy(**more: Any) -> Policy:
    """The policy of three offers."""
    return compiled_catalog(catalog_document(OFFERS, **more)).policy


def rule(effect: object, **more: object) -> Document:
    """A rule."""
    return {"id": "r", "effect": effect, **more}


def test_levers_and_boosts_without_condition_are_part_of_what_offers_are_worth() -> None:
    found = policy(
        levers=[{"id": "l", "multiplier": 1.5}, {"id": "m", "multiplier": 2.0, "offers": "offer.tactic == 'points'"}],
        rules=[rule({"boost": 10.0}, offers="offer.id == 'b'")],
    )

    assert found.worth.tolist() == [3.0, -15.0, 12.0]
    assert found.boosts == ()


def test_boost_with_condition_is_asked_for_each_customer() -> None:
    (boost,) = policy(rules=[rule({"boost": 3.0}, when="customer.member", offers="offer.id != 'a'")]).boosts

    assert (boost.factor, boost.condition, boost.offers.tolist()) == (3.0, 0, [False, True, True])


def test_pin_counts_slots_from_nothing() -> None:
    (always,) = policy(rules=[rule({"pin": 2}, offers="offer.id == 'c'")]).pins
    (sometimes,) = policy(rules=[rule({"pin": 1}, when="customer.member")]).pins

    assert (always.slot, always.condition, always.offers.tolist()) == (1, ALWAYS, [2])
    assert (sometimes.slot, sometimes.condition, sometimes.offers.tolist()) == (0, 0, [0, 1, 2])


def test_caps_that_say_the_same_are_one_family() -> None:
    offers = [offer_entry("a", caps=[CAP]), offer_entry("b"), offer_entry("c", caps=[CAP, CAP | {"count": 2}])]

    families = compiled_catalog(catalog_document(offers)).policy.channels["web"].customer.families

    assert [(family.cap.count, family.carriers.tolist()) for family in families] == [
        (1, [True, False, True]),
        (2, [False, False, True]),
    ]


def test_rule_without_condition_is_the_same_family_and_with_one_it_is_another() -> None:
    offers = [offer_entry("a", caps=[CAP]), offer_entry("b")]
    rules = [rule({"cap": CAP}), rule({"cap": CAP}, when="customer.member") | {"id": "s"}]

    families = compiled_catalog(catalog_document(offers, rules=rules)).policy.channels["web"].customer.families

    assert [family.condition for family in families] == [ALWAYS, 0]
    assert all(family.carriers.all() for family in families)


def test_channels_have_policies_of_their_own() -> None:
    placements = [placement_entry("home"), placement_entry("mail", channel="email")]
    offers = [offer_entry("a", caps=[CAP | {"of": "channel"}])]

    channels = compiled_catalog(catalog_document(offers, placements)).policy.channels

    assert {name: dict(channel.customer.key_of[0]) for name, channel in channels.items()} == {
        "web": {"web": 0},
        "email": {"email": 0},
    }


def test_groups_are_numbered_and_offers_without_one_have_none() -> None:
    found = policy()

    assert found.group_ids == ("drinks",)
    assert found.groups.tolist() == [0, -1, -1]


def test_purposes_of_channel_and_offers_are_bits_of_consents() -> None:
    offers = [offer_entry("a", purpose="ads"), offer_entry("b"), offer_entry("c", purpose="sms")]
    catalog = compiled_catalog(catalog_document(offers, channels=[{"id": "web", "purpose": "sms"}]))

    found, purposes = catalog.policy, catalog.customer.purposes

    numbers = {name: purposes.index(name) for name in ("ads", "sms")}
    assert {each.purpose: each.bit for each in found.purposes} == numbers
    assert [np.unpackbits(each.offers.view(np.uint8), bitorder="little")[:3].tolist() for each in found.purposes] == [
        [1, 0, 0],
        [0, 0, 1],
    ]
    assert found.channels["web"].purpose == purposes.index("sms")


def test_exclusion_needs_that_its_condition_definitely_does_not_hold() -> None:
    document = catalog_document(OFFERS, rules=[rule("exclude", when="customer.member", offers="offer.id == 'a'")])

    catalog = compiled_catalog(document)

    texts = [catalog.eligibility.failures[clause] for clause in catalog.eligibility.clauses_of(0)]
    assert texts == ["excluded by rule r: customer.member"]
    assert not len(catalog.eligibility.clauses_of(1))


def test_empty_catalog_has_a_policy() -> None:
    document = catalog_document(
        rules=[rule({"cap": CAP | {"per": "global"}}), rule({"pin": 1}) | {"id": "p"}, rule("exclude") | {"id": "x"}],
        budgets=[{"id": "b", "limit": 1.0}],
        levers=[{"id": "l", "multiplier": 2.0}],
    )

    found = compiled_catalog(document).policy

    assert found.worth.tolist() == []
    assert found.channels["web"].meters.draws == {}


def test_everything_that_is_wrong_is_told_with_its_place_and_once() -> None:
    found = problems_of(
        catalog_document(
            [offer_entry("a", caps=[CAP | {"of": "exclusion_group"}])],
            rules=[
                rule("exclude", offers="offer.nothing"),
                rule({"boost": 2.0}, when="customer.nothing") | {"id": "s"},
                rule({"cap": CAP | {"per": "household"}}) | {"id": "t"},
            ],
            budgets=[{"id": "b", "limit": 1.0, "offers": "offer.nothing == 2"}],
            levers=[{"id": "l", "multiplier": 2.0, "offers": "nothing"}],
            quiet_hours=[{"id": "q", "from": "1:00", "to": "2:00", "channels": ["sms"]}],
            time_zone={"attribute": "visits"},
            attributes=ATTRIBUTES,
        )
    )

    assert set(found) == {
        "offers[0].caps[0].of",
        "rules[0].offers",
        "rules[1].when",
        "contacts",
        "budgets[0].offers",
        "levers[0].offers",
        "quiet_hours[0].channels[0]",
        "time_zone.attribute",
    }
