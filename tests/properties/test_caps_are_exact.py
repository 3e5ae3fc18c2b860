"""Caps and budgets against a plain list: nothing is shown that exceeds one, and nothing is held back without need."""

from collections.abc import Sequence
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from server.domain.clock import microseconds_of, time_of
from server.domain.contact import ContactKind, ContactSubject
from server.domain.decision import Decision, Reason
from server.domain.journal import OutcomesReported
from server.domain.outcome import DecisionRef, Outcome
from tests.properties.contact_log import HOLD_US, Asker, Contact, ContactLog, Entry, Policy, duration_us, key_of
from tests.support.catalogs import ATTRIBUTES, Document, catalog_document, offer_entry, placement_entry
from tests.support.folds import linked, unlinked
from tests.support.service import Service

CUSTOMERS = ("cookie:1", "cookie:2", "card:1", "card:2")
PLACEMENTS: list[Document] = [
    placement_entry("home", channel="web", slots=2, max_per_group=9),
    placement_entry("side", channel="web", slots=1, max_per_group=9),
    placement_entry("mail", channel="email", slots=3, max_per_group=9),
]
CHANNELS = {"home": "web", "side": "web", "mail": "email"}
SLOTS = {"home": 2, "side": 1, "mail": 3}
OFFERS = ("a", "b", "c", "d", "e", "f")
WINDOWS = {"customer": ["20m", "1h", "6h"], "household": ["20m", "1h", "6h"], "global": ["1h"]}
"""A cap that everybody shares keeps its window, as what is not asked for is not kept."""

customers = st.sampled_from(CUSTOMERS)
outcome_kinds = st.sampled_from(list(ContactKind)[1:])
kinds = st.sampled_from(["decision", "impression", "impression", "click", "accepted", "declined", "converted"])
scopes = st.sampled_from(["offer", "offer", "exclusion_group", "tactic", "channel", "all"])


@st.composite
def caps(draw: st.DrawFn, per: tuple[str, ...] = ("customer", "household", "global")) -> Document:
    """Any cap."""
    whose = draw(st.sampled_from(per))
    return {
        "count": draw(st.integers(1, 4)),
        "window": draw(st.sampled_from(WINDOWS[whose])),
        "per": whose,
        "of": draw(scopes),
        "on": draw(kinds),
    }


@st.composite
def budgets(draw: st.DrawFn) -> Document:
    """Any budget; one of another kind is another budget."""
    unit, on = (
        draw(st.sampled_from(["count", "currency"])),
        draw(st.sampled_from(["decision", "impression", "accepted"])),
    )
    window = draw(st.sampled_from([None, "1h"]))
    budget: Document = {"id": f"{unit}-{on}-{window}", "unit": unit, "on": on, "limit": draw(st.integers(0, 12)) / 2}
    return budget if window is None else budget | {"window": window}


@st.composite
def catalogs(draw: st.DrawFn) -> Document:
    """Offers of different worth, with any caps and budgets."""
    offers: list[Document] = [
        {
            "id": name,
            "tactic": f"tactic-{place % 2}",
            "value": {"revenue": 10.0 - place, "margin": 1.0, "cost": (place % 4) / 2},
            "exclusion_group": ("", "one", "two")[place % 3],
            "caps": draw(st.lists(caps(), max_size=2)),
            "creatives": [{"id": "web", "channel": "web"}, {"id": "mail", "channel": "email"}],
        }
        for place, name in enumerate(OFFERS)
    ]
    for offer in offers:
        # An offer without a group cannot have a cap of its group.
        offer["caps"] = [cap for cap in offer["caps"] if cap["of"] != "exclusion_group" or offer["exclusion_group"]]
    rules = [
        {"id": f"rule-{place}", "when": "" if cap["per"] == "global" else when, "effect": {"cap": cap}}
        for place, (cap, when) in enumerate(
            draw(st.lists(st.tuples(caps(), st.sampled_from(["", "customer.member"])), max_size=2))
        )
    ]
    chosen = draw(st.lists(budgets(), max_size=2, unique_by=lambda budget: budget["id"]))
    return catalog_document(
        offers,
        PLACEMENTS,
        rules=rules,
        budgets=chosen,
        attributes=[*ATTRIBUTES, {"id": "family", "type": "key"}],
        contacts={"household": "family"},
    )


