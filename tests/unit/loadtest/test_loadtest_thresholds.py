"""Bounds on figures: which apply, which hold, and what is wrong with a file of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.__main__ import SCENARIOS, main
from loadtest.thresholds import Bound, BoundsError, check, found, read_bounds

RANK: dict[str, Any] = {
    "scenario": "rank", "candidates": 1000, "transport": "native", "cpu_ratio_to_empty": 2.0, "p99_to_p50": 3.0,
    "p99_ratio_to_empty": 2.0, "errors": 0, "empty": {"errors": 0},
}  # fmt: skip


def written(folder: Path, **changes: Any) -> Path:
    file = folder / "figures.json"
    file.write_text(json.dumps(RANK | changes))
    return file


def test_every_bound_is_about_a_scenario_that_there_is() -> None:
    bounds = read_bounds()

    assert {bound.scenario for bound in bounds} <= set(SCENARIOS)
    assert all(bound.why.endswith(".") for bound in bounds)


def test_figures_within_their_bounds_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(written(tmp_path))]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ok", "rank", "cpu_ratio_to_empty", "2", "at", "most", "3", "(goal", "1.4)"]
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cpu_ratio_to_empty": 3.01}, "cpu_ratio_to_empty"),
        ({"errors": 1}, "errors"),
        ({"p99_to_p50": None}, "p99_to_p50"),
        ({"p99_ratio_to_empty": 6.01}, "p99_ratio_to_empty"),
    ],
)
def test_figure_beyond_its_bound_or_missing_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], field: str
) -> None:
    assert main(["check", str(written(tmp_path, **changes))]) == 1

    failed = [line.split()[2] for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert failed == [field]


def test_bound_of_other_sizes_does_not_apply() -> None:
    bound = Bound("rank", "cpu_ratio_to_empty", "", at_most=1.0, where={"candidates": 100})

    assert not bound.applies(RANK)
    assert bound.applies(RANK | {"candidates": 100})
    assert not bound.applies(RANK | {"candidates": 100, "scenario": "mixed"})


def test_bound_from_below_and_a_figure_that_is_nested() -> None:
    bound = Bound("overload", "steps.two.goodput", "", at_least=0.9)

    assert bound.holds({"steps": {"two": {"goodput": 0.9}}})
    assert not bound.holds({"steps": {"two": {"goodput": 0.89}}})
    assert not bound.holds({"steps": {"two": 1}})
    assert found(RANK, "empty.errors") == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[bound]]\nscenario = "rank"\nfield = "errors"\nwhy = ""\n', "neither at_most nor at_least"),
        ('[[bound]]\nscenario = "rank"\nfield = "errors"\nwhy = ""\nmost = 1\n', "unexpected keyword argument 'most'"),
    ],
)
def test_bound_that_says_nothing_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "thresholds.toml"
    file.write_text(text)

    with pytest.raises(BoundsError, match=problem):
        read_bounds(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", "nothing"])
def test_file_without_figures_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "figures.json"
    file.write_text(text)

    with pytest.raises(BoundsError, match=r"figures\.json"):
        check([file], read_bounds())


def test_figures_that_no_bound_is_about_are_no_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(written(tmp_path, scenario="scaling"))]) == 1
    assert "no bound is about figures like these" in capsys.readouterr().err
