import numpy as np
import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.offer_table import OfferTable, infer_schema
from server.intelligence.offer_filter import OfferFilter
from tests.support.catalogs import offer

OFFERS = [
    offer("bread", attributes={"department": "grocery", "level": 0.25, "promo": True, "tags": ("vegan",)}),
    offer("roses", attributes={"department": "floral", "level": 0.5, "promo": False, "tags": ("gift", "vegan")}),
    offer("bare"),
]


@pytest.fixture
def offer_filter() -> OfferFilter:
    laid_out, fitting, _ = infer_schema(OFFERS)
    return OfferFilter(OfferTable.of(fitting, laid_out))


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ('offer.department == "grocery"', ["bread"]),
        ('offer.department != "grocery"', ["roses"]),
        ('offer.department in ["grocery", "floral"]', ["bread", "roses"]),
        ("offer.level >= 0.5", ["roses"]),
        ("offer.level >= 0.25 && offer.promo", ["bread"]),
        ("offer.level > 0.3 || offer.promo", ["bread", "roses"]),
        ('"gift" in offer.tags', ["roses"]),
        ('!("gift" in offer.tags)', ["bread"]),
        ("!has(offer.department)", ["bare"]),
        ("has(offer.level)", ["bread", "roses"]),
        ("offer.level * 2 >= 1 && offer.level / 0 > 1", ["roses"]),
        ("offer.level - offer.level == 0", ["bread", "roses"]),
        ('offer.department.endsWith("al")', ["roses"]),
        ('offer.id.matches("^b") && offer.tactic == "discount"', ["bread", "bare"]),
        ("offer.id != offer.department", ["bread", "roses"]),
        ('has(offer.exclusion_group) || offer.id == "bare"', ["bare"]),
        ("true", ["bread", "roses", "bare"]),
        ("false", []),
    ],
)
def test_filter_keeps_the_offers_for_which_it_holds(offer_filter: OfferFilter, text: str, matching: list[str]) -> None:
    mask = offer_filter.mask(text)

    assert [each.id for each, matches in zip(OFFERS, mask, strict=True) if matches] == matching


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("offer.level >", "1:14"),
        ("customer.visits > 1", "unknown name customer"),
        ("offer.levl > 1", "did you mean offer.level?"),
        ("offer.level", "not true or false"),
        ("offer.department in offer.tags", "compare an attribute with a value"),
        ("history.impressions_7d > 1", "unknown name history"),
        ("offer.level > 1 && context.time > timestamp('2026-01-01T00:00:00Z')", "unknown name context"),
    ],
)
def test_filter_that_does_not_compile_is_refused(offer_filter: OfferFilter, text: str, words: str) -> None:
    with pytest.raises(OpportuneError) as refused:
        offer_filter.mask(text)

    assert refused.value.reason is ErrorReason.INVALID_FIELD
    assert refused.value.violations[0].field == "filter"
    assert words in refused.value.violations[0].description


def test_repeated_filter_is_evaluated_once(offer_filter: OfferFilter) -> None:
    assert offer_filter.mask("offer.promo") is offer_filter.mask("offer.promo")


def test_filter_of_a_catalog_without_offers_is_empty() -> None:
    laid_out, fitting, _ = infer_schema([])

    assert OfferFilter(OfferTable.of(fitting, laid_out)).mask("true").tolist() == []


def test_empty_set_of_an_offer_is_present() -> None:
    laid_out, fitting, _ = infer_schema([offer("a", attributes={"tags": ()}), offer("b", attributes={"tags": ("x",)})])
    mask = OfferFilter(OfferTable.of(fitting, laid_out)).mask('!("x" in offer.tags)')

    np.testing.assert_array_equal(mask, [True, False])
