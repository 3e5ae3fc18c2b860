import numpy as np
import pytest

from server.domain.attribute import AttributeType, FloatRow
from server.domain.model import Feature, ModelInput, Scope
from server.domain.offer_table import OfferTable, infer_schema
from server.input.features import FeaturePlan, UnknownFeatureError, compile_features
from tests.support.catalogs import category, keyed, number, offer, schema

NUMBER, CATEGORY = AttributeType.NUMBER, AttributeType.CATEGORY
CUSTOMER = schema(
    number("visits"), category("tier", "basic", "gold"), keyed("spend", "department", "grocery", "floral")
)
CONTEXT = schema(number("hour"))
OFFERS = [
    offer("bread", attributes={"department": "grocery", "level": 0.5}),
    offer("drill", attributes={"department": "tools", "level": 0.25}),
    offer("mystery"),
]
VARIABLES = np.array([3.0, 1.0, 10.0, 20.0, 12.0, np.nan], np.float32)
"""visits, tier, spend.grocery, spend.floral, hour, and the one that is always missing."""


def plan(*inputs: ModelInput) -> FeaturePlan:
    laid_out, fitting, _ = infer_schema(OFFERS)
    return compile_features(inputs, CUSTOMER, CONTEXT, OfferTable.of(fitting, laid_out))


def pair(*features: Feature) -> ModelInput:
    return ModelInput("x", Scope.PAIR, features)


def rows(made: FeaturePlan, *offers: int) -> FloatRow:
    return made.assemble(VARIABLES, np.array(offers, np.intp))["x"]


def test_customer_input_is_one_row_in_the_order_of_its_features() -> None:
    features = (Feature("context.hour", NUMBER), Feature("customer.visits", NUMBER))

    assert rows(plan(ModelInput("x", Scope.CUSTOMER, features)), 0, 1, 2).tolist() == [[12.0, 3.0]]


def test_offer_input_is_laid_out_for_all_offers_and_not_for_requests() -> None:
    made = plan(ModelInput("x", Scope.OFFER, (Feature("offer.level", NUMBER),)))

    np.testing.assert_array_equal(made.offer_tensors()["x"], np.array([[0.5], [0.25], [np.nan]], np.float32))
    assert made.assemble(VARIABLES, np.array([0], np.intp)) == {}


def test_pair_input_mixes_all_three_for_the_offers_asked_for() -> None:
    made = plan(
        pair(
            Feature("offer.level", NUMBER),
            Feature("customer.visits", NUMBER),
            Feature("customer.spend[offer.department]", NUMBER),
        )
    )

    np.testing.assert_array_equal(
        rows(made, 2, 0, 1), np.array([[np.nan, 3, np.nan], [0.5, 3, 10], [0.25, 3, np.nan]], np.float32)
    )


def test_category_of_offers_has_the_codes_that_the_model_was_trained_with() -> None:
    made = plan(pair(Feature("offer.department", CATEGORY, ("tools", "floral", "grocery"))))

    np.testing.assert_array_equal(rows(made, 0, 1, 2), np.array([[2.0], [0.0], [np.nan]], np.float32))


def test_category_of_offers_that_the_model_does_not_know_is_missing() -> None:
    made = plan(pair(Feature("offer.department", CATEGORY, ("tools",))))

    np.testing.assert_array_equal(rows(made, 0, 1), np.array([[np.nan], [0.0]], np.float32))


def test_explanation_names_features_and_leaves_missing_ones_out() -> None:
    made = plan(
        ModelInput("c", Scope.CUSTOMER, (Feature("customer.visits", NUMBER),)),
        ModelInput("o", Scope.OFFER, (Feature("offer.level", NUMBER),)),
        pair(Feature("customer.spend[offer.department]", NUMBER)),
    )
    tensors = made.assemble(VARIABLES, np.array([1, 0], np.intp))

    assert made.explain(tensors, row=1, offer=0) == {
        "customer.visits": 3.0, "offer.level": 0.5, "customer.spend[offer.department]": 10.0,
    }  # fmt: skip
    assert made.explain(tensors, row=0, offer=1) == {"customer.visits": 3.0, "offer.level": 0.25}


