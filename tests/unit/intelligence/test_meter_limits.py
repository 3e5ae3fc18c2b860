import numpy as np
import pytest

from server.domain.budget import MICROS, Budget, BudgetUnit
from server.domain.cap import Cap, CapSubject
from server.domain.contact import ContactKind, ContactScope, Draw
from server.domain.decision import Reason
from server.domain.offer import Offer, OfferValue
from server.intelligence.meter_limits import MeterLimits, compile_meter_limits
from tests.support.catalogs import offer

HOUR_US = 3_600_000_000
EVERYBODY = np.ones(3, np.bool_)
OFFERS: list[Offer] = [
    Offer("a", "discount", OfferValue(10.0, 1.0, 2.5), exclusion_group="drinks"),
    Offer("b", "discount", OfferValue(10.0, 1.0, 0.0), exclusion_group="drinks"),
    Offer("c", "points", OfferValue(10.0, 1.0, 1e300)),
]


def of_budget(budget: Budget, members: str = "abc") -> MeterLimits:
    """The limits of one budget."""
    return compile_meter_limits(OFFERS, [(budget, np.array([o.id in members for o in OFFERS]))], [], "web")


def of_caps(*caps: tuple[Cap, str]) -> MeterLimits:
    """The limits of caps of everybody, each with its carriers."""
    carried = [(cap, np.array([o.id in carriers for o in OFFERS])) for cap, carriers in caps]
    return compile_meter_limits(OFFERS, [], carried, "web")


def shared(count: int = 5, window_us: int = HOUR_US, of: ContactScope = ContactScope.OFFER, **more: ContactKind) -> Cap:
    """A cap of everybody."""
    return Cap(count, window_us, CapSubject.GLOBAL, of, **more)


def test_budget_of_offers_counts_each_once() -> None:
    (limit,) = of_budget(Budget("b1", "", 7.0), members="ac").limits

    assert (limit.meter, limit.limit, limit.reason) == ("budget:b1", 7 * MICROS, Reason.BUDGET)
    assert limit.offers.tolist() == [0, 2]
    assert limit.amounts.tolist() == [MICROS, MICROS]
    assert limit.carriers.all()
    assert limit.text == "budget b1: 7 count"


def test_budget_in_currency_counts_what_offers_cost_and_nothing_that_is_free() -> None:
    limits = of_budget(Budget("b1", "", 7.0, HOUR_US, BudgetUnit.CURRENCY, ContactKind.CONVERTED))

    (limit,) = limits.limits
    assert limit.offers.tolist() == [0, 2]
    assert limit.amounts.tolist()[0] == 2_500_000
    assert limits.draws[0] == (Draw("budget:b1", ContactKind.CONVERTED, HOUR_US, 2_500_000),)
    assert 1 not in limits.draws


def test_offer_that_costs_more_than_any_number_takes_more_than_the_budget_has() -> None:
    (limit,) = of_budget(Budget("b1", "", 1e12, 0, BudgetUnit.CURRENCY)).limits

    assert limit.amounts.tolist()[1] == limit.limit + 1


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (ContactScope.OFFER, {"cap:offer:a:impression": [0], "cap:offer:c:impression": [2]}),
        (ContactScope.EXCLUSION_GROUP, {"cap:exclusion_group:drinks:impression": [0, 1]}),
        (ContactScope.TACTIC, {"cap:tactic:discount:impression": [0, 1], "cap:tactic:points:impression": [2]}),
        (ContactScope.CHANNEL, {"cap:channel:web:impression": [0, 1, 2]}),
        (ContactScope.ALL, {"cap:all::impression": [0, 1, 2]}),
    ],
)
def test_cap_of_everybody_has_a_meter_for_each_key_that_is_carried(
    scope: ContactScope, expected: dict[str, list[int]]
) -> None:
    limits = of_caps((shared(of=scope), "ac")).limits

    assert {limit.meter: limit.offers.tolist() for limit in limits} == expected
    carried = {OFFERS[place].id for limit in limits for place in limit.offers[limit.carriers].tolist()}
    assert carried == ({"a"} if scope is ContactScope.EXCLUSION_GROUP else {"a", "c"})
    assert all(limit.of_channel is (scope is ContactScope.CHANNEL) for limit in limits)


def test_two_caps_of_one_meter_are_drawn_once_for_the_longer_window() -> None:
    limits = of_caps((shared(5, HOUR_US), "a"), (shared(9, 24 * HOUR_US), "a"))

    assert [(limit.meter, limit.window_us, limit.limit) for limit in limits.limits] == [
        ("cap:offer:a:impression", HOUR_US, 5 * MICROS),
        ("cap:offer:a:impression", 24 * HOUR_US, 9 * MICROS),
    ]
    assert limits.draws == {0: (Draw("cap:offer:a:impression", ContactKind.IMPRESSION, 24 * HOUR_US, MICROS),)}


def test_nothing_is_reserved_for_refusals() -> None:
    (declined,) = of_caps((shared(on=ContactKind.DECLINED), "a")).limits
    (decided,) = of_caps((shared(on=ContactKind.DECISION), "a")).limits

    assert not declined.reserved
    assert decided.reserved


def test_cap_for_each_of_many_offers_takes_no_more_than_there_are() -> None:
    offers = [offer(f"offer-{number}") for number in range(2_000)]

    limits = compile_meter_limits(offers, [], [(shared(), np.ones(2_000, np.bool_))], "web").limits

    assert len(limits) == 2_000
    assert sum(limit.amounts.nbytes + limit.offers.nbytes for limit in limits) < 100_000


def test_catalog_without_offers_has_limits_that_hold_nobody_back() -> None:
    nobody = np.ones(0, np.bool_)

    limits = compile_meter_limits([], [(Budget("b1", "", 7.0), nobody)], [(shared(of=ContactScope.ALL), nobody)], "web")

    assert [limit.offers.tolist() for limit in limits.limits] == [[]]
    assert limits.draws == {}
