import json
import logging
from collections.abc import Iterator

import pytest

from server.telemetry.context import CURRENT, CallContext
from server.telemetry.logs import JsonFormatter, Pseudonyms, RateLimit, TextFormatter, set_up, tell_of_loop
from server.wire.call import Call

SECRET = "anna@example.com"


@pytest.fixture
def call() -> Iterator[CallContext]:
    context = CallContext(Call((("x-request-id", "r-1"),)))
    token = CURRENT.set(context)
    yield context
    CURRENT.reset(token)


def record(message: str = "it is %s", *arguments: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("server.test", logging.WARNING, "file.py", 1, message, arguments or ("so",), None)
    made.__dict__ |= more
    return made


def failing_record() -> logging.LogRecord:
    try:
        try:
            int(SECRET)
        except ValueError as error:
            raise KeyError(SECRET) from error
    except KeyError as error:
        made = record()
        made.exc_info = (type(error), error, error.__traceback__)
    return made


def test_line_is_an_object_with_time_level_event_and_what_else_there_is() -> None:
    line = json.loads(JsonFormatter().format(record(created=1_700_000_000.25, fields={"code": "OK", "n": 3})))

    assert line == {
        "time": "2023-11-14T22:13:20.250000Z",
        "level": "warning",
        "logger": "server.test",
        "event": "it is so",
        "code": "OK",
        "n": 3,
    }


def test_event_of_several_lines_stays_on_one() -> None:
    assert "\n" not in JsonFormatter().format(record("a\nb %s", "c\nd"))


def test_lines_of_a_call_have_its_request_id(call: CallContext) -> None:
    assert json.loads(JsonFormatter().format(record()))["request_id"] == "r-1"
    assert TextFormatter().format(record()).endswith("WARNING server.test it is so request_id=r-1")


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_exception_is_told_by_types_and_places_and_not_by_what_it_says(formatter: logging.Formatter) -> None:
    text = formatter.format(failing_record())

    assert "KeyError at " in text
    assert "ValueError at " in text
    assert "test_logs.py" in text
    assert SECRET not in text


def test_exceptions_that_go_round_in_a_circle_end() -> None:
    first, second = ValueError(), KeyError()
    first.__context__, second.__context__ = second, first

    assert TextFormatter().formatException((ValueError, first, None)).splitlines() == ["ValueError", "KeyError"]


def test_level_is_for_our_own_lines_and_never_below_info_for_others() -> None:
    root = logging.getLogger()
    before = [(logger, logger.level) for logger in (root, logging.getLogger("server"), logging.getLogger("opportune"))]
    formatters = [(handler, handler.formatter) for handler in root.handlers]
    try:
        set_up("json", "debug")

        assert logging.getLogger("server.any").isEnabledFor(logging.DEBUG)
        assert not logging.getLogger("aiosqlite").isEnabledFor(logging.DEBUG)
        assert not logging.getLogger("urllib3").isEnabledFor(logging.DEBUG)
        assert all(isinstance(handler.formatter, JsonFormatter) for handler in root.handlers)
    finally:
        for logger, level in before:
            logger.setLevel(level)
        for handler, formatter in formatters:
            handler.setFormatter(formatter)


def test_what_nobody_caught_on_the_loop_is_told_without_its_arguments(caplog: pytest.LogCaptureFixture) -> None:
    tell_of_loop(None, {"message": f"Task {SECRET}", "exception": ValueError(SECRET), "task": SECRET})

    (told,) = caplog.records
    assert SECRET not in TextFormatter().format(told)
    assert "ValueError" in TextFormatter().format(told)


def test_pseudonym_depends_on_identifier_and_key() -> None:
    first, second = Pseudonyms(b"one"), Pseudonyms(b"two")

    assert first("c:1") == Pseudonyms(b"one")("c:1")
    assert len({first("c:1"), first("c:2"), second("c:1")}) == 3
    assert len(first("c:1")) == 16


def test_lines_of_a_kind_are_limited_and_the_rest_is_counted_with_the_next() -> None:
    now_s = 0.0
    limit = RateLimit(2, 10.0, lambda: now_s)

    taken = [limit.take("a") for _ in range(5)]
    other = limit.take("b")
    now_s = 10.0

    assert taken == [0, 0, None, None, None]
    assert other == 0
    assert limit.suppressed == 3
    assert limit.take("a") == 3
    assert limit.take("a") == 0
