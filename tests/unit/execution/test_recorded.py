"""GetDecision: the record of a decision in words, and what each loser lacked."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from server.domain.decision import Decision, RankedOffer, Ranking, Reason, Result, Rung
from server.domain.decision_record import DecisionRecord
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import DecisionsMade, Entry
from server.domain.profile import AttributeUpdates
from server.execution.recorded import ReplayDecision
from server.execution.replay import Replayed
from server.execution.state import State
from server.execution.writer import Writer
from tests.support.catalogs import catalog_document, offer_entry, placement_entry
from tests.support.clock import NOON_US
from tests.support.gated_journal import GatedJournal, turns
from tests.support.models import FakeModel, appeal, fails
from tests.support.recorded import changes, excluded, get
from tests.support.service import Service, offer_ids

ONE = [placement_entry(slots=1)]
MODELLED = [placement_entry(slots=1, model="fake/1")]
OVER = datetime(2020, 1, 1, tzinfo=UTC)
CAP = {"count": 1, "window": "30d", "on": "decision"}


def service_of(*offers: Any, placements: Any = None, models: Any = (), **more: Any) -> Service:
    return Service(catalog_document(offers, ONE if placements is None else placements, **more), *models)


def plain(decision: Decision) -> tuple[Decision, tuple[RankedOffer, ...]]:
    return decision._replace(explanation=None, ranking=Ranking()), decision.offers


# What it tells


async def test_recorded_decision_is_told_as_it_was_answered() -> None:
    service = service_of(offer_entry("a", 5.0), offer_entry("b", 3.0), offer_entry("c", 1.0, eligible="false"))
    answered = service.rank(full_view=True)

    told = await get(service, answered.decision_id)

    assert plain(told) == plain(answered)
    assert told.explanation is not None
    assert answered.explanation is not None
    assert told.explanation.offers == answered.explanation.offers
    assert told.explanation.timings == answered.explanation.timings
    assert [each[:3] for each in told.explanation.exclusions] == [each[:3] for each in answered.explanation.exclusions]


async def test_what_happened_since_changes_nothing() -> None:
    service = service_of(offer_entry("a", eligible="customer.visits > 2.0"), offer_entry("b", 0.5, caps=[CAP]))
    service.set(visits=1.0)
    answered = service.rank(full_view=True)
    before = await get(service, answered.decision_id)
    service.set(visits=9.0)
    service.rank()
    service.clock.advance(days=3)

    assert await get(service, answered.decision_id) == before


async def test_content_is_told_if_it_was_asked_for() -> None:
    service = service_of(offer_entry("a"))

    told = await get(service, service.rank(include_content=True).decision_id)

    assert [offer.content for offer in told.offers] == [{"title": "A"}]


async def test_older_catalog_is_compiled_once_more() -> None:
    service = service_of(offer_entry("a", 5.0), offer_entry("b", 3.0))
    answered = service.rank(full_view=True)
    service.publish(catalog_document([offer_entry("c")], ONE))

    told = await get(service, answered.decision_id)

    assert offer_ids(told) == ["a"]
    assert (await changes(service, answered)).keys() == {"b"}


async def test_catalog_that_the_journal_has_no_more_is_named() -> None:
    service = service_of(offer_entry("a"))
    answered = service.rank()
    service.publish(catalog_document([offer_entry("c")], ONE))
    service.writer.entries[:1] = []

    with pytest.raises(OpportuneError, match="catalog version 1") as refused:
        await get(service, answered.decision_id)

    assert (refused.value.reason, refused.value.metadata) == (ErrorReason.VERSION_GONE, {"missing": "catalog"})


@pytest.mark.parametrize("decision_id", ["", "12", "g" * 32, "A" * 32, "0" * 33])
async def test_malformed_id_is_refused(decision_id: str) -> None:
    with pytest.raises(OpportuneError, match="decision_id") as refused:
        await get(service_of(offer_entry("a")), decision_id)

    assert refused.value.reason is ErrorReason.INVALID_FIELD


@pytest.mark.parametrize("decision_id", ["0" * 32, "f" * 32, f"{1:016x}{2:016x}"])
async def test_decision_without_record_is_not_found(decision_id: str) -> None:
    service = service_of(offer_entry("a"))
    service.rank()

    with pytest.raises(OpportuneError) as refused:
        await get(service, decision_id)

    assert refused.value.reason is ErrorReason.DECISION_NOT_FOUND


async def test_disabled_placement_has_nothing_to_explain() -> None:
    service = service_of(offer_entry("a"), placements=[placement_entry(enabled=False)])

    told = await get(service, service.rank().decision_id)

    assert told.result is Result.PLACEMENT_DISABLED


async def test_placements_beside_a_disabled_one_are_told() -> None:
    placements = [placement_entry("home", enabled=False), placement_entry("cart", slots=1)]
    service = service_of(offer_entry("a", 5.0), offer_entry("b", 3.0), placements=placements)
    answered = service.rank(further_placement_ids=("cart",), full_view=True)

    told = await get(service, answered.decision_id)

    assert plain(told) == plain(answered)
    assert [offer.placement_id for offer in told.offers] == ["cart"]


async def test_cap_of_a_placement_beside_a_disabled_one_is_told() -> None:
    placements = [placement_entry("home", enabled=False), placement_entry("cart", slots=1)]
    service = service_of(offer_entry("a", 5.0, caps=[CAP]), offer_entry("b", 3.0), placements=placements)
    service.rank(placement_id="cart")
    answered = service.rank(further_placement_ids=("cart",))

    found = await excluded(service, answered)

    assert offer_ids(answered) == ["b"]
    assert found["a"].reason is Reason.CAP


async def test_replay_begins_when_the_journal_has_the_decisions_before() -> None:
    service = service_of(offer_entry("a"))
    answered = service.rank()
    journal = GatedJournal()
    journal.gate.clear()
    writer = Writer(journal, State({}), None)
    writer.start()
    waiting: list[Entry] = [DecisionsMade(NOON_US, (), ())]
    seen: list[int] = []

    def flush() -> None:
        if waiting:
            writer.write(waiting.pop())

    async def replay(record: DecisionRecord) -> Replayed:
        seen.append(journal.head)
        return Replayed(answered, ())

    writer.ahead = flush
    replaying = asyncio.create_task(ReplayDecision(service.log, writer.settle, replay)(answered.decision_id))
    await turns()
    assert (journal.begun, seen) == (1, [])

    journal.gate.set()
    await replaying

    assert seen == [1]
    await writer.close()


# Scores


async def test_scores_of_a_model_that_is_gone_are_the_recorded_ones() -> None:
    offers = [offer_entry(f"o{n}", 1.0, attributes={"appeal": n / 64}) for n in range(50)]
    service = service_of(*offers, placements=MODELLED, models=[FakeModel()])
    answered = service.rank(full_view=True)
    service.publish(catalog_document([offer_entry("a")], ONE))
    service.state.models = {}

    told = await get(service, answered.decision_id)

    found = await excluded(service, answered)
    assert plain(told) == plain(answered)
    assert "0.75" in found["o48"].detail
    assert "not loaded" in found["o3"].detail
    # Rounded up, and calibration is a little off.
    assert found["o3"].would_have_won_if == "if its expected value were above 0.765626 USD (propensity above 0.765626)"


async def test_model_that_answers_otherwise_now_explains_nothing() -> None:
    offers = [offer_entry("a", attributes={"appeal": 0.5}), offer_entry("b", attributes={"appeal": 0.25})]
    service = service_of(*offers, placements=MODELLED, models=[FakeModel()])
    answered = service.rank()
    service.publish(catalog_document([offer_entry("c")], ONE))
    service.state.models = {"fake/1": FakeModel(lambda tensors: 1 - appeal(tensors))}

    told = await get(service, answered.decision_id)

    assert offer_ids(told) == ["a"]
    assert told.explanation is not None
    assert told.explanation.exclusions == ()


# What each loser lacked


async def test_condition_is_named_with_what_was_known() -> None:
    service = service_of(offer_entry("a", 5.0, eligible="customer.visits > 4.0"), offer_entry("b", 1.0))
    service.set(visits=3.0)

    found = await changes(service, service.rank())

    assert found == {"a": "if customer.visits > 4.0 held (customer.visits was 3)"}


@pytest.mark.parametrize(
    ("condition", "known"),
    [
        ("customer.visits > 4.0", "customer.visits was not known"),
        ('customer.tier == "gold"', 'customer.tier was "silver"'),
        ('"vegan" in customer.tags', 'customer.tags was ["parent", "student"]'),
        ("customer.spend[offer.department] > 9.0", "customer.spend[floral] was 2.5"),
        ('customer.spend["grocery"] > 9.0', "customer.spend[grocery] was not known"),
        ("!customer.member", "customer.member was true"),
        ('context.device == "phone"', 'context.device was "desktop"'),
        ("customer.last_visit < 1.0", "customer.last_visit was 2 days ago"),
    ],
)
async def test_each_type_of_attribute_is_told(condition: str, known: str) -> None:
    offer = offer_entry("a", 5.0, eligible=condition, attributes={"department": "floral"})
    service = service_of(offer, offer_entry("b", 1.0))
    at = service.clock.now.replace(day=20)
    service.set(tier="silver", member=True, last_visit=at, **{"spend.floral": 2.5})
    service.change("customer:1", AttributeUpdates(append={"tags": ("parent", "student")}))

    found = await changes(service, service.rank(context={"device": "desktop"}))

    assert f"({known})" in found["a"]


async def test_condition_that_would_not_have_been_enough_is_not_named() -> None:
    weak = offer_entry("weak", 0.5, eligible="customer.visits > 4.0")
    both = offer_entry("both", 9.0, eligible='customer.visits > 4.0 && customer.tier == "gold"')
    service = service_of(weak, both, offer_entry("shown", 1.0))

    assert await changes(service, service.rank()) == {}


async def test_offers_that_need_the_same_condition_would_have_come_with_it() -> None:
    offers = [
        offer_entry("best", 9.0, eligible="customer.member"),
        offer_entry("next", 5.0, eligible="customer.member"),
    ]
    service = service_of(*offers, offer_entry("shown", 1.0))

    assert (await changes(service, service.rank())).keys() == {"best"}


async def test_rule_that_excludes_is_named() -> None:
    rules = [{"id": "calm", "when": "customer.member", "effect": "exclude", "offers": 'offer.id == "a"'}]
    service = service_of(offer_entry("a", 5.0), offer_entry("b"), rules=rules)
    service.set(member=True)

    found = await changes(service, service.rank())

    assert found == {"a": "if it were not excluded by rule calm: customer.member (customer.member was true)"}


async def test_cap_is_named() -> None:
    service = service_of(offer_entry("a", 5.0, caps=[CAP]), offer_entry("b"))
    service.rank()

    assert await changes(service, service.rank()) == {"a": "if the cap: 1 decision in 30 d had room"}


async def test_offer_that_two_caps_hold_back_lacked_more_than_one_thing() -> None:
    weekly = {"count": 1, "window": "7d", "on": "decision"}
    service = service_of(offer_entry("a", 5.0, caps=[CAP, weekly]), offer_entry("b"))
    service.rank()

    assert await changes(service, service.rank()) == {}


async def test_cap_behind_a_condition_is_seen() -> None:
    offer = offer_entry("a", 5.0, caps=[CAP], eligible="customer.visits > 1.0")
    service = service_of(offer, offer_entry("b"))
    service.set(visits=2.0)
    service.rank()
    service.set(visits=0.0)

    assert await changes(service, service.rank()) == {}


async def test_budget_is_named() -> None:
    budgets = [{"id": "tight", "offers": 'offer.id == "a"', "limit": 1, "window": "1d", "unit": "count"}]
    service = service_of(offer_entry("a", 5.0), offer_entry("b"), budgets=budgets)
    service.rank("customer:2")

    found = await changes(service, service.rank())

    assert found == {"a": "if the budget tight: 1 count had room"}


async def test_schedule_creative_and_filter_are_named() -> None:
    offers = [
        offer_entry("late", 9.0, schedule={"end": OVER}),
        offer_entry("mute", 8.0, creatives=[]),
        offer_entry("filtered", 7.0, attributes={"level": 1.0}),
        offer_entry("shown", 1.0),
        offer_entry("weak", 0.5, schedule={"end": OVER}),
    ]
    service = service_of(*offers)

    found = await changes(service, service.rank(filter="!has(offer.level)"))

    assert found == {
        "late": "if it had been scheduled at the time",
        "mute": "if it had a creative for channel web",
        "filtered": "if the request had no filter",
    }


async def test_consent_is_named() -> None:
    service = service_of(offer_entry("a", 5.0, purpose="marketing"), offer_entry("b"))
    lacking = service.rank()
    service.consent("marketing", True)

    assert await changes(service, lacking) == {"a": "if the customer had agreed to marketing"}
    assert offer_ids(service.rank()) == ["a"]


async def test_quiet_hours_are_named() -> None:
    quiet = [{"id": "noon", "from": "11:00", "to": "13:00", "channels": ["web"]}]
    service = service_of(offer_entry("a", 5.0), quiet_hours=quiet)

    found = await changes(service, service.rank())

    assert found == {"a": "if it had not been quiet hours where the customer is"}


async def test_value_that_was_lacking_is_named() -> None:
    service = service_of(offer_entry("a", 5.0), offer_entry("b", 3.0))

    assert await changes(service, service.rank()) == {"b": "if its value were above 5 USD"}


async def test_levers_count_towards_the_value() -> None:
    levers = [{"id": "push", "offers": 'offer.id == "b"', "multiplier": 2.0, "by": "ann", "at": "2026-01-01"}]
    service = service_of(offer_entry("a", 5.0), offer_entry("b", 2.0), levers=levers)

    found = await changes(service, service.rank())

    assert found == {"b": "if its value were above 5 USD, levers included (value above 2.5)"}


async def test_expected_value_is_named_with_what_would_give_it() -> None:
    offers = [offer_entry("a", 4.0, attributes={"appeal": 0.5}), offer_entry("b", 8.0, attributes={"appeal": 0.125})]
    service = service_of(*offers, placements=MODELLED, models=[FakeModel()])

    found = await changes(service, service.rank())

    assert found == {"b": "if its expected value were above 2 USD (propensity above 0.25, or value above 16)"}


async def test_propensity_above_one_is_no_way_to_win() -> None:
    offers = [offer_entry("a", 9.0, attributes={"appeal": 0.5}), offer_entry("b", 2.0, attributes={"appeal": 0.5})]
    service = service_of(*offers, placements=MODELLED, models=[FakeModel()])

    assert await changes(service, service.rank()) == {"b": "if its expected value were above 4.5 USD (value above 9)"}


async def test_winner_of_the_same_group_is_named() -> None:
    offers = [offer_entry("a", 9.0, exclusion_group="g"), offer_entry("b", 5.0, exclusion_group="g")]
    offers += [offer_entry("c", 4.0, exclusion_group="g"), offer_entry("d", 1.0)]
    service = service_of(*offers, placements=[placement_entry(slots=2, max_per_group=1)])

    found = await changes(service, service.rank())

    # If `a` had not been shown, `b` would have been, and `c` would still have been third.
    assert found == {"b": "if a had not been shown", "c": "if its value were above 9 USD"}


async def test_cap_that_the_winners_used_up_is_named() -> None:
    shared = {"count": 1, "window": "30d", "on": "decision", "of": "tactic"}
    offers = [offer_entry("a", 9.0, caps=[shared]), offer_entry("b", 5.0, caps=[shared])]
    service = service_of(*offers, placements=[placement_entry(slots=2)])

    assert await changes(service, service.rank()) == {"b": "if the cap: 1 decision in 30 d of the tactic had room"}


async def test_order_that_was_asked_for_decides() -> None:
    offers = [offer_entry("a", 9.0, attributes={"level": 1.0}), offer_entry("b", 5.0, attributes={"level": 2.0})]
    service = service_of(*offers)

    found = await changes(service, service.rank(order_by="offer.level desc"))

    assert found == {"a": "if it stood ahead of b in the order that was asked for"}


# On lower rungs


async def test_time_to_rank_is_named_where_there_was_none() -> None:
    offers = [offer_entry(f"o{n}", 1.0 + n / 8, attributes={"appeal": 0.5}) for n in range(4)]
    offers.append(offer_entry("hidden", 0.5, attributes={"appeal": 1.0}))
    placement = placement_entry(slots=1, model="fake/1", fallback_offers=["o1", "o0"])
    model = FakeModel(fails)
    service = service_of(*offers, placements=[placement], models=[model])
    answered = service.rank()
    model._score = appeal

    found = await changes(service, answered)

    assert (answered.rung, offer_ids(answered)) == (Rung.DEFAULT, ["o1"])
    assert found == {
        "o0": "if it stood ahead of o1 among the placement's fallback offers",
        "o3": "if there had been time to rank every candidate by the model",
    }


async def test_reasons_go_along_with_changes() -> None:
    service = service_of(offer_entry("a", 5.0, eligible="customer.member"), offer_entry("b"))

    found = await excluded(service, service.rank())

    assert found["a"].reason is Reason.CONDITION
