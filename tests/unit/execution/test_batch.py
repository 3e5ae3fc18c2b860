"""Ranking an audience: who is ranked, in what portions, and what is special about a batch.

That the answers are those of RankOffers is `tests/properties/test_batch_agrees_with_ranking.py`.
"""

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pytest

from server.domain.attribute import FloatRow
from server.domain.decision import Context
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import IdentifiersLinked
from server.domain.model import ModelFailure, OutputKind
from server.execution import batch, batch_scores
from server.execution.batch import Answers, BatchQuery, Part, RankAudience, seed_of
from server.execution.rank import RankOffers
from tests.support.catalogs import Document, catalog_document, offer_entry, placement_entry
from tests.support.clock import NOON, NOON_US
from tests.support.models import FakeModel, fails, manifest
from tests.support.service import Service

OFFERS = [offer_entry("a", 1.0), offer_entry("b", 3.0, eligible="customer.visits > 1"), offer_entry("c", 2.0)]
SCORED = [offer_entry(name, 1.0, attributes={"appeal": appeal}) for name, appeal in (("a", 0.1), ("b", 0.5))]
WITH_MODEL = [placement_entry(model="fake/1", fallback_offers=["b", "a"])]


def served(document: Document, visits: Mapping[str, float], *models: FakeModel) -> Service:
    service = Service(document, *models)
    for name, number in visits.items():
        service.set(name, visits=number)
    return service


def parts(service: Service, audience: str = "", placement: str = "home", most: int = 0) -> list[Part]:
    return list(RankAudience(service.state.snapshot(), BatchQuery(audience, placement, Context(), most), NOON))


def answered(found: list[Part]) -> list[Answers]:
    return [part.answers for part in found if part.answers is not None]


def offers_of(service: Service, found: list[Part]) -> dict[str, list[str]]:
    """The offers of everybody who was ranked."""
    shown = service.state.catalog.offers.offers
    ranked: dict[str, list[str]] = {}
    for answers in answered(found):
        ranked |= {name: [] for name in answers.names}
        for customer, offer in zip(answers.slates.customers.tolist(), answers.slates.offers.tolist(), strict=True):
            ranked[answers.names[customer]].append(shown[offer].id)
    return ranked


def test_everybody_is_ranked_without_an_audience() -> None:
    service = served(catalog_document(OFFERS), {"c:1": 1.0, "c:2": 2.0})

    found = parts(service)

    assert offers_of(service, found) == {"c:1": ["c", "a"], "c:2": ["b", "c", "a"]}
    assert sum(part.looked_at for part in found) == 2


@pytest.mark.parametrize(
    "audience", ["customer.visits > 1", "context.time > timestamp('2026-11-22T11:00:00Z') && customer.visits == 2"]
)
def test_only_the_audience_is_ranked(audience: str) -> None:
    service = served(catalog_document(OFFERS), {"c:1": 1.0, "c:2": 2.0})

    found = parts(service, audience)

    assert list(offers_of(service, found)) == ["c:2"]
    assert sum(part.looked_at for part in found) == 2


def test_audience_may_ask_for_the_history_that_no_offer_asks_for() -> None:
    service = served(catalog_document(OFFERS), {"c:1": 1.0, "c:2": 2.0, "c:3": 3.0})
    service.rank("c:2")
    service.clock.advance(days=-3)
    service.rank("c:3")

    assert list(offers_of(service, parts(service, "history.decisions_2d >= 1"))) == ["c:2"]
    assert list(offers_of(service, parts(service, "history.decisions_2d == 0"))) == ["c:1", "c:3"]
    assert list(offers_of(service, parts(service, "history.days_since_decision >= 3"))) == ["c:3"]


def test_joined_customer_is_ranked_once_by_the_identifier_that_sorts_first() -> None:
    service = served(catalog_document(OFFERS), {"c:2": 2.0, "c:1": 1.0})
    service.writer.write(IdentifiersLinked(NOON_US, "c:2", "c:1"))

    assert list(offers_of(service, parts(service))) == ["c:1"]