class Contacting(RuleBasedStateMachine):
    """Decides, reports, links and publishes, and keeps a list of what was shown."""

    @initialize(document=catalogs())
    def begin(self, document: Document) -> None:
        self.service = Service(document)
        self.policy = Policy(document)
        self.log = ContactLog()
        self.set_at: dict[str, dict[str, tuple[int, Any]]] = {name: {} for name in CUSTOMERS}
        self.outcomes = 0
        for name in CUSTOMERS:
            self.service.set(name, visits=1.0)

    @rule(document=catalogs())
    def publish(self, document: Document) -> None:
        self.service.publish(document)
        self.policy = Policy(document)

    @rule(minutes=st.sampled_from([1, 5, 14, 15, 16, 20, 60, 61, 359, 361]))
    def wait(self, minutes: int) -> None:
        self.service.clock.advance(minutes=minutes)

    @rule(left=customers, right=customers)
    def link(self, left: str, right: str) -> None:
        if left != right:
            self.service.writer.write(linked(left, right))

    @rule(left=customers)
    def unlink(self, left: str) -> None:
        self.service.writer.write(unlinked(left))

    @rule(customer=customers, family=st.sampled_from(["smith", "jones"]))
    def move(self, customer: str, family: str) -> None:
        self._set(customer, "family", family)

    @rule(customer=customers, member=st.booleans())
    def join(self, customer: str, member: bool) -> None:
        self._set(customer, "member", member)

    @rule(customer=customers, placement=st.sampled_from(list(SLOTS)), slots=st.integers(0, 3), only=st.booleans())
    def rank(self, customer: str, placement: str, slots: int, only: bool) -> None:
        more: dict[str, Any] = {"candidate_offer_ids": OFFERS[:4]} if only else {}
        self._rank(customer, [placement], max_offers=slots, **more)

    @rule(customer=customers, minutes=st.integers(-10, 10))
    def rank_for_another_time(self, customer: str, minutes: int) -> None:
        self._rank(customer, ["home"], minutes)

    @rule(customer=customers, placements=st.lists(st.sampled_from(list(SLOTS)), min_size=2, max_size=3, unique=True))
    def rank_together(self, customer: str, placements: list[str]) -> None:
        self._rank(customer, placements)

    @rule(customer=customers)
    def try_out(self, customer: str) -> None:
        self._rank(customer, ["home"], validate_only=True)

    @rule(data=st.data(), kind=outcome_kinds, minutes=st.integers(-20, 5))
    def report(self, data: st.DataObject, kind: ContactKind, minutes: int) -> None:
        decided = [contact for contact in self.log.contacts if contact.decided_us is not None]
        if not decided:
            return
        contact = decided[-1 - data.draw(st.integers(0, min(len(decided), 8) - 1))]
        ref = DecisionRef(contact.number, contact.tag, contact.slot)
        outcome = self._outcome(kind, minutes)._replace(decision=ref)
        self.service.writer.write(OutcomesReported(self._now_us(), (outcome,), (None,)))
        contact.report(kind, outcome.event_time_us, self._now_us())

    @rule(customer=customers, offer=st.sampled_from(OFFERS), kind=outcome_kinds)
    def report_without_token(self, customer: str, offer: str, kind: ContactKind) -> None:
        entry, now_us = self.policy.offers[offer], self._now_us()
        outcome = self._outcome(kind, 0)._replace(customer_id=customer, offer_id=offer)
        subject = ContactSubject(offer, "", "web", entry["tactic"], entry["exclusion_group"])
        self.service.writer.write(OutcomesReported(now_us, (outcome,), (subject,)))
        identifiers = self._identifiers(customer)
        since_us = now_us - 7 * 86_400_000_000
        mine = [each for each in self.log.contacts if each.customer_id in identifiers and each.offer["id"] == offer]
        known = [each for each in mine if each.decided_us is not None and each.decided_us >= since_us]
        if known:
            max(known, key=lambda each: each.number).report(kind, now_us, now_us)
        else:
            contact = Contact(customer, "", entry, "web", None)
            contact.report(kind, now_us, now_us)
            self.log.contacts.append(contact)

    def _rank(self, customer: str, placements: Sequence[str], minutes: int = 0, **more: Any) -> None:
        now_us = self._now_us() + minutes * 60_000_000
        time = time_of(now_us) if minutes else None
        asker = Asker(self._identifiers(customer), self._value(customer, "family") or "",
                      self._value(customer, "member") is False, now_us)  # fmt: skip
        slots = {name: min(more.get("max_offers") or 9, SLOTS[name]) for name in placements}
        expected = self._expected(asker, customer, slots, more.get("candidate_offer_ids", OFFERS))
        further = tuple(placements[1:])

        decision = self.service.rank(
            customer, placements[0], further_placement_ids=further, time=time, full_view=True, **more
        )

        shown = [(each.placement_id, each.offer_id) for each in decision.offers]
        by_placement = {name: [contact.offer["id"] for at, contact in expected if at == name] for name in placements}
        assert {name: [offer for at, offer in shown if at == name] for name in placements} == by_placement
        event(f"{len(shown)} shown of {sum(slots.values())}")
        self._justified(decision, asker, placements, [contact for _, contact in expected])
        if not more.get("validate_only"):
            self._note(decision, expected, now_us)

    def _expected(
        self, asker: Asker, customer: str, slots: dict[str, int], candidates: Sequence[str]
    ) -> list[tuple[str, Contact]]:
        """What should be shown: the most valuable first, in the first placement that has a slot, if nothing forbids."""
        shown: list[tuple[str, Contact]] = []
        for name in sorted(candidates, key=lambda name: -self._profit(name)):
            for placement, most in slots.items():
                offer, channel = self.policy.offers[name], CHANNELS[placement]
                taken = [contact for _, contact in shown]
                is_full = sum(at == placement for at, _ in shown) == most
                if is_full or self.log.exceeding(self.policy, asker, offer, channel, taken):
                    continue
                meters = self.policy.takes(offer, channel)
                shown.append(
                    (placement, Contact(customer, asker.household, offer, channel, asker.now_us, meters=meters))
                )
                break
        return shown

    def _justified(self, decision: Decision, asker: Asker, placements: Sequence[str], shown: list[Contact]) -> None:
        """Whatever is said to be held back by a cap or a budget would exceed one."""
        assert decision.explanation is not None
        for exclusion in decision.explanation.exclusions:
            if exclusion.reason in (Reason.CAP, Reason.BUDGET):
                offer = self.policy.offers[exclusion.offer_id]
                found = [self.log.exceeding(self.policy, asker, offer, CHANNELS[at], shown) for at in placements]
                assert any(exclusion.reason.name in each for each in found)

    def _note(self, decision: Decision, expected: list[tuple[str, Contact]], now_us: int) -> None:
        number, tag = int(decision.decision_id[:16], 16), int(decision.decision_id[16:], 16)
        of_slot = {(each.placement_id, each.offer_id): slot for slot, each in enumerate(decision.offers)}
        for placement, contact in expected:
            contact.number, contact.tag, contact.slot = number, tag, of_slot[placement, contact.offer["id"]]
            self.log.contacts.append(contact)

    def _outcome(self, kind: ContactKind, minutes: int) -> Outcome:
        self.outcomes += 1
        return Outcome(f"outcome-{self.outcomes}", kind, self._now_us() + minutes * 60_000_000)

    def _profit(self, name: str) -> float:
        value: Entry = self.policy.offers[name]["value"]
        return float(value["revenue"] - value["cost"])

    def _identifiers(self, customer: str) -> set[str]:
        """All identifiers of a customer; identity has tests of its own."""
        profiles = self.service.state.profiles
        return {profiles.name(row) for row in profiles.members(profiles.find(customer))}

    def _set(self, customer: str, attribute: str, value: Any) -> None:
        # No two are set at once, as the latest counts.
        self.service.clock.advance(seconds=1)
        self.service.set(customer, **{attribute: value})
        self.set_at[customer][attribute] = (self._now_us(), value)

    def _value(self, customer: str, attribute: str) -> Any:
        """What was set last of any of the customer's identifiers."""
        found = [self.set_at[name].get(attribute, (0, None)) for name in self._identifiers(customer)]
        return max(found, key=lambda each: each[0])[1]

    def _now_us(self) -> int:
        return microseconds_of(self.service.clock.now)


