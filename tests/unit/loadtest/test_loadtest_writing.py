"""The scenarios about writing, with their processes, against a made-up server."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from loadtest import folder
from loadtest.cold import ColdOptions, cold
from loadtest.deltas import DeltasOptions, deltas
from loadtest.freshness import FreshnessOptions, freshness
from loadtest.memory import MemoryOptions, memory
from loadtest.mixed import MixedOptions, mixed
from loadtest.read_back import NotKeptError
from loadtest.recover import RecoverOptions, recover
from loadtest.serving import ServeCommand, durable
from loadtest.workload import Workload
from loadtest.writing_report import cold_table, deltas_table, freshness_table, memory_table, mixed_table, recover_table

FAKE = str(Path(__file__).parent / "fake_server.py")
SETTING = {"steal_percent", "filesystem", "started", "machine"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows too short to mean anything: here only the way through matters."""
    for name, value in {
        "deltas.WINDOW_S": 0.2, "deltas.ROUNDS_MAX": 1, "deltas.PREPARED": {100: 2_000, 1: 200},
        "deltas.SAMPLES_WANTED": 100, "steady.WARM_UP_S": 0.1, "beside.WARM_UP_S": 0.1, "beside.LEAD_S": 0.1,
        "freshness.WARM_UP_S": 0.1, "freshness.SLICE_S": 0.4, "mixed.WARM_UP_S": 0.1, "memory.SETTLES_WITHIN_S": 0.1,
        "memory.STEP_S": 0.05, "recover.WINDOW_S": 0.1, "cold.CALLS": 200, "cold.LAST": 50,
    }.items():  # fmt: skip
        monkeypatch.setattr(f"loadtest.{name}", value)


def fake(data: Path, *settings: str) -> ServeCommand:
    def command(workload: Workload, port: int, transport: str) -> Sequence[str]:
        return [FAKE, str(port), str(data), *settings]

    return command


def forgetful(data: Path, *settings: str) -> ServeCommand:
    """A server that comes back without the deltas that it has acknowledged."""
    return fake(data, *settings, "forget")


def test_deltas_measures_both_sizes_beside_an_empty_stream_and_leaves_no_process(
    left_behind: Callable[[], set[int]],
) -> None:
    figures = deltas(DeltasOptions(20, 900, "grpcio", seconds=0.5, windows=1), fake)

    for rate, prefix in (("durable_", ""), ("single_", "single_")):
        assert float(str(figures[f"{rate}deltas_per_s"])) > 0
        assert 0 < float(str(figures[f"{prefix}ack_p50_ms"])) <= float(str(figures[f"{prefix}ack_p99_ms"]))
        assert float(str(figures[f"{prefix}server_cpu_us_per_delta"])) > 0
        assert float(str(figures[f"{prefix}rate_ratio_to_empty"])) > 0
        assert {f"{prefix}journal_bytes_per_delta", f"{prefix}ack_samples"} <= set(figures)
    assert set(figures) >= SETTING
    assert figures["errors"] == 0
    assert "ratio to the empty stream" in deltas_table(figures)
    assert not left_behind()


def test_freshness_finds_every_probe_while_deltas_stream_in(left_behind: Callable[[], set[int]]) -> None:
    figures = freshness(FreshnessOptions(20, 900, "grpcio", deltas_per_s=200, probes=20), fake)

    assert figures["errors"] == 0
    assert 0 < float(str(figures["freshness_p50_ms"])) <= float(str(figures["freshness_p99_ms"]))
    assert float(str(figures["acknowledged_freshness_p50_ms"])) > 0
    assert float(str(figures["rankings_per_probe"])) >= 1
    assert "acknowledged" in freshness_table(figures)
    assert not left_behind()


