from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest

from server.domain.decision import Context, RankQuery, Result, Rung
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.model import Calibration, CalibrationLine, OutputKind
from server.execution.decide import decide
from server.execution.evaluation import Moment
from server.execution.explain import explain
from tests.support.catalogs import catalog_document, offer_entry, placement_entry
from tests.support.clock import NOON
from tests.support.models import FakeModel, fails, manifest
from tests.support.service import Service, offer_ids

PRICED = [offer_entry("a", 1.0), offer_entry("b", 3.0), offer_entry("c", 2.0)]
SCORED = [
    offer_entry("a", 10.0, attributes={"appeal": 0.1}),
    offer_entry("b", 3.0, attributes={"appeal": 0.5}),
    offer_entry("c", 100.0, attributes={"appeal": 0.001}),
]
WITH_MODEL = [placement_entry(model="fake/1", fallback_offers=["c", "a"])]


def test_decision_says_what_a_replay_needs() -> None:
    service = Service(catalog_document(SCORED, WITH_MODEL), FakeModel())
    version = service.set(visits=1.0).profile_version

    decision = service.rank()

    assert decision.decision_id.startswith("0000000000000001")
    assert (decision.customer_id, decision.placement_id) == ("customer:1", "home")
    assert (decision.time, decision.profile_version, decision.catalog_version) == (NOON, version, 1)
    assert (decision.result, decision.rung, decision.model_version) == (Result.RANKED, Rung.FULL, "fake/1")


@pytest.mark.parametrize("first", [{"model": "fake/1", "enabled": False}, {}], ids=["disabled", "without a model"])
def test_decision_for_several_placements_names_the_first_model_that_was_used(first: dict[str, Any]) -> None:
    placements = [placement_entry("home", slots=1, **first), placement_entry("cart", slots=1, model="fake/1")]
    service = Service(catalog_document(SCORED, placements), FakeModel())

    decision = service.rank(further_placement_ids=("cart",))

    assert (decision.result, decision.model_version) == (Result.RANKED, "fake/1")
    assert service.rank(further_placement_ids=("cart",), filter="false").model_version == ""


def test_offers_carry_propensity_value_and_their_product() -> None:
    decision = Service(catalog_document(SCORED, WITH_MODEL), FakeModel()).rank()

    assert offer_ids(decision) == ["b", "a", "c"]
    first = decision.offers[0]
    assert first.propensity == pytest.approx(0.5, abs=1e-6)
    assert first.value == 3.0
    assert first.expected_value == first.propensity * first.value
    assert first.selection_probability == 1.0


def test_every_offer_has_an_attribution_token_of_its_own() -> None:
    service = Service(catalog_document(PRICED))

    tokens = [offer.attribution_token for _ in range(3) for offer in service.rank().offers]

    assert len(set(tokens)) == 9


def test_content_is_given_only_when_asked_for() -> None:
    service = Service(catalog_document(PRICED))

    assert service.rank().offers[0].content == {}
    assert service.rank(include_content=True).offers[0].content == {"title": "B"}


def test_without_a_model_offers_rank_by_value_and_claim_no_propensity() -> None:
    decision = Service(catalog_document(PRICED)).rank()

    assert offer_ids(decision) == ["b", "c", "a"]
    assert {(o.propensity, o.expected_value) for o in decision.offers} == {(0.0, 0.0)}
    assert (decision.model_version, decision.rung) == ("", Rung.FULL)


def test_failing_model_leads_to_the_fallback_and_says_so() -> None:
    decision = Service(catalog_document(SCORED, WITH_MODEL), FakeModel(fails)).rank()

    assert offer_ids(decision) == ["c", "a"]
    assert (decision.rung, decision.model_version) == (Rung.DEFAULT, "")
    assert {(o.propensity, o.expected_value) for o in decision.offers} == {(0.0, 0.0)}


def test_model_is_run_once_and_only_for_eligible_offers() -> None:
    model = FakeModel()
    offers = [*SCORED, offer_entry("d", 9.0, attributes={"appeal": 0.9}, eligible="customer.visits > 1")]

    Service(catalog_document(offers, WITH_MODEL), model).rank()

    assert [call["offer"].shape for call in model.calls] == [(3, 1)]


def test_model_is_not_run_when_nothing_is_eligible() -> None:
    model = FakeModel(fails)
    offers = [offer_entry("d", 9.0, attributes={"appeal": 0.9}, eligible="customer.visits > 1")]

    decision = Service(catalog_document(offers, [placement_entry(model="fake/1")]), model).rank()

    assert (decision.result, decision.rung, decision.model_version) == (Result.NO_ELIGIBLE_OFFER, Rung.FULL, "")
    assert not model.calls


def test_catalog_without_offers_has_nothing_to_offer() -> None:
    assert Service(catalog_document([])).rank().result is Result.NO_ELIGIBLE_OFFER


def test_disabled_placement_is_an_answer_before_anything_is_evaluated() -> None:
    service = Service(catalog_document(PRICED, [placement_entry(enabled=False)]))

    decision = service.rank(full_view=True)

    assert decision.result is Result.PLACEMENT_DISABLED
    assert decision.offers == ()
    assert decision.explanation is not None


