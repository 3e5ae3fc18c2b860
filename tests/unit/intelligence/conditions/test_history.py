import pytest

from server.domain.condition import ConditionError, Name, Position
from server.domain.contact import ContactKind, ContactScope, HistoryVariable
from server.intelligence.conditions import history
from server.intelligence.conditions.history import HistoryColumns, HistoryName, read_history_name


def read(text: str) -> HistoryName:
    return read_history_name(Name(Position(1, 1), "history", text))


@pytest.mark.parametrize(
    ("text", "kind", "window_days", "scope"),
    [
        ("decisions_1d", ContactKind.DECISION, 1, ContactScope.ALL),
        ("impressions_30d", ContactKind.IMPRESSION, 30, ContactScope.ALL),
        ("clicks_365d", ContactKind.CLICK, 365, ContactScope.ALL),
        ("accepted_007d", ContactKind.ACCEPTED, 7, ContactScope.ALL),
        ("offer_declined_7d", ContactKind.DECLINED, 7, ContactScope.OFFER),
        ("group_converted_7d", ContactKind.CONVERTED, 7, ContactScope.EXCLUSION_GROUP),
        ("tactic_impressions_7d", ContactKind.IMPRESSION, 7, ContactScope.TACTIC),
        ("days_since_decision", ContactKind.DECISION, None, ContactScope.ALL),
        ("days_since_click", ContactKind.CLICK, None, ContactScope.ALL),
        ("days_since_offer_impression", ContactKind.IMPRESSION, None, ContactScope.OFFER),
        ("days_since_group_accepted", ContactKind.ACCEPTED, None, ContactScope.EXCLUSION_GROUP),
        ("days_since_tactic_converted", ContactKind.CONVERTED, None, ContactScope.TACTIC),
    ],
)
def test_name_says_kind_window_and_scope(
    text: str, kind: ContactKind, window_days: int | None, scope: ContactScope
) -> None:
    assert read(text) == HistoryName(kind, window_days, scope)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("impresions_7d", "did you mean history.impressions_7d?"),
        ("impressions_9", "did you mean history.impressions_9d?"),
        ("impression_14d", "did you mean history.impressions_14d?"),
        ("days_since_impressions", "did you mean history.days_since_impression?"),
        ("ofer_clicks_7d", "did you mean history.offer_clicks_7d?"),
        ("x", "it has names such as impressions_7d"),
        ("impressions_0d", "a window has 1 to 365 days"),
        ("impressions_366d", "a window has 1 to 365 days"),
        ("impressions_99999999999d", "unknown name"),
        ("impressions_\N{ARABIC-INDIC DIGIT SEVEN}d", "unknown name"),
    ],
)
def test_name_that_does_not_exist_is_refused_with_a_hint(text: str, words: str) -> None:
    with pytest.raises(ConditionError) as refused:
        read(text)

    assert words in refused.value.description


def test_variable_is_that_of_the_offers_key() -> None:
    assert read("clicks_7d").variable(None) == HistoryVariable(ContactKind.CLICK, 7)
    assert read("clicks_7d").offer_attribute is None
    assert read("offer_clicks_7d").variable("a") == HistoryVariable(ContactKind.CLICK, 7, ContactScope.OFFER, "a")
    assert read("offer_clicks_7d").offer_attribute == "id"
    assert read("group_clicks_7d").offer_attribute == "exclusion_group"
    assert read("tactic_clicks_7d").offer_attribute == "tactic"
    assert read("group_clicks_7d").variable(None) is None


def test_columns_are_given_once_in_the_order_of_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_COLUMNS", 2)
    columns = HistoryColumns()
    first, second, third = (HistoryVariable(ContactKind.CLICK, days) for days in (3, 1, 2))

    assert [columns.column(variable) for variable in (first, second, first, third, second)] == [0, 1, 0, None, 1]
    assert columns.variables == (first, second)
