import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from server.domain.decision import Decision, Ranking, Result, Rung
from server.telemetry.call_log import LINES, CallLog
from server.telemetry.context import CallContext
from server.telemetry.logs import JsonFormatter, Pseudonyms
from server.wire.call import Call

PATH = "/opportune.v1.DecisionService/RankOffers"
INVALID, INTERNAL, UNAVAILABLE = 3, 13, 14
DECISION = Decision(
    "d1", "email:anna@example.com", "home", datetime(2026, 1, 1, tzinfo=UTC), Ranking(), Result.RANKED, Rung.FULL,
    "", 1, 1,
)  # fmt: skip

Lines = Callable[[], list[dict[str, object]]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    formatter = JsonFormatter()
    with caplog.at_level(logging.INFO, "server"):
        yield lambda: [json.loads(formatter.format(record)) for record in caplog.records]


def made(sample: float = 0.0, share: float = 0.5) -> CallLog:
    return CallLog(sample, Pseudonyms(b"key"), lambda: share)


def test_failed_call_is_told_by_method_code_and_reason(lines: Lines) -> None:
    made().failed(PATH, INVALID, "INVALID_FIELD", 0.0015, CallContext(Call()))

    (line,) = lines()
    assert (line["event"], line["level"], line["method"]) == ("call", "info", PATH)
    assert (line["code"], line["reason"], line["duration_ms"]) == ("INVALID_ARGUMENT", "INVALID_FIELD", 1.5)


def test_faults_are_errors_and_trouble_is_a_warning(lines: Lines) -> None:
    log = made()
    log.failed(PATH, INTERNAL, "INTERNAL", 0.001, None)
    log.failed(PATH, UNAVAILABLE, "JOURNAL_FAILED", 0.001, None)

    assert [line["level"] for line in lines()] == ["error", "warning"]


def test_each_reason_has_a_limit_of_its_own(lines: Lines) -> None:
    log = made()
    for _ in range(3 * LINES):
        log.failed(PATH, INVALID, "INVALID_FIELD", 0.001, None)
    log.failed(PATH, INVALID, "MALFORMED_REQUEST", 0.001, None)

    reasons = [line["reason"] for line in lines()]
    assert reasons == ["INVALID_FIELD"] * LINES + ["MALFORMED_REQUEST"]
    assert log.limit.suppressed == 2 * LINES


def test_success_is_silent_unless_it_is_sampled(lines: Lines) -> None:
    made().succeeded(PATH, 0.001, None)
    made(sample=0.4, share=0.4).succeeded(PATH, 0.001, None)
    before = lines()
    made(sample=0.4, share=0.39).succeeded(PATH, 0.001, None)

    assert before == []
    assert [line["code"] for line in lines()] == ["OK"]
    assert made().is_silent_on_success
    assert not made(sample=0.4).is_silent_on_success


def test_at_debug_level_every_call_is_told(lines: Lines, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "server")

    made().succeeded(PATH, 0.001, None)

    assert [line["level"] for line in lines()] == ["debug"]


def test_decision_is_told_with_a_hash_of_its_customer(lines: Lines) -> None:
    context = CallContext(Call())
    context.decision = DECISION

    made(sample=1.0).succeeded(PATH, 0.001, context)

    (line,) = lines()
    assert (line["decision_id"], line["rung"], line["result"], line["offers"]) == ("d1", "FULL", "RANKED", 0)
    assert line["customer"] == Pseudonyms(b"key")("email:anna@example.com")
    assert "anna" not in json.dumps(line)