def test_unknown_placement_is_not_found() -> None:
    with pytest.raises(OpportuneError) as refused:
        Service(catalog_document(PRICED)).rank(placement_id="nowhere")

    assert refused.value.reason is ErrorReason.PLACEMENT_NOT_FOUND
    assert refused.value.metadata == {"placement_id": "nowhere", "catalog_version": "1"}


def test_channel_that_the_placement_does_not_have_is_refused() -> None:
    with pytest.raises(OpportuneError) as refused:
        Service(catalog_document(PRICED)).rank(channel="fax")

    assert refused.value.violations[0].field == "context.channel"


def test_channel_defaults_to_the_first_of_the_placement() -> None:
    offers = [offer_entry("a", creatives=[{"id": "mail", "channel": "email"}, {"id": "page", "channel": "web"}])]
    service = Service(catalog_document(offers, [placement_entry(channel=["email", "web"])]))

    assert service.rank().offers[0].creative_id == "mail"
    assert service.rank(channel="web").offers[0].creative_id == "page"


@pytest.mark.parametrize("query", [{"filter": "customer.visits > 1"}, {"order_by": "price"}, {"context": {"x": 1.0}}])
def test_query_that_does_not_fit_the_catalog_is_refused(query: dict[str, Any]) -> None:
    with pytest.raises(OpportuneError) as refused:
        Service(catalog_document(PRICED)).rank(**query)

    assert refused.value.reason is ErrorReason.INVALID_FIELD


def moment(clock_ns: Callable[[], int]) -> Moment:
    """Noon, by a clock of one's own."""
    return Moment(NOON, 1, 2, clock_ns)


def test_decision_is_a_pure_function_of_what_it_is_given() -> None:
    service = Service(catalog_document(SCORED, WITH_MODEL), FakeModel())
    service.set(visits=1.0)
    query = RankQuery("customer:1", "home", Context(attributes={"hour": 3.0}), full_view=True)

    first, _ = decide(service.state.snapshot(), query, moment(count().__next__))
    second, _ = decide(service.state.snapshot(), query, moment(count(100).__next__))

    assert first == second


def test_stages_are_timed_between_readings_of_the_clock() -> None:
    service = Service(catalog_document(PRICED))
    ticks = iter([0, 10, 30, 60, 100, 150, 210, 280])

    decision = explain(*decide(service.state.snapshot(), RankQuery("c", "home"), moment(ticks.__next__)))

    assert decision.explanation is not None
    assert [timing.duration_ns for timing in decision.explanation.timings] == [10, 20, 30, 40, 50, 60, 70]


def test_ranking_leaves_profiles_alone() -> None:
    service = Service(catalog_document(PRICED))
    service.set(visits=1.0)
    before = service.get_profile("customer:1")

    service.rank()
    service.rank("customer:unheard-of")

    assert service.get_profile("customer:1") == before
    with pytest.raises(OpportuneError, match="nothing is known"):
        service.get_profile("customer:unheard-of")


def test_decision_in_flight_keeps_the_catalog_it_began_with() -> None:
    service = Service(catalog_document(PRICED))
    snapshot = service.state.snapshot()

    service.publish(catalog_document([offer_entry("z", 9.0)]))
    decision, _ = decide(snapshot, RankQuery("c", "home"), moment(count().__next__))

    assert (offer_ids(decision), decision.catalog_version) == (["b", "c", "a"], 1)
    assert offer_ids(service.rank()) == ["z"]


def test_model_that_gives_too_few_scores_leads_to_the_fallback() -> None:
    model = FakeModel(lambda inputs: np.array([0.5], np.float32))

    decision = Service(catalog_document(SCORED, WITH_MODEL), model).rank()

    assert (decision.rung, offer_ids(decision)) == (Rung.DEFAULT, ["c", "a"])


def test_channel_of_the_conditions_is_the_channel_of_the_answer() -> None:
    offers = [offer_entry("a", eligible='context.channel == "email"')]
    service = Service(catalog_document(offers, [placement_entry(channel=["web", "email"])]))

    with pytest.raises(OpportuneError):
        service.rank(channel="web", context={"channel": "email"})


def test_offers_are_calibrated_by_their_group() -> None:
    calibration = Calibration(CalibrationLine(), "offer.kind", {"B": CalibrationLine(1.0, -1.0)})
    described = manifest(output_kind=OutputKind.LOG_ODDS, calibration=calibration)
    offers = [
        offer_entry("a", attributes={"appeal": 0.0, "kind": "A"}),
        offer_entry("b", attributes={"appeal": 0.0, "kind": "B"}),
        offer_entry("c", attributes={"appeal": 0.5}),
    ]

    decision = Service(
        catalog_document(offers, [placement_entry(model="fake/1")]), FakeModel(described=described)
    ).rank()

    found = {offer.offer_id: offer.propensity for offer in decision.offers}
    assert found == pytest.approx({"a": 0.5, "b": 1 / (1 + np.e), "c": 1 / (1 + np.exp(-0.5))})
