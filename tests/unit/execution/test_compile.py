import pickle
from typing import Any

import numpy as np
import pytest

from server.domain.attribute import AttributeType
from server.domain.contact import ContactKind, ContactScope, HistoryVariable
from server.domain.model import Calibration, CalibrationLine, Feature, ModelInput, Scope
from server.execution.compile import compile_text
from tests.support.catalogs import (
    catalog_document,
    catalog_text,
    compiled_catalog,
    offer_entry,
    placement_entry,
    problems_of,
    text_of,
)
from tests.support.models import manifest
from tests.support.service import Service

MODELS = {"fake/1": manifest()}
SCORED = [offer_entry("a", attributes={"appeal": 0.5, "kind": "A"}), offer_entry("b", attributes={"appeal": 0.25})]


def test_catalog_compiles_to_its_offers_and_placements() -> None:
    compiled = compiled_catalog(catalog_document(SCORED, [placement_entry(model="fake/1")]), MODELS)

    assert (compiled.version, len(compiled.offers), compiled.currency) == (0, 2, "USD")
    model = compiled.placements["home"].model
    assert model is not None
    assert model.model_id == "fake/1"


def test_problems_are_sorted_and_stand_once() -> None:
    document = catalog_document(
        [offer_entry(f"o{n}", eligible="customer.x > 1 && customer.x > 2") for n in range(11)], colour="red"
    )

    paths = [problem.path for problem in compile_text_of(document)]

    assert paths == ["colour", *(f"offers[{n}].eligible" for n in range(11) for _ in range(2))]


def compile_text_of(document: dict[str, Any]) -> list[Any]:
    return compile_text(text_of(document), {}).problems


def test_nothing_is_served_of_a_catalog_with_a_problem() -> None:
    assert compile_text(catalog_text([offer_entry("a", eligible="?")]), {}).catalog is None


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"attributes": [{"id": "x", "type": "category"}]}, "attributes[0].values", "needs its values"),
        ({"attributes": [{"id": "x", "type": "number", "values": ["a"]}]}, "attributes[0].values", "has no values"),
        (
            {"attributes": [{"id": "x", "type": "category", "values": ["a", "a"]}]},
            "attributes[0].values",
            "stands twice",
        ),
        ({"attributes": [{"id": "x", "type": "number", "keys": ["a"]}]}, "attributes[0].keys", "need `by`"),
        (
            {"attributes": [{"id": "x", "type": "set", "values": ["a"], "by": "kind"}]},
            "attributes[0]",
            "cannot be keyed",
        ),
        ({"context": [{"id": "channel", "type": "number"}]}, "context[0]", "is given"),
        ({"context": [{"id": "time", "type": "number"}]}, "context[0]", "is given"),
        (
            {"offers": [offer_entry("a", attributes={"id": "x"})], "placements": [placement_entry()]},
            "offers[0].attributes.id",
            "by the offer itself",
        ),
        ({"offer_attributes": [{"id": "tactic", "type": "category"}]}, "offer_attributes[0].id", "by the offer itself"),
        ({"context": [{"id": "x", "type": "number", "purpose": "p"}]}, "context[0]", "neither"),
        ({"context": [{"id": "x", "type": "number", "by": "kind"}]}, "context[0]", "neither"),
        (
            {"attributes": [{"id": f"x{n}", "type": "number", "purpose": f"p{n}"} for n in range(33)]},
            "attributes",
            "more than 32 purposes",
        ),
        (
            {"attributes": [{"id": "x", "type": "number", "by": "k", "keys": [str(n) for n in range(65_537)]}]},
            "attributes",
            "65,537 columns",
        ),
        (
            {"placements": [placement_entry(fallback_offers=["a", "x"])]},
            "placements[0].fallback_offers[1]",
            "no offer x",
        ),
        ({"placements": [placement_entry(model="other/1")]}, "placements[0].model", "there are: fake/1"),
    ],
)
def test_problem_is_named_with_its_path(changes: dict[str, Any], path: str, words: str) -> None:
    document = catalog_document([offer_entry("a", attributes={"kind": "A", "appeal": 1.0})]) | changes

    assert words in problems_of(document, MODELS)[path]


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"schedule": {"start": "2020-01-02", "end": "2020-01-01"}}, "offers[1].schedule", "ends before"),
        ({"schedule": {"start": "2020-01-01", "end": "2020-01-01"}}, "offers[1].schedule", "ends before"),
        ({"creatives": [{"id": "c", "channel": "web"}] * 2}, "offers[1].creatives", "same id"),
        ({"attributes": {"appeal": "high"}}, "offers[1].attributes.appeal", "is a category here and a number"),
        ({"eligible": "customer.visits >"}, "offers[1].eligible", "1:18"),
        ({"eligible": 'customer.tier ==\n  "glod"'}, "offers[1].eligible", "2:3"),
    ],
)
def test_problem_of_an_offer_is_named_with_its_path(change: dict[str, Any], path: str, words: str) -> None:
    first, second = offer_entry("a", attributes={"appeal": 1.0}), offer_entry("b") | change

    assert words in problems_of(catalog_document([first, second]))[path]


