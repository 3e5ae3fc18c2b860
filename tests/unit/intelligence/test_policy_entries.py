from typing import Any

import pytest

from server.domain.budget import Budget, BudgetUnit
from server.domain.cap import Cap, CapSubject
from server.domain.contact import ContactKind, ContactScope
from server.domain.quiet_hours import QuietHours
from server.domain.rule import Rule
from server.intelligence.catalog_file import read_catalog
from tests.support.catalogs import Document, catalog_document, offer_entry, problems_of, text_of

DAY_US = 86_400_000_000


def read(**more: Any) -> Any:
    """The catalog of a document with one offer."""
    catalog, problems = read_catalog(text_of(catalog_document([offer_entry("a", **more.pop("offer", {}))], **more)))
    assert not problems
    return catalog


def refused(**more: Any) -> dict[str, str]:
    """What is wrong with a document with one offer."""
    return problems_of(catalog_document([offer_entry("a", **more.pop("offer", {}))], **more))


def test_cap_counts_impressions_of_the_offer_for_each_customer_unless_it_says_otherwise() -> None:
    caps = [
        {"count": 3, "window": "30d"},
        {"count": 1, "window": "90s", "per": "global", "of": "channel", "on": "accepted"},
    ]  # fmt: skip

    (offer,) = read(offer={"caps": caps}).offers

    assert offer.caps == (
        Cap(3, 30 * DAY_US),
        Cap(1, 90_000_000, CapSubject.GLOBAL, ContactScope.CHANNEL, ContactKind.ACCEPTED),
    )


def test_cool_down_is_a_cap_of_one_refusal() -> None:
    short = read(offer={"cooldown": "14d"}).offers[0].caps
    long = read(offer={"cooldown": {"window": "14d", "of": "tactic", "after": "converted"}}).offers[0].caps

    assert short == (Cap(1, 14 * DAY_US, on=ContactKind.DECLINED),)
    assert long == (Cap(1, 14 * DAY_US, of=ContactScope.TACTIC, on=ContactKind.CONVERTED),)


@pytest.mark.parametrize(
    ("cap", "path"),
    [
        ({"count": 3}, "offers[0].caps[0].window"),
        ({"count": 0, "window": "1d"}, "offers[0].caps[0].count"),
        ({"count": 1.5, "window": "1d"}, "offers[0].caps[0].count"),
        ({"count": 1, "window": "0s"}, "offers[0].caps[0].window"),
        ({"count": 1, "window": "401d"}, "offers[0].caps[0].window"),
        ({"count": 1, "window": 30}, "offers[0].caps[0].window"),
        ({"count": 1, "window": "1d", "per": "planet"}, "offers[0].caps[0].per"),
        ({"count": 1, "window": "1d", "on": "seen"}, "offers[0].caps[0].on"),
        ({"count": 1, "window": "1d", "of": "exclusion_group"}, "offers[0].caps[0].of"),
    ],
)
def test_cap_that_says_nothing_clear_is_refused(cap: Document, path: str) -> None:
    assert path in refused(offer={"caps": [cap]})


def test_cap_per_household_needs_the_household() -> None:
    cap = {"count": 1, "window": "1d", "per": "household"}

    assert "contacts" in refused(offer={"caps": [cap]})
    assert "contacts.household" in refused(offer={"caps": [cap]}, contacts={"household": "tier"})


def test_budget_is_for_ever_unless_it_has_a_window() -> None:
    budgets = [
        {"id": "b1", "limit": 10.5},
        {"id": "b2", "limit": 0.0, "window": "7d", "unit": "currency", "on": "click", "offers": " offer.id == 'a' "},
    ]

    assert read(budgets=budgets).budgets == (
        Budget("b1", "", 10.5),
        Budget("b2", "offer.id == 'a'", 0.0, 7 * DAY_US, BudgetUnit.CURRENCY, ContactKind.CLICK),
    )


@pytest.mark.parametrize(
    ("budget", "path"),
    [
        ({"id": "b", "limit": -1.0}, "budgets[0].limit"),
        ({"id": "b", "limit": float("nan")}, "budgets[0].limit"),
        ({"id": "b", "limit": 1e13}, "budgets[0].limit"),
        ({"id": "b", "limit": 1.0, "on": "declined"}, "budgets[0].on"),
        ({"id": "b", "limit": 1.0, "offers": "offer.nothing == 1"}, "budgets[0].offers"),
        ({"limit": 1.0}, "budgets[0].id"),
    ],
)
def test_budget_that_cannot_be_kept_is_refused(budget: Document, path: str) -> None:
    assert path in refused(budgets=[budget])


def test_rule_has_one_effect() -> None:
    effects: list[Any] = ["exclude", {"boost": 2.0}, {"pin": 3}, {"cap": {"count": 1, "window": "1d"}}]

    rules = read(rules=[{"id": f"r{n}", "when": "true", "effect": effect} for n, effect in enumerate(effects)]).rules

    assert rules == (
        Rule("r0", "true", exclude=True),
        Rule("r1", "true", boost=2.0),
        Rule("r2", "true", pin=3),
        Rule("r3", "true", cap=Cap(1, DAY_US)),
    )


@pytest.mark.parametrize(
    "effect", [{}, {"boost": 2.0, "pin": 1}, {"exclude": False}, {"boost": 0.0}, {"boost": -1.0}, {"pin": 0}, "include"]
)
def test_rule_without_a_clear_effect_is_refused(effect: Any) -> None:
    assert any(path.startswith("rules[0].effect") for path in refused(rules=[{"id": "r", "effect": effect}]))


def test_cap_of_everybody_cannot_depend_on_a_customer() -> None:
    cap = {"count": 1, "window": "1d", "per": "global"}

    assert "rules[0].when" in refused(rules=[{"id": "r", "when": "customer.member", "effect": {"cap": cap}}])


def test_quiet_hours_are_minutes_of_the_day() -> None:
    hours = [
        {"id": "night", "from": "21:30", "to": "8:00", "channels": ["web"], "days": ["sun", "mon"]},
        {"id": "always", "from": "00:00", "to": "24:00"},
    ]  # fmt: skip

    assert read(quiet_hours=hours).quiet_hours == (
        QuietHours(21 * 60 + 30, 8 * 60, ("web",), (6, 0)),
        QuietHours(0, 1440),
    )


@pytest.mark.parametrize(
    ("start", "end"),
    [("8:00", "8:00"), ("00:00", "00:00"), ("24:00", "24:00"), ("24:00", "00:00"), ("25:00", "8:00")],
)
def test_quiet_hours_must_last(start: str, end: str) -> None:
    found = refused(quiet_hours=[{"id": "q", "from": start, "to": end}])

    assert any(path.startswith("quiet_hours[0]") for path in found)


def test_contacts_are_held_for_a_second_to_a_day() -> None:
    assert read(contacts={"hold": "1s", "attribution": "30d"}).hold_us == 1_000_000
    assert read().hold_us == 15 * 60 * 1_000_000
    assert "contacts.hold" in refused(contacts={"hold": "0s"})
    assert "contacts.hold" in refused(contacts={"hold": "25h"})
    assert "contacts.attribution" in refused(contacts={"attribution": "500d"})