TestContacting = Contacting.TestCase
TestContacting.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("rank"), st.integers(0, 1)),
        st.tuples(st.just("rank"), st.integers(0, 1)),
        st.tuples(st.just("wait"), st.sampled_from([1, 5, 14])),
        st.tuples(st.just("report"), st.integers(0, 2)),
        st.tuples(st.just("report"), st.integers(0, 2)),
    ),
    min_size=10,
    max_size=80,
)


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 3),
    st.sampled_from(["20m", "1h"]),
    st.sampled_from(["customer", "global"]),
    st.sampled_from(["offer", "tactic", "all"]),
    st.sampled_from(["decision", "impression", "accepted"]),
    steps,
)
def test_no_window_has_more_contacts_than_the_cap_allows(  # noqa: PLR0917  # what a cap is made of
    count: int, window: str, per: str, of: str, on: str, done: list[tuple[str, int]]
) -> None:
    cap = {"count": count, "window": window, "per": per, "of": of, "on": on}
    offers = [offer_entry(name, float(9 - n), tactic=f"t{n % 2}", caps=[cap]) for n, name in enumerate("abcd")]
    service = Service(catalog_document(offers, PLACEMENTS))
    service.writer.write(linked("cookie", "card"))
    kind, contacts, shown = ContactKind[on.upper()], list[Contact](), 0
    for number, (step, argument) in enumerate(done):
        now_us = microseconds_of(service.clock.now)
        held = [each for each in contacts if not each.reached_us and each.decided_us + HOLD_US > now_us]  # type: ignore[operator]
        if step == "wait":
            service.clock.advance(minutes=argument)
        elif step == "rank":
            decision = service.rank(("cookie", "card")[argument])
            ids = int(decision.decision_id[:16], 16), int(decision.decision_id[16:], 16)
            for slot, offer in enumerate(decision.offers):
                entry = {"id": offer.offer_id, "tactic": f"t{'abcd'.index(offer.offer_id) % 2}"}
                contacts.append(Contact("", "", entry, "web", now_us, ids[0], slot, ids[1]))
            shown += len(decision.offers)
        elif held:
            contact = held[argument % len(held)]
            ref = DecisionRef(contact.number, contact.tag, contact.slot)
            outcome = Outcome(str(number), ContactKind.ACCEPTED, now_us, ref)
            service.writer.write(OutcomesReported(now_us, (outcome,), (None,)))
            contact.report(ContactKind.ACCEPTED, now_us, now_us)
    event(f"{min(shown, 9)} shown")

    of_key: dict[str | None, list[int]] = {}
    for contact in contacts:
        time_us = contact.decided_us if kind is ContactKind.DECISION else contact.reached_us.get(kind)
        if time_us is not None:
            of_key.setdefault(key_of(of, contact.offer, "web"), []).append(time_us)
    for times_us in of_key.values():
        for end_us in times_us:
            assert sum(end_us - duration_us(window) < time_us <= end_us for time_us in times_us) <= count
