from typing import Any

import pytest

from server.domain.clock import microseconds_of
from server.domain.contact import ContactKind
from server.domain.decision import Decision, Reason
from server.domain.journal import OutcomesReported
from server.domain.outcome import DecisionRef, Outcome
from tests.support.catalogs import ATTRIBUTES, Document, catalog_document, offer_entry, placement_entry
from tests.support.clock import NOON
from tests.support.folds import linked, unlinked
from tests.support.service import Service, offer_ids

ONCE: Document = {"count": 1, "window": "1d", "on": "decision"}
FAMILY: dict[str, Any] = {
    "attributes": [*ATTRIBUTES, {"id": "family", "type": "key"}],
    "contacts": {"household": "family"},
}


def service(*offers: Document, slots: int = 3, **more: Any) -> Service:
    """A service with one placement."""
    return Service(catalog_document(offers, [placement_entry(slots=slots, max_per_group=9)], **more))


def excluded(decision: Decision) -> dict[str, tuple[Reason, str]]:
    """Why each offer was left out."""
    assert decision.explanation is not None
    return {each.offer_id: (each.reason, each.detail) for each in decision.explanation.exclusions}


def report(of: Service, decision: Decision, kind: ContactKind) -> None:
    """An outcome of the first offer of a decision, now."""
    ref = DecisionRef(int(decision.decision_id[:16], 16), int(decision.decision_id[16:], 16), 0)
    now_us = microseconds_of(of.clock.now)
    outcome = Outcome(f"{decision.decision_id}-{kind}", kind, now_us, ref)
    of.writer.write(OutcomesReported(now_us, (outcome,), (None,)))


def test_capped_offer_is_excluded_with_its_cap() -> None:
    shop = service(offer_entry("a", 2.0, caps=[ONCE]), offer_entry("b"))

    first, second = shop.rank(), shop.rank(full_view=True)

    assert (offer_ids(first), offer_ids(second)) == (["a", "b"], ["b"])
    assert excluded(second) == {"a": (Reason.CAP, "cap: 1 decision in 1 d")}


def test_customer_who_was_never_asked_for_is_not_made_known_by_trying_out() -> None:
    shop = service(offer_entry("a", caps=[ONCE]))

    shop.rank("nobody", validate_only=True)

    assert shop.state.profiles.find("nobody") < 0
    assert shop.state.facts.contacts.subjects == []


def test_contacts_follow_the_identifier_that_was_asked_for() -> None:
    shop = service(offer_entry("a", caps=[ONCE]))
    shop.rank("cookie")
    shop.writer.write(linked("cookie", "card"))
    assert offer_ids(shop.rank("card")) == []

    shop.writer.write(unlinked("cookie", "card"))

    assert offer_ids(shop.rank("cookie")) == []
    assert offer_ids(shop.rank("card")) == ["a"]


def test_household_shares_a_cap_and_whoever_moves_takes_only_their_own_along() -> None:
    shop = service(offer_entry("a", caps=[ONCE | {"per": "household"}]), **FAMILY)
    shop.set("anna", family="smith")
    shop.set("bert", family="smith")
    shop.set("carl", family="jones")
    shop.rank("anna")
    assert [offer_ids(shop.rank(name, validate_only=True)) for name in ("anna", "bert", "carl")] == [[], [], ["a"]]

    shop.clock.advance(seconds=1)
    shop.set("anna", family="jones")
    shop.set("carl", family="smith")
    shop.set("dora", family="jones")

    shown = [offer_ids(shop.rank(name, validate_only=True)) for name in ("anna", "bert", "carl", "dora")]
    assert shown == [[], [], [], ["a"]]


def test_customer_without_household_is_one() -> None:
    shop = service(offer_entry("a", caps=[ONCE | {"per": "household"}]), **FAMILY)

    shown = [offer_ids(shop.rank(name)) for name in ("anna", "anna", "bert", "nobody", "nobody")]

    assert shown == [["a"], [], ["a"], ["a"], []]


def test_household_that_may_not_be_read_is_none() -> None:
    attributes = [*ATTRIBUTES, {"id": "family", "type": "key", "purpose": "personalization"}]
    shop = service(
        offer_entry("a", caps=[ONCE | {"per": "household"}]), attributes=attributes, contacts={"household": "family"}
    )
    for name in ("anna", "bert"):
        shop.set(name, family="smith")
        shop.consent("personalization", name == "anna", name)

    assert [offer_ids(shop.rank(name)) for name in ("anna", "bert", "bert")] == [["a"], ["a"], []]
    assert shop.state.facts.contacts.header().households_end == 1


def test_rule_lifts_its_cap_only_if_its_condition_definitely_does_not_hold() -> None:
    shop = service(offer_entry("a"), rules=[{"id": "r", "when": "customer.member", "effect": {"cap": ONCE}}])
    shop.set("member", member=True)
    shop.set("guest", member=False)

    shown = {name: [offer_ids(shop.rank(name)) for _ in range(2)] for name in ("member", "guest", "unknown")}

    assert shown == {"member": [["a"], []], "guest": [["a"], ["a"]], "unknown": [["a"], []]}


def test_cool_down_begins_with_the_refusal() -> None:
    shop = service(offer_entry("a", cooldown="1h"))
    decision = shop.rank()
    shop.clock.advance(minutes=10)

    report(shop, decision, ContactKind.DECLINED)

    assert offer_ids(shop.rank()) == []
    shop.clock.advance(minutes=59)
    assert offer_ids(shop.rank()) == []
    shop.clock.advance(minutes=1)
    assert offer_ids(shop.rank()) == ["a"]