@pytest.mark.parametrize(
    ("scope", "feature", "words"),
    [
        (Scope.PAIR, Feature("customer.age", NUMBER), "not an attribute"),
        (Scope.PAIR, Feature("visits", NUMBER), "not the name of a feature"),
        (Scope.PAIR, Feature("history.visits", NUMBER), "not the name of a feature"),
        (Scope.PAIR, Feature("customer.spend", NUMBER), "not an attribute"),
        (Scope.PAIR, Feature("customer.visits[offer.department]", NUMBER), "not a keyed attribute"),
        (Scope.PAIR, Feature("customer.spend[offer.aisle]", NUMBER), "no offer has the attribute aisle"),
        (Scope.PAIR, Feature("customer.visits", CATEGORY), "is a number in the catalog and a category in the model"),
        (Scope.PAIR, Feature("customer.tier", CATEGORY, ("gold", "basic")), "other values"),
        (Scope.PAIR, Feature("offer.price", NUMBER), "not an attribute"),
        (Scope.PAIR, Feature("offer.level", CATEGORY, ("a",)), "not a category"),
        (Scope.CUSTOMER, Feature("offer.level", NUMBER), "scope customer"),
        (Scope.CUSTOMER, Feature("customer.spend[offer.department]", NUMBER), "scope customer"),
        (Scope.OFFER, Feature("customer.visits", NUMBER), "scope offer"),
    ],
)
def test_feature_that_the_catalog_cannot_supply_is_refused_by_name(scope: Scope, feature: Feature, words: str) -> None:
    with pytest.raises(UnknownFeatureError, match=words) as refused:
        plan(ModelInput("x", scope, (feature,)))

    assert feature.name in str(refused.value)


def test_what_the_offer_itself_gives_is_read_like_its_attributes() -> None:
    customer = schema(keyed("seen", "tactic", "points", "discount"))
    laid_out, fitting, _ = infer_schema(OFFERS)
    features = (
        Feature("offer.tactic", CATEGORY, ("points", "discount")),
        Feature("customer.seen[offer.tactic]", NUMBER),
    )

    made = compile_features((pair(*features),), customer, CONTEXT, OfferTable.of(fitting, laid_out))

    found = made.assemble(np.array([5.0, 7.0, 12.0, np.nan], np.float32), np.array([0], np.intp))["x"]
    np.testing.assert_array_equal(found, np.array([[1.0, 7.0]], np.float32))


@pytest.mark.parametrize("order", ["together", "mixed"])
def test_rows_of_many_customers_are_those_of_each(order: str) -> None:
    features = [
        Feature("customer.visits", NUMBER),
        Feature("customer.tier", CATEGORY, ("basic", "gold")),
        Feature("customer.spend[offer.department]", NUMBER),
        Feature("offer.level", NUMBER),
        Feature("context.hour", NUMBER),
    ]
    if order == "together":
        features = [features[0], features[1], features[4], features[2], features[3]]
    alone = ModelInput("c", Scope.CUSTOMER, (Feature("context.hour", NUMBER), Feature("customer.visits", NUMBER)))
    made = plan(pair(*features), alone, ModelInput("o", Scope.OFFER, (Feature("offer.level", NUMBER),)))
    variables = np.stack([VARIABLES, VARIABLES + 1, np.full_like(VARIABLES, np.nan)])
    customers, offers = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 2, 1, 0, 1, 2])

    found = made.assemble_many(variables, customers, offers)

    assert {name: scope for name, (scope, _) in found.items()} == {"x": Scope.PAIR, "c": Scope.CUSTOMER}
    for customer in range(3):
        expected = made.assemble(variables[customer], offers[customers == customer])
        np.testing.assert_array_equal(found["x"][1][customers == customer], expected["x"])
        np.testing.assert_array_equal(found["c"][1][[customer]], expected["c"])
