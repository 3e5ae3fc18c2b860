"""Every change that GetDecision tells of makes its offer win, and where it tells of none no single change does.

The reference knows nothing of how changes are found: it decides again from what is eligible on, by the stages of
decisions themselves, with one thing changed.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.attribute import BoolRow
from server.domain.decision import Context, RankQuery, Rung
from server.execution import candidates
from server.execution.alternatives import Alternatives
from server.execution.cached import CachedRanking
from server.execution.decide import decide
from server.execution.evaluation import Evaluation, Moment
from server.execution.ladder import Plan
from server.execution.rebuilding import Rebuilt, rebuild
from server.execution.record import record_of
from server.execution.scores import score, weigh
from server.execution.slates import fill_slots, fill_together, value_candidates
from server.intelligence.caps import CapRoom
from tests.support.catalogs import Document, catalog_document, offer_entry, placement_entry
from tests.support.clock import NOON
from tests.support.models import FakeModel
from tests.support.service import Service

OVER = {"end": "2020-01-01T00:00:00Z"}
CAPS = [
    {"count": 1, "window": "30d", "on": "decision"},
    {"count": 1, "window": "7d", "on": "decision", "of": "tactic"},
    {"count": 2, "window": "7d", "on": "decision", "of": "all"},
    {"count": 3, "window": "7d", "on": "decision", "per": "global", "of": "tactic"},
]
CONDITIONS = [
    "customer.visits > 2.0", "customer.visits > offer.bound", 'customer.tier == "gold"', "customer.member",
    '(customer.member || customer.visits > 3.0) && customer.tier in ["gold"]', "context.channel == 'email'",
    "customer.member || (customer.visits > 3.0 && customer.visits < 2.0)",
]  # fmt: skip


def _offer(rng: Random, number: int) -> Document:
    more: Document = {
        "tactic": rng.choice(["discount", "bundle"]),
        "attributes": {"appeal": rng.choice([0.125, 0.25, 0.5, 0.75]), "bound": rng.choice([1.0, 4.0])},
        "caps": rng.sample(CAPS, rng.choice([0, 0, 1, 2])),
    }
    if rng.random() < 0.5:
        more["eligible"] = rng.choice(CONDITIONS)
    if rng.random() < 0.3:
        more["exclusion_group"] = rng.choice(["g", "h"])
    if rng.random() < 0.1:
        more["schedule"] = OVER
    if rng.random() < 0.15:
        more["purpose"] = rng.choice(["ads", "mail"])
    channels = rng.choice([["web", "email"], ["web", "email"], ["web"], ["email"]])
    more["creatives"] = [{"id": f"{number}-{channel}", "channel": channel, "content": {}} for channel in channels]
    return offer_entry(f"o{number}", rng.choice([0.5, 1.0, 2.0, 4.0, 8.0]), **more)


def _catalog(rng: Random) -> Document:
    offers = [_offer(rng, number) for number in range(rng.randint(2, 9))]
    model: Document = {"model": "fake/1"} if rng.random() < 0.7 else {}
    fallback = {"fallback_offers": [offer["id"] for offer in rng.sample(offers, rng.randint(0, len(offers)))]}
    diversity: Document = {"diversity": [{"by": "tactic", "max": 1}]} if rng.random() < 0.2 else {}
    common = {"slots": rng.randint(1, 3), "max_per_group": 1} | model | fallback | diversity
    placements = [placement_entry("home", **common), placement_entry("mail", **common | {"channel": "email"})]
    bundles = 'offer.tactic == "bundle"'
    rules: list[Document] = []
    if rng.random() < 0.3:
        rules.append({"id": "calm", "when": "customer.member", "offers": bundles, "effect": "exclude"})
    if rng.random() < 0.3:
        rules.append({"id": "front", "when": "", "offers": 'offer.id == "o0"', "effect": {"pin": 1}})
    if rng.random() < 0.3:
        rules.append({"id": "push", "when": "customer.visits > 1.0", "offers": bundles, "effect": {"boost": 3.0}})
    more: Document = {"rules": rules}
    if rng.random() < 0.3:
        budget: Document = {
            "id": "tight",
            "offers": bundles,
            "limit": rng.choice([1, 2]),
            "window": "1d",
            "unit": "count",
        }
        more["budgets"] = [budget]
    if rng.random() < 0.1:
        more["quiet_hours"] = [{"id": "noon", "from": "11:00", "to": "13:00", "channels": ["web"]}]
    if rng.random() < 0.2:
        more["channels"] = [{"id": "email", "purpose": "mail"}]
    return catalog_document(offers, placements, **more)


def _service(rng: Random) -> Service:
    service = Service(_catalog(rng), FakeModel())
    for purpose in ("ads", "mail"):
        if rng.random() < 0.5 and purpose in service.state.catalog.customer.purposes:
            service.consent(purpose, True)
    service.set(visits=float(rng.randint(0, 5)))
    if rng.random() < 0.7:
        service.set(member=rng.random() < 0.5, tier=rng.choice(["gold", "basic"]))
    for _ in range(rng.randint(0, 3)):
        service.rank(placement_id=rng.choice(["home", "mail"]))
    return service


def _query(rng: Random) -> RankQuery:
    ids = rng.choice([("home",), ("home",), ("mail",), ("home", "mail")])
    return RankQuery(
        "customer:1", ids[0], Context(time=NOON), further_placement_ids=ids[1:],
        filter='offer.tactic == "discount"' if rng.random() < 0.1 else "",
        order_by=rng.choice(["", "", "", "", "value desc", "offer.appeal", "propensity desc"]),
        candidate_offer_ids=("o0", "o1", "o2", "nothing") if rng.random() < 0.1 else (),
    )  # fmt: skip


def _plan(rng: Random) -> Plan:
    rung = rng.choice([Rung.FULL, Rung.FULL, Rung.REDUCED, Rung.CACHED, Rung.DEFAULT])
    return Plan(rung, rng.randint(1, 4) if rung is Rung.REDUCED else 1_000)


def _rebuilt(seed: int) -> Rebuilt:
    """A decision on any rung, rebuilt from its record."""
    rng = Random(seed)
    service = _service(rng)
    query, snapshot = _query(rng), service.state.snapshot()
    offers = np.array(sorted(rng.sample(range(len(snapshot.catalog.offers)), 2)), np.int32)
    cached = CachedRanking(1, "fake/1", offers, np.array([0.25, 0.5]), 0)
    plans = {placement_id: _plan(rng) for placement_id in ("home", "mail")}
    moment = Moment(NOON, 1_000, rng.getrandbits(64), lambda: 0, None, plans, lambda *where: cached)
    decision, evaluations = decide(snapshot, query, moment)
    rebuilt = rebuild(record_of(decision, evaluations), snapshot)
    assert rebuilt.is_faithful
    assert rebuilt.decision.offers == decision.offers
    return rebuilt


# The reference


class Change:
    """One thing that is changed; each method says what is as it was."""

    def query(self, query: RankQuery) -> RankQuery:
        return query

    def granted(self, evaluation: Evaluation) -> int:
        return evaluation.granted

    def quiet(self, quiet: bool) -> bool:
        return quiet

    def truth(self, truth: BoolRow) -> BoolRow:
        return truth

    def stands(self, standing: BoolRow, available: BoolRow, scheduled: BoolRow) -> BoolRow:
        return standing

    def lifts(self, code: int) -> bool:
        return False

    def allowed(self, allowed: BoolRow) -> BoolRow:
        return allowed

    def plan(self, plan: Plan) -> Plan:
        return plan

    def worth(self, evaluation: Evaluation) -> None:
        pass


class _Changed(Change):
    def __init__(self, **hooks: Callable[..., Any]) -> None:
        self.__dict__.update(hooks)


def shown_with(rebuilt: Rebuilt, change: Change) -> set[int]:
    """The offers that are shown with one thing changed."""
    again = [_again(each, change) for each in rebuilt.evaluations if each.marks]
    if len(rebuilt.evaluations) > 1:
        fill_together(again)
    else:
        fill_slots(again[0])
    return {offer for each in again for offer in each.eligible.take(each.winners).tolist()}


def _again(before: Evaluation, change: Change) -> Evaluation:
    evaluation = copy(before)
    evaluation.query = change.query(before.query)
    evaluation.granted = change.granted(before)
    evaluation.quiet = change.quiet(before.quiet)
    evaluation.truth = change.truth(before.truth.copy())
    evaluation.rung, evaluation.model_id, evaluation.held = Rung.FULL, "", np.empty(0, np.intp)
    catalog, offers = before.catalog, before.catalog.offers
    mask = _consented(evaluation)
    available, scheduled = before.creatives.available, offers.scheduled(before.now_days)
    mask &= change.stands(available & scheduled, available, scheduled)
    for offer in range(len(offers)):
        mask[offer] &= evaluation.truth[catalog.eligibility.clauses_of(offer)].all()
    if evaluation.requested is not None:
        mask &= evaluation.requested
    if evaluation.query.filter:
        mask &= catalog.filter.mask(evaluation.query.filter)
    rules = evaluation.snapshot.rules.channel(evaluation.channel)
    for held, codes in candidates.holders(evaluation, rules):
        for offer, code in zip(held.tolist(), codes.tolist(), strict=True):
            if not change.lifts(code):
                mask[offer] = False
    rooms: list[CapRoom] = [room for room in evaluation.rooms if not change.lifts(room.family)]
    evaluation.rooms = rooms
    evaluation.short = [short for short in evaluation.short if not change.lifts(rules.first_meter + short.number)]
    evaluation.allowed = change.allowed(mask).nonzero()[0]
    weigh(evaluation)
    placement_id = before.placement.placement.id
    assert before.moment.plans is not None
    plan = before.moment.plans[placement_id]
    plan = change.plan(plan._replace(rows=1_000) if plan.rung == Rung.FULL else plan)
    evaluation.moment = before.moment._replace(plans={placement_id: plan})
    score(evaluation)
    value_candidates(evaluation)
    change.worth(evaluation)
    return evaluation


def _consented(evaluation: Evaluation) -> BoolRow:
    policy, offers = evaluation.catalog.policy, evaluation.catalog.offers.offers
    purposes = evaluation.catalog.customer.purposes
    granted = {purpose for bit, purpose in enumerate(purposes) if evaluation.granted >> bit & 1}
    channel = policy.channels[evaluation.channel].purpose
    nobody = evaluation.quiet or (channel >= 0 and purposes[channel] not in granted)
    return np.array([not nobody and (not offer.purpose or offer.purpose in granted) for offer in offers], np.bool_)


def _own_changes(rebuilt: Rebuilt, offer: int) -> Iterator[tuple[str, Change]]:
    """Each single change that concerns an offer, with a pattern of its words."""
    ran = [each for each in rebuilt.evaluations if each.marks]
    catalog = ran[0].catalog
    yield (
        "a creative for channel",
        _Changed(stands=lambda standing, available, scheduled: standing | _only(offer, scheduled)),
    )
    yield "been scheduled", _Changed(stands=lambda standing, available, scheduled: standing | _only(offer, available))
    yield "had no filter", _Changed(query=lambda query: query._replace(filter=""))
    yield "been quiet hours", _Changed(quiet=lambda quiet: False)
    for bit, purpose in enumerate(catalog.customer.purposes):
        yield f"agreed to {purpose}", _Changed(granted=lambda evaluation, bit=bit: evaluation.granted | 1 << bit)
    eligibility = catalog.eligibility
    for evaluation in ran:
        failing = [clause for clause in eligibility.clauses_of(offer).tolist() if not evaluation.truth[clause]]
        for text in {eligibility.texts[clause] for clause in failing}:
            clauses = [clause for clause in failing if eligibility.texts[clause] == text]
            words = re.escape(text.removeprefix("not ")) if text.startswith("not excl") else re.escape(f"{text} held")
            yield words, _Changed(truth=lambda truth, clauses=clauses: _with(truth, clauses))
    yield from _shared_changes(ran)


def _shared_changes(ran: Sequence[Evaluation]) -> Iterator[tuple[str, Change]]:
    for evaluation in ran:
        rules = evaluation.snapshot.rules.channel(evaluation.channel)
        policy = rules.policy
        for code in range(len(policy.customer) + len(policy.household) + len(policy.meters.limits)):
            yield re.escape(f"{rules.words(code)} had room"), _Changed(lifts=lambda each, code=code: each == code)
    for winner in {offer for each in ran for offer in each.eligible.take(each.winners).tolist()}:
        words = f"if {ran[0].catalog.offers.offers[winner].id} had not been shown"
        yield (
            words,
            _Changed(allowed=lambda allowed, winner=winner: allowed & ~_only(winner, np.ones(len(allowed), bool))),
        )
    yield "time to rank", _Changed(plan=lambda plan: Plan(Rung.FULL, 1_000))


def _worth_more(offer: int, key: float) -> Change:
    """The offer's key is a little above another."""

    def raise_(evaluation: Evaluation) -> None:
        places = (evaluation.eligible == offer).nonzero()[0]
        above = np.nextafter(key, np.inf)
        if evaluation.rung is Rung.DEFAULT:
            return
        for name in ("expected_value", "worth"):
            column = getattr(evaluation, name).copy()
            column[places] = above
            setattr(evaluation, name, column)

    return _Changed(worth=raise_)