def test_hold_expires_and_an_impression_stays() -> None:
    shop = service(offer_entry("a", caps=[{"count": 1, "window": "1h"}]))
    shop.rank()
    shop.clock.advance(minutes=14, seconds=59)
    assert offer_ids(shop.rank()) == []

    shop.clock.advance(seconds=1)
    decision = shop.rank()
    report(shop, decision, ContactKind.IMPRESSION)
    shop.clock.advance(minutes=59)

    assert offer_ids(decision) == ["a"]
    assert offer_ids(shop.rank()) == []


def test_only_candidates_that_are_asked_for_are_held_back() -> None:
    shop = service(*[offer_entry(name, caps=[ONCE | {"of": "tactic"}]) for name in "abc"], slots=1)
    shop.rank(candidate_offer_ids=("b",))

    decision = shop.rank(candidate_offer_ids=("a", "unknown"), full_view=True)

    assert {name: reason for name, (reason, _) in excluded(decision).items()} == {
        "a": Reason.CAP,
        "unknown": Reason.UNKNOWN_OFFER,
    }


def test_budget_in_currency_goes_to_what_it_still_affords() -> None:
    costs = {"a": 3.0, "b": 2.0, "c": 0.0}
    values = {name: {"revenue": 10.0 + cost * 2, "margin": 1.0, "cost": cost} for name, cost in costs.items()}
    offers = [offer_entry(name, value=value) for name, value in values.items()]
    shop = service(*offers, slots=1, budgets=[{"id": "b1", "limit": 6.0, "unit": "currency", "on": "decision"}])

    shown = [offer_ids(shop.rank())[0] for _ in range(4)]
    decision = shop.rank(full_view=True)

    assert shown == ["a", "a", "c", "c"]
    assert {name: reason for name, (reason, _) in excluded(decision).items()} == {
        "a": Reason.BUDGET,
        "b": Reason.BUDGET,
    }


def test_cap_of_everybody_is_kept_by_new_catalogs() -> None:
    cap = ONCE | {"per": "global", "count": 2}
    shop = service(offer_entry("a", caps=[cap]))
    shop.rank("anna")

    shop.publish(catalog_document([offer_entry("a", caps=[cap]), offer_entry("b")]))

    assert "a" in offer_ids(shop.rank("bert"))
    assert "a" not in offer_ids(shop.rank("carl"))


def test_global_cap_on_refusals_does_not_hold_decisions_back() -> None:
    cap = {"count": 1, "window": "1d", "per": "global", "of": "tactic", "on": "declined"}
    shop = service(offer_entry("a", caps=[cap]), offer_entry("b", caps=[cap]))

    decisions = [shop.rank(f"c{number}") for number in range(3)]
    assert [len(decision.offers) for decision in decisions] == [2, 2, 2]
    report(shop, decisions[0], ContactKind.DECLINED)

    assert offer_ids(shop.rank("new")) == []


def test_purpose_of_an_offer_and_of_its_channel_must_both_be_granted() -> None:
    shop = service(offer_entry("a", purpose="ads"), offer_entry("b"), channels=[{"id": "web", "purpose": "contact"}])
    decisions = [shop.rank(full_view=True)]
    for purpose in ("ads", "contact"):
        shop.consent(purpose, True)
        decisions.append(shop.rank(full_view=True))
    shop.clock.advance(seconds=1)
    shop.consent("ads", False)
    decisions.append(shop.rank(full_view=True))

    assert [sorted(offer_ids(each)) for each in decisions] == [[], [], ["a", "b"], ["b"]]
    of_channel = "the customer has not agreed to contact, which channel web asks for"
    assert excluded(decisions[0])["b"] == (Reason.CONSENT, of_channel)
    assert excluded(decisions[3])["a"] == (Reason.CONSENT, "the customer has not agreed to ads")


@pytest.mark.parametrize(("zone", "quiet"), [("Asia/Tokyo", True), ("Europe/Berlin", False), (None, True)])
def test_quiet_hours_are_those_where_the_customer_is(zone: str | None, quiet: bool) -> None:
    attributes = [*ATTRIBUTES, {"id": "zone", "type": "category", "values": ["Asia/Tokyo", "Europe/Berlin"]}]
    shop = service(
        offer_entry("a"),
        attributes=attributes,
        time_zone={"attribute": "zone"},
        quiet_hours=[{"id": "night", "from": "21:00", "to": "8:00"}],
    )
    if zone:
        shop.set(zone=zone)

    decision = shop.rank(time=NOON, full_view=True)

    assert offer_ids(decision) == ([] if quiet else ["a"])
    assert (excluded(decision).get("a", (None,))[0] is Reason.SCHEDULE) is quiet


def test_costs_without_bounds_do_not_stop_a_catalog() -> None:
    offers = [offer_entry("a", value={"revenue": 1e300, "margin": 1.0, "cost": 1e250}), offer_entry("b")]

    shop = service(*offers, budgets=[{"id": "b1", "limit": 1e12, "unit": "currency", "on": "decision"}])

    assert offer_ids(shop.rank()) == ["b"]


def test_decision_for_a_time_far_ahead_does_not_free_a_budget() -> None:
    shop = service(offer_entry("a"), budgets=[{"id": "b1", "limit": 2.0, "window": "1h", "on": "decision"}])
    shop.rank("anna")

    shop.rank("bert", time=NOON.replace(year=2150))

    assert offer_ids(shop.rank("carl")) == []
