import numpy as np

from server.intelligence.conditions.condition_set import ConditionSet
from server.intelligence.conditions.history import HistoryColumns
from server.intelligence.conditions.requirement import Requirement
from server.intelligence.conditions.vocabulary import Vocabulary
from tests.support.conditions import CONTEXT, CUSTOMER, NOW_DAYS, variables, with_history


def known(columns: HistoryColumns | None = None) -> Vocabulary:
    history = HistoryColumns() if columns is None else columns
    roots = {"customer": CUSTOMER, "context": CONTEXT}
    return Vocabulary(roots, variables=("customer", "context"), history=history, has_time=True)


def compiled(*texts: str, holds: bool = True) -> ConditionSet:
    conditions, problems = ConditionSet.compile([Requirement("", text, holds) for text in texts], known())
    assert not problems
    return conditions


def test_each_condition_is_met_on_its_own() -> None:
    conditions = compiled(
        "customer.visits > 1 && customer.member",
        "",
        "customer.visits > 1",
        "false",
        "true",
        "customer.score > 1",
        "customer.visits in [1, 2] || customer.member",
        'context.time > timestamp("2026-11-22T11:00:00Z") && context.hour * 2 > 6',
    )

    met = conditions.holds(variables({"visits": 2.0, "member": False}, {"hour": 4.0}), NOW_DAYS)

    assert len(conditions) == 8
    assert met.tolist() == [False, True, True, False, True, False, True, True]


def test_condition_may_have_to_be_definitely_false() -> None:
    conditions = compiled("customer.visits > 1", "customer.visits > 5", "customer.score > 1", holds=False)

    assert conditions.holds(variables({"visits": 2.0}, {}), NOW_DAYS).tolist() == [False, True, False]


def test_history_of_all_contacts_is_read() -> None:
    columns = HistoryColumns()
    conditions, problems = ConditionSet.compile([Requirement("", "history.clicks_7d == 2")], known(columns))
    (clicks,) = columns.variables

    assert not problems
    assert conditions.holds(with_history(variables({}, {}), columns, {clicks: 2.0}), NOW_DAYS).tolist() == [True]
    assert conditions.holds(with_history(variables({}, {}), columns, {clicks: 3.0}), NOW_DAYS).tolist() == [False]


def test_condition_with_a_problem_is_never_met_and_named_by_its_path() -> None:
    conditions, problems = ConditionSet.compile(
        [
            Requirement("rules[0].when", "true"),
            Requirement("rules[1].when", "customer.vists > 1"),
            Requirement("rules[2].when", "offer.level > 1"),
        ],
        known(),
    )

    assert [problem.path for problem in problems] == ["rules[1].when", "rules[2].when"]
    assert "did you mean customer.visits?" in problems[0].description
    assert conditions.holds(variables({}, {}), NOW_DAYS).tolist() == [True, False, False]


def test_no_conditions_are_none() -> None:
    assert compiled().holds(variables({}, {}), NOW_DAYS).tolist() == []
    assert compiled("true", "").holds(variables({}, {}), NOW_DAYS).tolist() == [True, True]


def test_many_customers_meet_what_each_of_them_meets() -> None:
    conditions = compiled("customer.visits > 1 || customer.member", "", "context.hour > 3", "customer.score > 1")
    rows = [variables({"visits": visits, "member": visits < 0}, {"hour": 4.0}) for visits in (-1.0, 1.0, 2.0)]

    met = conditions.holds(np.stack(rows, axis=1), NOW_DAYS)

    assert met.T.tolist() == [conditions.holds(row, NOW_DAYS).tolist() for row in rows]
    assert met[0].tolist() == [True, False, True]
    assert compiled("").holds(np.stack(rows, axis=1)).tolist() == [[True] * 3]
