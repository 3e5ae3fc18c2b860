"""The scenario `overload` against real servers, too short to mean anything: here only the way through matters."""

import pytest

from loadtest.overload import OverloadOptions, overload, overload_table

FIELDS = {"goodput_ratio_2x", "goodput_ratio_4x", "late_ratio", "recovery_s", "steps", "saturated", "peak_rps"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SATURATED_S": 0.2, "WINDOWS": 1, "WARM_UP_S": 0.1, "RECOVERY_S": 0.5, "TRIES": 1, "CALLERS": (16,),
    }.items():  # fmt: skip
        monkeypatch.setattr(f"loadtest.overload.{name}", value)


def test_overload_measures_a_server_at_four_loads(transport: str) -> None:
    figures = overload(OverloadOptions(offers=100, profiles=500, transport=transport, seconds=0.5))

    assert set(figures) >= FIELDS
    steps = figures["steps"]
    assert isinstance(steps, list)
    assert [step["load"] for step in steps] == [0.5, 1.0, 2.0, 4.0]
    # How much is good on a busy machine nobody can say, but every call has an end that is known.
    assert steps[0]["statuses"]["OK"] > 0
    assert all(sum(step["statuses"].values()) == round(step["offered_rps"] * 0.5) for step in steps)
    assert not any("LOST" in step["statuses"] for step in steps)
    assert "Goodput at 2 x" in overload_table(figures)