def test_model_that_does_not_fit_the_catalog_is_a_problem() -> None:
    inputs = (ModelInput("x", Scope.CUSTOMER, (Feature("customer.age", AttributeType.NUMBER),)),)
    models = {"fake/1": manifest(inputs=inputs)}

    found = problems_of(catalog_document(SCORED, [placement_entry(model="fake/1")]), models)

    assert found == {
        "placements[0].model": "fake/1 does not fit this catalog: customer.age is not an attribute of the catalog"
    }


def test_offers_have_the_calibration_line_of_their_group() -> None:
    calibration = Calibration(CalibrationLine(1.0, 0.5), "offer.kind", {"A": CalibrationLine(2.0, -1.0)})
    models = {"fake/1": manifest(calibration=calibration)}

    compiled = compiled_catalog(catalog_document(SCORED, [placement_entry(model="fake/1")]), models)

    plan = compiled.placements["home"].model
    assert plan is not None
    assert (plan.slopes.tolist(), plan.intercepts.tolist()) == ([2.0, 1.0], [-1.0, 0.5])


def test_calibration_may_go_by_what_the_offer_itself_gives() -> None:
    calibration = Calibration(CalibrationLine(1.0, 0.5), "offer.tactic", {"points": CalibrationLine(2.0, -1.0)})
    models = {"fake/1": manifest(calibration=calibration)}
    offers = [offer_entry("z", attributes={"appeal": 0.0}) | {"tactic": "points"}, SCORED[0]]

    plan = (
        compiled_catalog(catalog_document(offers, [placement_entry(model="fake/1")]), models).placements["home"].model
    )

    assert plan is not None
    assert plan.slopes.tolist() == [2.0, 1.0]


def test_keys_may_be_the_offers_tactics() -> None:
    offers = [offer_entry(str(n)) | {"tactic": tactic} for n, tactic in enumerate(["points", "bundle", "points"])]
    document = catalog_document(offers, attributes=[{"id": "spend", "type": "number", "by": "tactic"}])

    assert compiled_catalog(document).customer.by_id["spend"].keys == ("points", "bundle")


def test_history_that_conditions_read_has_columns_behind_all_others() -> None:
    offers = [
        offer_entry(name, eligible="history.offer_clicks_7d < 1 || history.days_since_click > 3") for name in "ab"
    ]

    compiled = compiled_catalog(catalog_document(offers))

    assert compiled.history == (
        HistoryVariable(ContactKind.CLICK, 7, ContactScope.OFFER, "a"),
        HistoryVariable(ContactKind.CLICK, None),
        HistoryVariable(ContactKind.CLICK, 7, ContactScope.OFFER, "b"),
    )
    row = compiled.variables.read(None, "web", {}, 0.0)
    np.testing.assert_array_equal(row[-4:], [np.nan, 0.0, np.nan, 0.0])


def test_keys_of_a_keyed_attribute_come_from_the_offers() -> None:
    document = catalog_document(
        [offer_entry(str(n), attributes={"kind": kind}) for n, kind in enumerate("ABA")],
        attributes=[{"id": "spend", "type": "number", "by": "kind"}],
    )

    assert list(compiled_catalog(document).customer.columns) == ["spend.A", "spend.B"]


@pytest.mark.parametrize("locale", ["", "de", "de-CH", "de-AT", "fr", "fr-CA", "DE"])
@pytest.mark.parametrize("channel", ["web", "email"])
def test_compiled_creatives_are_those_that_each_offer_names(channel: str, locale: str) -> None:
    creatives = [
        {"id": f"{each_channel}:{each_locale}", "channel": each_channel, "locale": each_locale}
        for each_channel in ("web", "email")
        for each_locale in ("", "de", "de-CH", "fr-CA")
    ]
    offers = [offer_entry(str(n), creatives=creatives[n : n + 3]) for n in range(len(creatives))]
    offers.append(offer_entry("kept", creatives=creatives, channels=["email"]))
    service = Service(catalog_document(offers, [placement_entry(channel=["web", "email"], slots=100)]))

    decision = service.rank(channel=channel, locale=locale)

    named = {offer.id: offer.creative_for(channel, locale) for offer in service.state.catalog.offers.offers}
    assert {offer.offer_id: offer.creative_id for offer in decision.offers} == {
        offer_id: creative.id for offer_id, creative in named.items() if creative is not None
    }


def test_compiled_catalog_can_be_sent_to_another_process() -> None:
    compiled = compiled_catalog(catalog_document(SCORED, [placement_entry(model="fake/1")]), MODELS)

    again = pickle.loads(pickle.dumps(compiled))

    assert again.etag == compiled.etag
    assert again.offers.index == compiled.offers.index


def test_key_that_stands_twice_is_a_problem() -> None:
    attributes = [{"id": "spend", "type": "number", "by": "kind", "keys": ["A", "A"]}, {"id": "x", "type": "number"}]

    assert problems_of(catalog_document([], attributes=attributes))


def test_fallback_offer_that_stands_twice_is_a_problem() -> None:
    placements = [placement_entry(fallback_offers=["a", "a"])]

    assert problems_of(catalog_document([offer_entry("a")], placements))