def _only(offer: int, flags: BoolRow) -> BoolRow:
    mask = np.zeros(len(flags), np.bool_)
    mask[offer] = flags[offer]
    return mask


def _with(truth: BoolRow, clauses: Sequence[int]) -> BoolRow:
    truth[clauses] = True
    return truth


# The properties


@pytest.mark.parametrize("part", range(4))
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32))
def test_stated_changes_work_and_none_is_missing(part: int, seed: int) -> None:
    rebuilt = _rebuilt(seed * 4 + part)
    ran = [each for each in rebuilt.evaluations if each.marks]
    alternatives = Alternatives(ran)
    for _ in alternatives.find():
        pass
    shown = {offer for each in ran for offer in each.eligible.take(each.winners).tolist()}
    assert shown_with(rebuilt, Change()) == shown
    requested = ran[0].requested
    for offer, described in enumerate(ran[0].catalog.offers.offers):
        if offer in shown or (requested is not None and not requested[offer]):
            continue
        words = alternatives.words.get(described.id, "")
        if not words:
            assert not [
                pattern for pattern, change in _own_changes(rebuilt, offer) if offer in shown_with(rebuilt, change)
            ]
            continue
        threshold = re.match(r"if its (?:expected )?value were above (\S+) USD", words)
        if threshold:
            assert offer in shown_with(rebuilt, _worth_more(offer, float(threshold[1]))), words
        elif "stood ahead of" not in words:
            found = [change for pattern, change in _own_changes(rebuilt, offer) if re.search(pattern, words)]
            assert found, words
            assert any(offer in shown_with(rebuilt, change) for change in found), words
