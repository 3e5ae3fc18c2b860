"""Generators that others wrote: what is made of what they print, and the way through with a made-up server."""

import os
import shutil
import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest
from opportune.v1.decision_service_pb2 import RankOffersRequest

from loadtest import h2load as h2load_scenario
from loadtest.foreign import ForeignOptions, foreign_table
from loadtest.h2load import framed, h2load, seen, unrecorded
from loadtest.k6 import acknowledged, k6
from loadtest.k6 import seen as seen_by_k6
from loadtest.workload import Workload

FAKE = str(Path(__file__).parent / "fake_server.py")
QUICK = ForeignOptions(offers=20, profiles=900, transport="grpcio", rate_rps=50, seconds=1)
LOG = np.array([[10, 200, 1_000], [20, 200, 2_000], [30, 200, 3_000], [40, 200, 101_000]])


def printed(data_bytes: int, succeeded: int = 4, failed: int = 0) -> str:
    """What h2load prints."""
    return (
        f"requests: 4 total, 4 started, 4 done, {succeeded} succeeded, {failed} failed, {failed} errored, 0 timeout\n"
        f"status codes: {succeeded} 2xx, 0 3xx, 0 4xx, 0 5xx\n"
        f"traffic: 5.02MB (5265213) total, 31.48KB (32232) headers (space savings 91.05%), 4.9MB ({data_bytes}) data\n"
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows too short to mean anything: here only the way through matters."""
    monkeypatch.setattr("loadtest.steady.WARM_UP_S", 0.1)
    monkeypatch.setattr("loadtest.foreign.TRIES", 1)


def fake(workload: Workload, port: int, transport: str) -> list[str]:
    return [FAKE, str(port)]


def test_latencies_are_read_from_the_log() -> None:
    figures = seen(printed(4 * 105), LOG, [100])

    assert (figures.p50_ms, figures.calls, figures.failed) == (2.5, 4, 0)
    assert 90 < figures.p99_ms <= 101


@pytest.mark.parametrize(("answered", "failed"), [(4, 0), (3, 1), (1, 3), (0, 4)])
def test_answers_without_a_message_are_failures_whatever_h2load_says(answered: int, failed: int) -> None:
    assert seen(printed(answered * 105), LOG, [100]).failed == failed


def test_answers_that_differ_a_little_in_size_are_no_failures() -> None:
    assert seen(printed(4 * 104), LOG, [99, 101]).failed == 0


def test_failures_that_h2load_does_see_are_counted_as_well() -> None:
    assert seen(printed(2 * 105, succeeded=2, failed=2), LOG, [100]).failed == 2


def test_body_is_a_message_with_its_length() -> None:
    assert framed(b"abc") == b"\0\0\0\0\3abc"


def test_same_request_again_and_again_is_not_recorded() -> None:
    request = RankOffersRequest(customer_id="c", placement_id="p")

    again = RankOffersRequest.FromString(unrecorded(request.SerializeToString()))

    assert again == RankOffersRequest(customer_id="c", placement_id="p", validate_only=True)


def test_summary_of_k6_is_read() -> None:
    summary: dict[str, dict[str, float]] = {
        "grpc_req_duration{scenario:rank}": {"med": 1.5, "p(99)": 9.0, "count": 100},
        "rank_failed": {"count": 2},
        "dropped_iterations{scenario:rank}": {"count": 3},
        "acknowledge_duration": {"med": 2.0, "p(99)": 8.0},
        "messages_acknowledged": {"count": 50},
    }

    figures, streams = seen_by_k6(summary), acknowledged(summary)

    assert (figures.p50_ms, figures.p99_ms, figures.calls, figures.failed, figures.missed) == (1.5, 9.0, 100, 2, 3)
    assert (streams["messages"], streams["broken"], streams["acknowledged_p99_ms"]) == (50, 0, 8.0)


def test_h2load_measures_a_server_beside_ours_and_leaves_no_process(left_behind: Callable[[], set[int]]) -> None:
    _needs("h2load")

    figures = h2load(QUICK, fake)

    ours, theirs = figures["ours"], figures["h2load"]
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    assert (ours["failed"], theirs["failed"]) == (0, 0)
    assert theirs["calls"] >= 40
    assert "h2load" in foreign_table(figures)
    assert not left_behind()


def test_h2load_against_a_server_that_fails_every_call_counts_them_all(tmp_path: Path) -> None:
    _needs("h2load")
    (tmp_path / "body").write_bytes(framed(b""))
    log = tmp_path / "log"
    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((_Failing(),))
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()

        output = h2load_scenario._run(address, tmp_path / "body", log, QUICK)

        stopped: threading.Event = server.stop(0)
        stopped.wait()
    figures = seen(output, np.loadtxt(log, dtype=np.int64, ndmin=2), [100])
    assert figures.calls == figures.failed > 0


def test_k6_measures_a_server_beside_ours_and_leaves_no_process(left_behind: Callable[[], set[int]]) -> None:
    figures = k6(QUICK, fake)

    theirs, streams = figures["k6"], figures["streams"]
    assert isinstance(theirs, dict)
    assert isinstance(streams, dict)
    assert (theirs["failed"], theirs["missed"]) == (0, 0)
    assert theirs["calls"] >= 40
    assert "k6" in foreign_table(figures)
    assert not left_behind()


class _Failing(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types.
    def service(self, handler_call_details: object) -> object:
        return grpc.unary_unary_rpc_method_handler(lambda _, context: context.abort(grpc.StatusCode.UNAVAILABLE, "no"))


def _needs(program: str) -> None:
    if shutil.which(program) is None and not os.environ.get("CI"):
        pytest.skip(f"{program} is not installed")
