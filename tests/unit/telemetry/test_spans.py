import subprocess
import sys
import threading

from server.telemetry.spans import MOST_WAITING, SpanExporter
from server.telemetry.trace import DecisionNote, FinishedCall, Trace
from tests.support.trace_sink import TraceSink, trace_sink

PATH = "/opportune.v1.DecisionService/RankOffers"
PATIENCE_S = 10.0


def finished(code: int = 0, reason: str = "", parent_id: int = 0xB7, decisions: int = 1) -> FinishedCall:
    trace = Trace(0xAF, parent_id)
    trace.decisions += [
        DecisionNote(("eligibility", "model"), (1_000, 3_000, 7_000), "RANKED", "FULL", "m/1")
    ] * decisions
    return FinishedCall(
        trace, PATH, code, reason, 1_700_000_000_000_000_500, 1_700_000_000_000_009_000, 1_700_000_000_000_000_000
    )


def sent(sink: TraceSink, *calls: FinishedCall) -> SpanExporter:
    exporter = SpanExporter(sink.url)
    exporter.start()
    for call in calls:
        exporter.put(call)
    exporter.close()
    return exporter


def test_call_is_a_span_below_its_caller_with_a_span_for_each_stage() -> None:
    with trace_sink() as sink:
        exporter = sent(sink, finished())

    root, *stages = sink.spans
    assert (root.name, root.kind) == (PATH[1:], 2)
    assert {span.trace_id for span in sink.spans} == {(0xAF).to_bytes(16)}
    assert root.parent_span_id == (0xB7).to_bytes(8)
    assert (root.start_time_unix_nano, root.end_time_unix_nano) == (
        1_700_000_000_000_000_500, 1_700_000_000_000_009_000,
    )  # fmt: skip
    assert [span.name for span in stages] == ["eligibility", "model"]
    assert {span.parent_span_id for span in stages} == {root.span_id}
    assert [span.end_time_unix_nano - span.start_time_unix_nano for span in stages] == [2_000, 4_000]
    assert stages[0].start_time_unix_nano == 1_700_000_000_000_001_000
    assert (exporter.exported, exporter.dropped) == (3, 0)


def test_failed_call_says_why() -> None:
    with trace_sink() as sink:
        sent(sink, finished(code=3, reason="INVALID_FIELD", decisions=0))

    (root,) = sink.spans
    attributes = {each.key: each.value.string_value or each.value.int_value for each in root.attributes}
    assert attributes["rpc.grpc.status_code"] == 3
    assert attributes["opportune.reason"] == "INVALID_FIELD"
    assert (root.status.code, root.status.message) == (2, "INVALID_ARGUMENT")


def test_call_without_caller_is_a_root() -> None:
    with trace_sink() as sink:
        sent(sink, finished(parent_id=0, decisions=0))

    assert sink.spans[0].parent_span_id == b""


def test_spans_that_the_collector_refuses_are_lost_and_counted() -> None:
    with trace_sink() as sink:
        sink.status = 400
        exporter = sent(sink, finished(), finished())

    assert (exporter.exported, exporter.dropped) == (0, 6)


def test_too_many_that_wait_are_dropped_and_counted() -> None:
    exporter = SpanExporter("http://127.0.0.1:1")  # Not started: nobody takes anything.

    for _ in range(MOST_WAITING + 3):
        exporter.put(finished())

    assert exporter.dropped == 9


def test_spans_are_sent_by_a_thread_that_nobody_waits_for() -> None:
    with trace_sink() as sink:
        exporter = SpanExporter(sink.url + "/v1/traces")
        exporter.start()
        exporter.put(finished())
        assert sink.came.wait(PATIENCE_S)
        exporter.close()

    assert not any(thread.name == "span-exporter" for thread in threading.enumerate())
    assert len(sink.spans) == 3


def test_open_telemetry_is_not_imported_without_an_endpoint() -> None:
    program = "import sys, server.app, server.cli; print([name for name in sys.modules if 'opentelemetry' in name])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
