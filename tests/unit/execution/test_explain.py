from datetime import UTC, datetime

from server.domain.attribute import AttributeType
from server.domain.decision import Decision, Explanation, Reason
from server.domain.model import Feature, ModelInput, Scope
from server.execution.decide import STAGE_NAMES
from tests.support.catalogs import catalog_document, offer_entry, placement_entry
from tests.support.models import FakeModel, appeal, fails, manifest
from tests.support.service import Service, offer_ids

INPUTS = (
    ModelInput("customer", Scope.CUSTOMER, (Feature("customer.visits", AttributeType.NUMBER),)),
    ModelInput("offer", Scope.OFFER, (Feature("offer.appeal", AttributeType.NUMBER),)),
)
WITH_MODEL = [placement_entry(model="fake/1")]


def explained(decision: Decision) -> Explanation:
    assert decision.explanation is not None
    return decision.explanation


def reasons(decision: Decision) -> dict[str, Reason]:
    return {exclusion.offer_id: exclusion.reason for exclusion in explained(decision).exclusions}


def test_basic_view_explains_nothing() -> None:
    assert Service(catalog_document([offer_entry("a")])).rank().explanation is None


def test_explanation_changes_nothing_else() -> None:
    service = Service(catalog_document([offer_entry("a"), offer_entry("b", eligible="false")]))

    basic, full = service.rank(), service.rank(full_view=True)

    assert full._replace(explanation=None, decision_id="") == basic._replace(decision_id="")
    assert offer_ids(full) == offer_ids(basic)


def test_every_offer_is_either_shown_or_excluded_once() -> None:
    offers = [
        offer_entry("shown", 9.0),
        offer_entry("lost", 1.0),
        offer_entry("forbidden", eligible="customer.visits > 1"),
        offer_entry("over", schedule={"end": datetime(2020, 1, 1, tzinfo=UTC)}),
        offer_entry("mute", creatives=[]),
        offer_entry("filtered", attributes={"level": 1.0}),
    ]
    service = Service(catalog_document(offers, [placement_entry(slots=1)]))

    decision = service.rank(full_view=True, filter="!has(offer.level)")

    assert offer_ids(decision) == ["shown"]
    assert reasons(decision) == {
        "lost": Reason.LOST,
        "forbidden": Reason.CONDITION,
        "over": Reason.SCHEDULE,
        "mute": Reason.NO_CREATIVE,
        "filtered": Reason.FILTER,
    }
    assert len(explained(decision).exclusions) == 5


def test_offers_that_were_not_asked_for_are_not_excluded_either() -> None:
    service = Service(catalog_document([offer_entry("a"), offer_entry("b")]))

    decision = service.rank(full_view=True, candidate_offer_ids=("a", "x", "x"))

    assert reasons(decision) == {"x": Reason.UNKNOWN_OFFER}
    assert len(explained(decision).exclusions) == 1


def test_failed_condition_is_the_first_part_that_does_not_hold() -> None:
    text = "has(customer.visits) && customer.visits > 5 && customer.member"
    service = Service(catalog_document([offer_entry("a", eligible=text)]))
    service.set(visits=1.0, member=False)

    (exclusion,) = explained(service.rank(full_view=True)).exclusions

    assert exclusion.detail == "does not hold: customer.visits > 5"


def test_winner_names_the_conditions_that_it_met_in_the_order_it_writes_them() -> None:
    text = 'customer.visits > 5 && (customer.member || customer.tier == "gold") && true'
    service = Service(catalog_document([offer_entry("a", eligible=text)]))
    service.set(visits=9.0, member=True)

    (offer,) = explained(service.rank(full_view=True)).offers

    assert offer.conditions_met == ("customer.visits > 5", '(customer.member || customer.tier == "gold")')


def test_winner_shows_what_the_model_was_given_for_it() -> None:
    offers = [
        offer_entry(name, attributes={"appeal": value}) for name, value in (("a", 0.25), ("b", 0.5), ("c", 0.125))
    ]
    service = Service(catalog_document(offers, WITH_MODEL), FakeModel(appeal, manifest(inputs=INPUTS)))
    service.set(visits=7.0)

    decision = service.rank(full_view=True)

    assert [dict(offer.model_inputs) for offer in explained(decision).offers] == [
        {"customer.visits": 7.0, "offer.appeal": value} for value in (0.5, 0.25, 0.125)
    ]
    assert offer_ids(decision) == ["b", "a", "c"]


def test_attribute_without_consent_is_not_shown_among_the_inputs() -> None:
    inputs = (ModelInput("customer", Scope.CUSTOMER, (Feature("customer.income", AttributeType.NUMBER),)), INPUTS[1])
    offers = [offer_entry("a", attributes={"appeal": 0.25})]
    service = Service(catalog_document(offers, WITH_MODEL), FakeModel(appeal, manifest(inputs=inputs)))
    service.set(income=7.0)

    (offer,) = explained(service.rank(full_view=True)).offers

    assert dict(offer.model_inputs) == {"offer.appeal": 0.25}


def test_fallback_offer_claims_no_model_inputs() -> None:
    offers = [offer_entry("a", attributes={"appeal": 0.25})]
    placements = [placement_entry(model="fake/1", fallback_offers=["a"])]

    decision = Service(catalog_document(offers, placements), FakeModel(fails)).rank(full_view=True)

    assert [dict(offer.model_inputs) for offer in explained(decision).offers] == [{}]


def test_loser_is_told_what_the_last_winner_was_worth() -> None:
    offers = [
        offer_entry("a", 10.0, attributes={"appeal": 0.5}),
        offer_entry("b", 10.0, attributes={"appeal": 0.25}),
    ]
    service = Service(catalog_document(offers, [placement_entry(model="fake/1", slots=1)]), FakeModel())

    (exclusion,) = explained(service.rank(full_view=True)).exclusions

    assert exclusion.detail == "expected value 2.5 USD; the last offer shown has 5"


def test_timings_name_every_stage() -> None:
    timings = explained(Service(catalog_document([offer_entry("a")])).rank(full_view=True)).timings

    assert [timing.stage for timing in timings] == list(STAGE_NAMES)
    assert all(timing.duration_ns >= 0 for timing in timings)