def test_mixed_compares_rankings_alone_with_those_beside_other_work(left_behind: Callable[[], set[int]]) -> None:
    options = MixedOptions(20, 900, "grpcio", rate_rps=100, deltas_per_s=200, shoppers_per_s=20, seconds=0.5)
    figures: dict[str, Any] = mixed(options, fake)

    assert figures["errors"] == 0
    assert float(str(figures["p99_ratio"])) > 0
    assert {f"rank_p99_ms_{kind}" for kind in ("without", "with", "with_catalog", "with_everything")} <= set(figures)
    assert figures["p99_ratio_with_catalog"] > 0
    assert figures["shoppers"]["outcomes"]["ATTRIBUTION_ATTRIBUTED"] > 0
    assert len(figures["published_s"]) >= 1
    assert figures["loop_lag_max_ms_with_everything_at_most"] == 0.5
    assert "everything" in mixed_table(figures)
    assert not left_behind()


def test_memory_loads_everybody_and_reads_some_of_them_back(left_behind: Callable[[], set[int]]) -> None:
    figures = memory(MemoryOptions(20, 20_000, "grpcio"), fake)

    assert (figures["profiles"], figures["attributes"], figures["samples"]) == (20_000, 64, 100)
    assert float(str(figures["bytes_per_customer"])) > 0
    assert float(str(figures["load_s"])) > 0
    assert set(figures) >= SETTING
    assert "bytes/customer" in memory_table(figures)
    assert not left_behind()


def test_cold_compares_the_first_answers_with_later_ones(left_behind: Callable[[], set[int]]) -> None:
    figures: dict[str, Any] = cold(ColdOptions(20, 900, "grpcio", runs=2), fake)

    assert (figures["samples"], len(figures["ready_s_all"])) == (2, 2)
    assert figures["empty_s"] > 0
    assert 0 < figures["warm_p50_ms"] <= figures["first_hundred_worst_ms"]
    assert figures["first_ratio_to_warm"] == pytest.approx(figures["first_ms"] / figures["warm_p50_ms"])
    assert set(figures) >= SETTING
    assert "first ranking" in cold_table(figures)
    assert not left_behind()


def test_recover_kills_the_server_and_requires_the_last_acknowledged_delta_of_the_next(
    left_behind: Callable[[], set[int]],
) -> None:
    figures = recover(RecoverOptions(20, 900, tail=200, transport="grpcio", runs=2), fake)

    assert int(str(figures["tail"])) > 200
    assert (figures["profiles"], figures["samples"]) == (900, 2)
    assert float(str(figures["ready_s"])) > 0
    assert set(figures) >= SETTING
    assert "SIGKILL" in recover_table(figures)
    assert not left_behind()


def test_server_that_comes_back_without_an_acknowledged_delta_fails_the_scenario(
    left_behind: Callable[[], set[int]],
) -> None:
    with pytest.raises(NotKeptError, match="missing"):
        recover(RecoverOptions(20, 900, tail=50, transport="grpcio", runs=1), forgetful)

    assert not left_behind()


def test_durable_server_has_its_folder_and_settings_and_is_not_ephemeral(tmp_path: Path) -> None:
    class Files:
        catalog, models, offers, profiles = Path("c.yaml"), Path("models"), 1, 1

    command = durable(tmp_path, "--snapshot-entries", "1")(Files(), 5, "native")  # type: ignore[arg-type]

    assert "--ephemeral" not in command
    assert list(command[-4:]) == ["--data", str(tmp_path), "--snapshot-entries", "1"]


def test_journal_is_measured_with_its_log_and_snapshots_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    for name in ("00000000000000000012.snapshot", "00000000000000000003.snapshot", "00000000000000000013.partial"):
        (tmp_path / "snapshots" / name).touch()

    kind = folder.filesystem(tmp_path)

    assert folder.snapshot_offsets(tmp_path) == [3, 12]
    assert isinstance(kind["type"], str)
    assert float(str(kind["sync_p50_ms"])) > 0
    assert not (tmp_path / "sync").exists()
