"""What the kernel counts, which windows count, and what is reported."""

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.__main__ import main
from loadtest.calm import calmest, in_turn
from loadtest.generator import read_payloads, write_payloads
from loadtest.procfs import TICKS_PER_S, MachineTime, children, cpu_seconds, process_seconds
from loadtest.report import write_json
from loadtest.saturation import Saturation, saturating
from loadtest.target import Window

STAT = "cpu  100 20 30 800 10 5 5 30 7 0\ncpu0 50 10 15 400 5 2 3 15 3 0\n"

CALM = Window(
    statuses=Counter(OK=2_000), seconds=2.0, server_cpu_s=1.9, generator_cpu_s=0.6, steal_percent=0.1,
    others_percent=1.0,
)  # fmt: skip


def test_machine_time_is_read_from_the_first_line_without_counting_guests_twice() -> None:
    time = MachineTime.parse(STAT)

    assert time.total_s * TICKS_PER_S == pytest.approx(1_000)
    assert time.busy_s * TICKS_PER_S == pytest.approx(160)
    assert time.steal_s * TICKS_PER_S == pytest.approx(30)


def test_steal_and_others_are_shares_of_the_time_between_two_readings() -> None:
    before = MachineTime(total_s=100, busy_s=50, steal_s=1)
    after = MachineTime(total_s=110, busy_s=58, steal_s=1.5)

    assert after.steal_percent_since(before) == pytest.approx(5)
    assert after.others_percent_since(before, own_s=6) == pytest.approx(20)
    assert after.others_percent_since(before, own_s=9) == 0
    assert before.steal_percent_since(before) == 0


def test_process_time_is_read_behind_a_name_with_spaces_and_brackets() -> None:
    stat = f"42 (a ) b) S 1 42 42 0 -1 0 10 20 30 40 {3 * TICKS_PER_S} {TICKS_PER_S} 0 0 20 0 4 0 1 2 3"

    assert process_seconds(stat) == 4


def test_own_process_uses_time_and_the_kernel_agrees_about_it() -> None:
    counted = cpu_seconds(os.getpid())

    assert 0 < counted <= sum(os.times()[:4]) + 60
    assert os.getpid() not in children(os.getpid())


def test_a_child_that_ended_while_it_was_counted_has_used_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = tmp_path / "7" / "task" / "7"
    threads.mkdir(parents=True)
    (tmp_path / "7" / "stat").write_text(f"7 (a) S 1 7 7 0 -1 0 0 0 0 0 {TICKS_PER_S} 0 0 0 20 0 1 0 1 2 3")
    (threads / "children").write_text("8 ")
    monkeypatch.setattr("loadtest.procfs.PROC", tmp_path)

    assert cpu_seconds(7) == 1
    with pytest.raises(FileNotFoundError):
        cpu_seconds(8)


def test_disturbed_windows_are_repeated_until_enough_are_calm() -> None:
    stolen, crowded = replace(CALM, steal_percent=9.0), replace(CALM, others_percent=30.0)
    series = iter([stolen, CALM, crowded, CALM, CALM])

    (taken,) = in_turn([lambda: next(series)], wanted=2, rounds_max=10)

    assert taken == [CALM, CALM]
    assert next(series) == CALM


def test_without_calm_the_least_disturbed_windows_are_taken_and_the_rounds_end() -> None:
    windows = [replace(CALM, steal_percent=steal) for steal in (30.0, 5.0, 12.0)]
    series = iter(windows)

    (taken,) = in_turn([lambda: next(series)], wanted=1, rounds_max=3)

    assert taken == [windows[1]]
    assert calmest(windows, 2) == [windows[1], windows[2]]


def test_window_in_which_calls_failed_counts_however_busy_the_machine_was() -> None:
    failed = replace(CALM, steal_percent=30.0, statuses=Counter({"OK": 9, "UNAVAILABLE": 1}))

    assert calmest([CALM, failed, CALM], 2) == [CALM, CALM, failed]
    assert calmest([failed, replace(CALM, steal_percent=9.0)], 1) == [failed]


def test_measures_take_turns() -> None:
    order: list[str] = []

    def measure(name: str) -> Callable[[], Window]:
        def window() -> Window:
            order.append(name)
            return CALM

        return window

    in_turn([measure("ours"), measure("empty")], wanted=2, rounds_max=5)

    assert order == ["ours", "empty", "ours", "empty"]


def test_concurrency_stops_where_the_rate_stops_growing() -> None:
    assert saturating(lambda callers: min(callers, 30) * 100.0) == 32
    assert saturating(lambda callers: 1_000.0) == 8
    assert saturating(lambda callers: callers * 10.0) == 256


def test_one_unlucky_window_does_not_end_the_search() -> None:
    rates = {8: 100.0, 16: 90.0, 32: 400.0, 64: 402.0, 128: 401.0}

    assert saturating(rates.__getitem__) == 32


def test_saturation_takes_the_median_rate_and_the_cost_of_all_calls() -> None:
    slow = replace(CALM, statuses=Counter(OK=1_000, UNAVAILABLE=10), server_cpu_s=1.11)

    found = Saturation.of([CALM, CALM, slow], callers=16)

    assert found.rate_rps == 1_000
    assert found.cpu_us_per_call == pytest.approx(1e6 * (1.9 + 1.9 + 1.11) / 5_010)
    assert found.errors == {"UNAVAILABLE": 10}


def test_full_generator_beside_an_idle_server_is_named_as_the_bound() -> None:
    full = replace(CALM, server_cpu_s=0.8, generator_cpu_s=1.95)

    assert not Saturation.of([CALM], 8).generator_bound
    assert Saturation.of([full], 8).generator_bound
    assert Saturation.of([CALM, full, full], 8).generator_bound
    assert not Saturation.of([CALM, CALM, full], 8).generator_bound


def test_payloads_survive_the_file(tmp_path: Path) -> None:
    payloads = [b"", b"one", bytes(300)]

    write_payloads(tmp_path / "payloads", payloads)

    assert read_payloads(tmp_path / "payloads") == payloads


def test_json_numbers_are_rounded_at_any_depth(tmp_path: Path) -> None:
    write_json(tmp_path / "out.json", {"rate": 1234.5678, "empty": {"list": [0.000123456789]}, "count": 123456})

    written = json.loads((tmp_path / "out.json").read_text())

    assert written == {"rate": 1234.6, "empty": {"list": [0.00012346]}, "count": 123456}


@pytest.mark.parametrize("arguments", [["rank", "--offers", "0"], ["rank", "--seconds", "nan"], ["nothing"], []])
def test_bad_arguments_are_refused_before_anything_starts(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)

    assert refused.value.code == 2
    assert "usage" in capsys.readouterr().err
