"""The arithmetic of the flood and of the scenario `overload`, and the bytes that the flood sends and reads."""

from collections.abc import Mapping
from typing import Any

import grpc
import pytest

from loadtest.became import BUCKET_S, LOST, became_of, recovery_s
from loadtest.flood import due_in
from loadtest.hpack import UNKNOWN, huffman, literal, status_of
from loadtest.http2 import OK, RESET, Request, frame, request_headers
from loadtest.overload import figures, overload_table, ratios

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


def test_strings_are_coded_as_in_rfc_7541() -> None:
    # Appendix C.6.1 codes ":status: 302" and C.4.1 a host; these are characters of our table only.
    assert huffman("302").hex() == "826402"
    assert literal("302") == b"\x03302"


@pytest.mark.parametrize("encode", [literal, huffman])
@pytest.mark.parametrize("code", range(17))
def test_status_is_found_wherever_it_stands_and_however_it_is_coded(code: int, encode: Any) -> None:
    block = b"\x88\x5f\x10application/grpc" + b"\x40" + encode("grpc-status") + encode(str(code)) + b"\x00\x01a\x01b"

    assert status_of(block) == code


@pytest.mark.parametrize("block", [b"", b"\x88", literal("grpc-status") + literal("x"), literal("grpc-message")])
def test_block_without_a_status_is_unknown(block: bytes) -> None:
    assert status_of(block) == UNKNOWN


def test_request_is_a_frame_of_headers_and_one_of_data_that_ends_the_stream() -> None:
    headers = request_headers("/a.B/C", "host:1", 100)

    request = Request(headers, b"message")
    number = (7).to_bytes(4, "big")
    content = request.start + number + request.between + number + request.behind

    assert content == frame(1, 4, 7, headers) + frame(0, 1, 7, b"\x00\x00\x00\x00\x07message")
    assert literal("100m") in headers


def test_frame_has_its_size_in_three_bytes() -> None:
    content = frame(0, 1, 3, b"x" * 70_000)

    assert content[:9] == (70_000).to_bytes(3, "big") + b"\x00\x01\x00\x00\x00\x03"


def test_answer_is_good_within_the_deadline_from_when_it_was_due() -> None:
    rows = [(0.1, 0.05, OK), (0.2, 0.11, OK), (0.3, 0.01, EXHAUSTED), (0.4, 3.0, LOST), (0.45, 0.02, RESET)]

    became = became_of(rows, 0.0, 0.5, 0.1)

    assert [became[name] for name in ("offered", "good", "late", "refused", "missed")] == [5, 1, 1, 1, 3]
    assert became["refused_p99_ms"] == pytest.approx(10)
    assert became["statuses"] == {"OK": 2, "RESOURCE_EXHAUSTED": 1, "LOST": 1, "RESET": 1}
    assert became["p99_ms"] == pytest.approx(110, rel=0.01)
    assert became["buckets"] == [0.5, 0.0]


def test_calls_that_were_due_in_the_warm_up_do_not_count() -> None:
    became = became_of([(0.9, 0.01, OK), (1.0, 0.01, OK), (1.9, 0.01, OK), (2.0, 0.01, OK)], 1.0, 2.0, 0.1)

    assert became["offered"] == 2


def test_nothing_sent_is_nothing_good() -> None:
    became = became_of([], 0.0, 0.5, 0.1)

    assert (became["offered"], became["good"], became["p99_ms"], became["buckets"]) == (0, 0, 0.0, [None, None])


@pytest.mark.parametrize(
    ("buckets", "quarters"),
    [([1.0, 1.0], 0), ([0.5, 1.0, 1.0], 1), ([1.0, 0.5, None, 1.0], 2), ([0.98, 0.98, 1.0], 2), ([None, 0.995], 0)],
)
def test_recovery_ends_with_the_last_bad_quarter_of_a_second(buckets: list[float | None], quarters: int) -> None:
    assert recovery_s(buckets) == quarters * BUCKET_S


def test_what_is_bad_at_the_end_has_not_recovered() -> None:
    assert recovery_s([1.0, 0.98]) is None


def test_stages_follow_on_one_another_at_once() -> None:
    due = due_in([(1_000.0, 0.5), (100.0, 2.0)], seed=7)

    assert due == sorted(due)
    assert 400 < sum(each < 0.5 for each in due) <= 500
    assert 130 < sum(each >= 0.5 for each in due) <= 200
    assert 0.5 <= next(each for each in due if each >= 0.5) < 0.6
    assert due[-1] < 2.5


def window(good: int, late: int, **statuses: int) -> Mapping[str, Any]:
    refused = statuses.get("RESOURCE_EXHAUSTED", 0) + statuses.get("CANCELLED", 0)
    return {
        "seconds": 2.0, "offered": good + late + sum(statuses.values()), "good": good, "late": late,
        "statuses": {"OK": good + late, **statuses}, "p50_ms": 1.0, "p99_ms": 2.0, "rungs": {"RUNG_FULL": 3},
        "server_cpu_s": 1.5, "generator_cpu_s": 0.3, "steal_percent": 0.1, "others_percent": 1.0,
        "lateness_p99_ms": 0.5, "buckets": [1.0], "refused": refused, "refused_p99_ms": 1.5, "ran_s": 3.0,
        "missed": late + sum(statuses.values()) - refused, "offers_mean": 9.5,
    }  # fmt: skip


def test_goodput_is_compared_with_the_best_of_what_can_be_done() -> None:
    loads = {0.5: 500, 1.0: 1_000, 2.0: 1_100, 4.0: 880}
    steps = [figures(load, window(2 * good, 10)) for load, good in loads.items()]

    found = ratios(1_000.0, steps)

    # The best may well be where too much is asked.
    assert found["peak_rps"] == 1_100
    assert (found["goodput_ratio_2x"], found["goodput_ratio_4x"]) == (1.0, 0.8)
    assert found["late_ratio"] == pytest.approx(10 / 1_010)


def test_what_is_taken_and_comes_to_nothing_is_as_bad_as_late() -> None:
    found = figures(4.0, window(60, 10, RESOURCE_EXHAUSTED=900, DEADLINE_EXCEEDED=20, RESET=7, LOST=3))

    assert found["late_ratio"] == 0.4


def test_refusals_of_both_transports_are_refusals() -> None:
    found = figures(4.0, window(10, 0, RESOURCE_EXHAUSTED=6, CANCELLED=4, DEADLINE_EXCEEDED=2))

    assert (found["refused_rps"], found["expired_rps"], found["offered_rps"]) == (5.0, 1.0, 11.0)


def test_table_has_a_row_for_each_load() -> None:
    steps = [figures(load, window(100, 1)) for load in (0.5, 1.0, 2.0, 4.0)]
    saturated = {"rate_rps": 90.0, "server_cpu_us_per_call": 300.0, "generator_cpu_us_per_call": 20.0}

    table = overload_table(
        {
            "candidates": 10,
            "transport": "native",
            "deadline_ms": 100,
            "saturated": saturated,
            "steps": steps,
            "recovery_s": 0.25,
            **ratios(90.0, steps),
        }
    )

    assert len(table.splitlines()) == 11
    assert "back to normal after 0.25 s" in table
    assert "full 100 %" in table
