import numpy as np
import pytest

from server.domain.condition import ConditionError
from server.domain.contact import ContactKind, HistoryVariable
from server.intelligence.audience import Audience
from tests.support.conditions import CUSTOMER, NOW_DAYS

NAN = np.nan


def columns_of(audience: Audience, **values: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The needed columns, from a list of values for each."""
    names = [list(CUSTOMER.columns)[column] for column in audience.columns]
    return np.array([values[name] for name in names], np.float32).reshape(len(names), -1)


def test_customers_are_in_if_the_condition_is_definitely_true() -> None:
    audience = Audience.compile("customer.visits > 1 && (customer.member || customer.score < 0)", CUSTOMER)

    matrix = columns_of(
        audience, visits=[2, 2, 2, 1, NAN, 2], member=[1, 0, NAN, 1, 1, NAN], score=[NAN, NAN, -1, 0, 0, 1]
    )

    assert audience.holds(matrix, None, NOW_DAYS).tolist() == [True, False, True, False, False, False]


def test_only_needed_columns_are_asked_for() -> None:
    audience = Audience.compile('customer.spend["floral"] > customer.visits && has(customer.tier)', CUSTOMER)

    assert [list(CUSTOMER.columns)[column] for column in audience.columns] == ["visits", "tier", "spend.floral"]
    matrix = columns_of(audience, **{"visits": [1.0, 3.0], "tier": [0.0, 0.0], "spend.floral": [2.0, 2.0]})
    assert audience.holds(matrix, None, NOW_DAYS).tolist() == [True, False]


def test_history_stands_beside_the_columns() -> None:
    text = (
        "(true || history.clicks_1d > 0) && history.impressions_7d < customer.visits && !has(history.days_since_click)"
    )
    audience = Audience.compile(text, CUSTOMER)

    assert audience.history == (HistoryVariable(ContactKind.IMPRESSION, 7), HistoryVariable(ContactKind.CLICK, None))
    holds = audience.holds(
        columns_of(audience, visits=[2, 2, 2]), np.array([[1, 2, 1], [NAN, NAN, 3]], np.float32), NOW_DAYS
    )
    assert holds.tolist() == [True, False, False]


def test_history_alone_needs_no_columns() -> None:
    audience = Audience.compile("history.impressions_7d == 0", CUSTOMER)

    assert len(audience.columns) == 0
    holds = audience.holds(np.empty((0, 2), np.float32), np.array([[0, 1]], np.float32), NOW_DAYS)

    assert holds.tolist() == [True, False]


def test_time_is_the_same_for_all() -> None:
    audience = Audience.compile('context.time >= timestamp("2026-11-22T12:00:00Z") && customer.visits > 1', CUSTOMER)
    matrix = columns_of(audience, visits=[1, 2])

    assert audience.holds(matrix, None, NOW_DAYS).tolist() == [False, True]
    assert audience.holds(matrix, None, NOW_DAYS - 1e-6).tolist() == [False, False]


@pytest.mark.parametrize(("text", "expected"), [("", True), ("  ", True), ("true", True), ("false", False)])
def test_constant_audience_is_everybody_or_nobody(text: str, expected: bool) -> None:
    audience = Audience.compile(text, CUSTOMER)

    assert len(audience.columns) == 0
    assert audience.holds(np.empty((0, 3), np.float32), None, NOW_DAYS).tolist() == [expected] * 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("context.hour > 1", "1:1: context.hour: an audience is asked of customers alone"),
        ("offer.level > 1", "1:1: offer.level: an audience is asked of customers alone"),
        ("customer.spend[offer.department] > 1", "1:16: offer.department: an audience is asked of customers"),
        ("history.offer_clicks_7d > 1", "about one offer"),
        ("customer.vists > 1", "did you mean customer.visits?"),
        ("custmer.visits > 1", "did you mean customer?"),
        ("customer.visits >", "1:18"),
    ],
)
def test_audience_that_does_not_compile_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConditionError) as refused:
        Audience.compile(text, CUSTOMER)

    assert words in str(refused.value)
