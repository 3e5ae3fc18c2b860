"""The whole driver, with its processes, against a made-up server."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from loadtest.guarded import GuardedOptions, guarded, with_guards
from loadtest.hostile import HostileOptions, hostile, hostile_table
from loadtest.intruder import KINDS
from loadtest.rank import RankOptions, rank
from loadtest.report import guarded_table, rank_table, scaling_table, write_json
from loadtest.scaling import ScalingOptions, scaling
from loadtest.serving import ServerFailedError
from loadtest.workload import SyntheticWorkload, Workload
from server.settings import Settings

FAKE = str(Path(__file__).parent / "fake_server.py")
FIELDS = {
    "scenario", "transport", "candidates", "profiles", "saturated_rps", "server_cpu_us_per_call", "rate_rps",
    "p50_ms", "p99_ms", "p999_ms", "errors", "empty", "cpu_ratio_to_empty", "rps_ratio_to_empty",
}  # fmt: skip
EMPTY_FIELDS = {"saturated_rps", "server_cpu_us_per_call", "p50_ms", "p99_ms"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows too short to mean anything: here only the way through matters."""
    monkeypatch.setattr("loadtest.saturation.SEARCH_S", 0.1)
    monkeypatch.setattr("loadtest.saturation.WINDOW_S", 0.2)
    monkeypatch.setattr("loadtest.saturation.CALLERS", (4, 8))
    monkeypatch.setattr("loadtest.saturation.ROUNDS_MAX", 1)
    monkeypatch.setattr("loadtest.steady.WARM_UP_S", 0.1)


def fake(workload: Workload, port: int, transport: str) -> list[str]:
    return [FAKE, str(port)]


def test_rank_measures_a_server_beside_an_empty_one_and_leaves_no_process(
    tmp_path: Path, left_behind: Callable[[], set[int]]
) -> None:
    figures = rank(RankOptions(20, 900, "grpcio", seconds=0.5, windows=1), fake)
    write_json(tmp_path / "rank.json", figures)
    written = json.loads((tmp_path / "rank.json").read_text())

    assert set(written) >= FIELDS
    assert set(written["empty"]) >= EMPTY_FIELDS
    assert (written["scenario"], written["candidates"], written["profiles"]) == ("rank", 20, 900)
    assert (written["errors"], written["eligible_mean"]) == (0, 35)
    assert written["rate_rps"] <= written["saturated_rps"] / 2 * 1.001
    assert 0 < written["p50_ms"] <= written["p99_ms"] <= written["p999_ms"]
    assert written["cpu_ratio_to_empty"] > 0
    assert "ratio" in rank_table(figures)
    assert not left_behind()


def test_scaling_compares_sizes_and_leaves_no_process(left_behind: Callable[[], set[int]]) -> None:
    figures = scaling(ScalingOptions((10, 20), (50, 900), "grpcio", seconds=0.5, windows=1), fake)

    offers, profiles = figures["offers"], figures["profiles"]
    assert isinstance(offers, dict)
    assert isinstance(profiles, dict)
    assert offers["cpu_ratio"] > 0
    assert profiles["p50_ratio"] > 0
    assert "ratio" in scaling_table(figures)
    assert not left_behind()


def test_server_that_ends_at_once_is_named_with_its_log_and_leaves_no_process(
    left_behind: Callable[[], set[int]],
) -> None:
    def broken(workload: Workload, port: int, transport: str) -> list[str]:
        return ["-c", "raise SystemExit('No such catalog.')"]

    with pytest.raises(ServerFailedError, match=r"No such catalog\."):
        rank(RankOptions(20, 10, "grpcio", seconds=0.5, windows=1), broken)

    assert not left_behind()


def test_guarded_compares_an_open_server_with_one_that_knows_its_callers(
    monkeypatch: pytest.MonkeyPatch, left_behind: Callable[[], set[int]]
) -> None:
    monkeypatch.setattr("loadtest.guarded.with_guards", lambda serve, tokens, metrics, *settings: serve)

    figures: dict[str, Any] = guarded(GuardedOptions(20, 900, "grpcio", windows=1), fake)

    assert figures["errors"] == 0
    costs = [figures[side]["cpu_us_per_call"] for side in ("open", "guarded", "logged")]
    assert figures["added_us_per_call"] == pytest.approx(costs[1] - costs[0])
    assert figures["added_us_per_call_with_lines"] == pytest.approx(costs[2] - costs[0])
    assert "Added to a call" in guarded_table(figures)
    assert not left_behind()


def test_hostile_compares_rankings_alone_with_those_beside_each_kind_of_intruder(
    monkeypatch: pytest.MonkeyPatch, left_behind: Callable[[], set[int]]
) -> None:
    monkeypatch.setattr("loadtest.hostile.with_guards", lambda serve, tokens, metrics: serve)
    monkeypatch.setattr("loadtest.hostile.WARM_UP_S", 0.1)

    # The made-up server makes two million objects each time.
    options = HostileOptions(20, 900, "grpcio", rate_rps=50, intrusions_per_s=1, seconds=2.0)
    figures: dict[str, Any] = hostile(options, fake)

    assert figures["errors"] == 0
    beside = figures["beside"]
    assert set(beside) == set(KINDS)
    assert figures["p99_ratio_max"] == max(kind["p99_ratio"] for kind in beside.values())
    # The made-up server knows no tokens and takes everything that its transport takes.
    assert set(beside["unknown tokens"]["ended"]) <= {"OK", "OPEN"}
    assert set(beside["much metadata"]["ended"]) & {"RESOURCE_EXHAUSTED", "UNAVAILABLE"}
    assert set(beside["silent streams"]["ended"]) == {"OPEN"}
    assert "much metadata" in hostile_table(figures)
    assert not left_behind()


def test_guards_are_settings_that_servers_have(tmp_path: Path) -> None:
    guards = with_guards(fake, tmp_path / "tokens", "127.0.0.1:1", "--log-sample", "1")
    command = guards(SyntheticWorkload(tmp_path, 5, 5, date(2026, 11, 1)), 1, "native")

    flags = [part.removeprefix("--").replace("-", "_") for part in command if part.startswith("--")]
    assert len(flags) == 4
    assert set(flags) <= set(Settings.model_fields)
