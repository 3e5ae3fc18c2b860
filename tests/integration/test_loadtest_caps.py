"""The scenario `caps` against a real server: it counts every answer, and notices one too many."""

from typing import Any

import pytest

from loadtest import caps as scenario
from loadtest.caps import CapsOptions, OvershotError, caps, caps_table

FEW = CapsOptions(rounds=3, callers=12)


def test_race_for_the_last_slots_is_won_by_as_many_as_there_are() -> None:
    figures = caps(FEW)

    assert (figures["rounds"], figures["overshoot"], figures["undershoot"]) == (3, 0, 0)
    assert (figures["budget_rounds"], figures["budget_overshoot"], figures["budget_undershoot"]) == (1, 0, 0)
    assert "rounds" in caps_table(figures)


def test_answers_beyond_the_slots_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = scenario._catalog

    def without_caps(rounds: int) -> dict[str, object]:
        document: dict[str, Any] = catalog(rounds)
        document["offers"] = [{name: value for name, value in o.items() if name != "caps"} for o in document["offers"]]
        return document

    monkeypatch.setattr(scenario, "_catalog", without_caps)

    with pytest.raises(OvershotError, match="27 of caps, 0 of budgets"):
        caps(FEW)