def test_nobody_nothing_and_a_placement_that_is_switched_off_have_no_answers() -> None:
    nobody = Service(catalog_document(OFFERS))
    nothing = served(catalog_document([]), {"c:1": 1.0})
    off = served(catalog_document(OFFERS, [placement_entry(enabled=False)]), {"c:1": 1.0})

    assert answered(parts(nobody)) == []
    assert offers_of(nothing, parts(nothing)) == {"c:1": []}
    assert answered(parts(off)) == []
    assert sum(part.looked_at for part in parts(off)) == 1


@pytest.mark.parametrize(
    ("most", "cells", "sizes"), [(300, 10**9, [300, 300, 300, 300]), (10**9, 3 * 500, [500, 500, 200])]
)
def test_crowds_are_filled_across_pages_and_not_too_large(
    most: int, cells: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_AT_ONCE", most)
    monkeypatch.setattr(batch, "CELLS_AT_ONCE", cells)
    service = served(catalog_document(OFFERS), {f"c:{number:04}": number % 3 for number in range(1_200)})

    found = parts(service)

    assert [len(answers.names) for answers in answered(found)] == sizes
    assert sorted(offers_of(service, found)) == [f"c:{number:04}" for number in range(1_200)]
    assert sum(part.looked_at for part in found) == 1_200


def test_model_that_fails_for_some_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def sometimes(inputs: Mapping[str, FloatRow]) -> FloatRow:
        calls.append(len(inputs["offer"]))
        if len(calls) == 2:
            raise ModelFailure("fake/1: out of order")
        # The third gets a score too few.
        return inputs["offer"][:, 0][: 1 if len(calls) == 3 else None]

    calls: list[int] = []
    monkeypatch.setattr(batch_scores, "PAIRS_AT_ONCE", 3)
    model = FakeModel(sometimes, manifest(output_kind=OutputKind.LOG_ODDS))
    service = served(catalog_document(SCORED, WITH_MODEL), {f"c:{n}": 1.0 for n in range(5)}, model)

    (answers,) = answered(parts(service))

    slates = answers.slates
    assert calls == [2] * 5
    assert answers.failed.tolist() == [False, True, True, False, False]
    assert slates.distinct_customers == 5
    scored = ~answers.failed[slates.customers]
    assert np.unique(slates.propensities[scored]).tolist() == pytest.approx([1 / (1 + np.exp(-x)) for x in (0.1, 0.5)])
    assert set(slates.propensities[~scored].tolist()) == set(slates.expected_values[~scored].tolist()) == {0.0}


def test_model_that_always_fails_is_asked_for_everybody_and_the_fallback_is_shown() -> None:
    model = FakeModel(fails)
    service = served(catalog_document(SCORED, WITH_MODEL), {f"c:{n}": 1.0 for n in range(5)}, model)

    found = parts(service)

    assert offers_of(service, found) == {f"c:{n}": ["b", "a"] for n in range(5)}
    assert len(model.calls) == 5


@pytest.mark.parametrize("slots", [1, 2])
def test_cap_is_lifted_for_whom_its_condition_does_not_hold_also_without_contacts(slots: int) -> None:
    # Of a tactic at most one may be shown, so that the cap bites within a decision already.
    rule = {
        "id": "one", "when": "customer.visits > 1", "offers": "",
        "effect": {"cap": {"count": 1, "window": "1d", "of": "tactic", "on": "decision"}},
    }  # fmt: skip
    document = catalog_document(
        [offer_entry("a", 2.0), offer_entry("b", 1.0)], [placement_entry(slots=slots)], rules=[rule]
    )
    service = served(document, {"c:1": 1.0, "c:2": 2.0, "c:3": 1.0})

    assert offers_of(service, parts(service)) == {"c:1": ["a", "b"][:slots], "c:2": ["a"], "c:3": ["a", "b"][:slots]}


def test_customers_of_a_household_share_its_cap() -> None:
    cap = {"count": 1, "window": "7d", "per": "household", "on": "decision"}
    document = catalog_document(
        [offer_entry("a", 2.0, caps=[cap]), offer_entry("b", 1.0)],
        [placement_entry(slots=1)],
        attributes=[{"id": "home", "type": "key"}],
        contacts={"household": "home"},
    )
    service = Service(document)
    for name, home in (("c:1", "x"), ("c:2", "x"), ("c:3", "y")):
        service.set(name, home=home)
    service.rank("c:1")

    assert offers_of(service, parts(service)) == {"c:1": ["b"], "c:2": ["b"], "c:3": ["a"]}


def test_batch_uses_up_no_budget_and_leaves_the_state_as_it_was() -> None:
    budget = {"id": "one", "limit": 1, "on": "decision"}
    service = served(catalog_document(OFFERS, [placement_entry(slots=1)], budgets=[budget]), {"c:1": 1.0, "c:2": 1.0})
    version = service.state.profile_version

    first, second = (offers_of(service, parts(service)) for _ in range(2))

    assert first == second == {"c:1": ["c"], "c:2": ["c"]}
    assert service.state.profile_version == version
    assert service.state.facts.contacts.decided == 0


def test_ties_fall_by_customer_and_alike_in_every_batch_of_a_catalog() -> None:
    offers = [offer_entry(name) for name in "abcdefgh"]
    service = served(catalog_document(offers, [placement_entry(slots=8)]), {f"c:{n}": 1.0 for n in range(20)})

    first, again = (offers_of(service, parts(service)) for _ in range(2))
    service.publish(catalog_document(offers, [placement_entry(slots=8)], currency="EUR"))
    other = offers_of(service, parts(service))

    assert first == again
    assert len({tuple(order) for order in first.values()}) > 15
    assert first != other
    assert seed_of(1, "c:1") != seed_of(2, "c:1")
    assert 0 <= seed_of(1, "c:1") < 2**64


def test_ranking_with_the_seed_of_a_batch_breaks_ties_as_the_batch_does() -> None:
    service = served(catalog_document([offer_entry(name) for name in "abcdefgh"]), {"c:1": 1.0})
    rank = RankOffers(service.state, service.clock, service.note, lambda bits: seed_of(1, "c:1"))
    service.ranker = rank

    assert [o.offer_id for o in service.rank("c:1").offers] == offers_of(service, parts(service))["c:1"]


@pytest.mark.parametrize(
    ("query", "reason", "field"),
    [
        (BatchQuery("", "nowhere"), ErrorReason.PLACEMENT_NOT_FOUND, None),
        (BatchQuery("customer.vists > 1", "home"), ErrorReason.INVALID_FIELD, "audience"),
        (BatchQuery("customer.visits >", "home"), ErrorReason.INVALID_FIELD, "audience"),
        (BatchQuery("context.hour > 1", "home"), ErrorReason.INVALID_FIELD, "audience"),
        (BatchQuery("", "home", Context("fax")), ErrorReason.INVALID_FIELD, "context.channel"),
        (BatchQuery("", "home", Context("", "x" * 99)), ErrorReason.INVALID_FIELD, "context.locale"),
        (
            BatchQuery("", "home", Context("", "", None, {"houre": 1.0})),
            ErrorReason.INVALID_FIELD,
            'context.attributes["houre"]',
        ),
        (
            BatchQuery("", "home", Context("", "", None, {"hour": "x"})),
            ErrorReason.INVALID_FIELD,
            'context.attributes["hour"]',
        ),
        (BatchQuery("", "home", Context(), -1), ErrorReason.INVALID_FIELD, "max_offers"),
    ],
)
def test_what_does_not_fit_the_catalog_is_refused(query: BatchQuery, reason: ErrorReason, field: str | None) -> None:
    with pytest.raises(OpportuneError) as refused:
        RankAudience(Service(catalog_document(OFFERS)).state.snapshot(), query, NOON + timedelta(days=1))

    assert refused.value.reason is reason
    assert [violation.field for violation in refused.value.violations] == ([] if field is None else [field])
