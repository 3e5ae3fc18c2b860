"""Log lines: the standard library's, as JSON or text, each with the id of the request that it is about.

Not structlog: a line of it costs no less (20 us), and this keeps every existing line working with no package more.
What an exception says is not in a line, as it may repeat what it was given: a line has its type, and where it was.
"""

import hashlib
import json
import logging
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

from server.telemetry.context import CURRENT

Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Formatter(logging.Formatter):
    def formatException(self, ei: Raised) -> str:  # noqa: N802 - the standard library's name
        """Types and places of an exception and of what it came of."""
        lines, error, seen = [], ei[1], set[int]()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            frames = traceback.extract_tb(error.__traceback__)
            lines += [f"{type(error).__name__} at {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
            lines += [] if frames else [type(error).__name__]
            error = error.__cause__ or error.__context__
        return "\n".join(lines)


class TextFormatter(_Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        # What another handler has made of the exception is kept in the record, and may have everything in it.
        record.exc_text = None
        text = super().format(record)
        record.exc_text = None
        return text

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        """The message, and behind it what else is known."""
        return " ".join(
            [super().formatMessage(record), *(f"{name}={value}" for name, value in _fields(record).items())]
        )


class JsonFormatter(_Formatter):
    """A JSON object in a line: time, level, logger, event, request_id, and what else the event has."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        seconds, microseconds = divmod(int(record.created * 1e6), 1_000_000)
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{microseconds:06}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    context = CURRENT.get()
    request: dict[str, Any] = {} if context is None else {"request_id": context.request_id}
    return request | getattr(record, "fields", {})


def set_up(form: Literal["json", "text"], level: str) -> None:
    """Has all handlers write lines of a form, from a level on.

    Libraries do not go below INFO, whatever the level: what they tell in detail is not ours to promise.
    """
    formatter = JsonFormatter() if form == "json" else TextFormatter()
    root = logging.getLogger()
    for handler in root.handlers:
        handler.setFormatter(formatter)
    number = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(number, logging.INFO))
    for name in ("server", "opportune"):
        logging.getLogger(name).setLevel(number)


def tell_of_loop(loop: Any, context: dict[str, Any]) -> None:
    """Logs what nobody has caught on the event loop, without what it says; for `loop.set_exception_handler`."""
    error = context.get("exception")
    # The loop's own message may show the task with its arguments.
    raised = None if error is None else (type(error), error, error.__traceback__)
    logging.getLogger(__name__).error("nobody waited for what failed on the event loop", exc_info=raised)


class Pseudonyms:
    """Stands for identifiers in log lines: a keyed hash, so that nobody finds out whom by trying."""

    def __init__(self, key: bytes) -> None:
        """`key` is secret, and up to 64 bytes long."""
        self._key = key

    def __call__(self, identifier: str) -> str:
        """16 hexadecimal digits, the same for the same identifier and key."""
        return hashlib.blake2b(identifier.encode(), key=self._key, digest_size=8).hexdigest()


class RateLimit:
    """Lets so many lines of a kind through in a window, and counts the rest."""

    def __init__(self, lines: int, window_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines = lines
        self._window_s = window_s
        self._clock = clock
        self._windows: dict[object, list[float]] = {}
        self.suppressed = 0

    def take(self, kind: object) -> int | None:
        """None if the line is to be left out; else how many of its kind were since the last one."""
        now_s = self._clock()
        window = self._windows.get(kind)
        if window is None or now_s - window[0] >= self._window_s:
            left_out = 0 if window is None else int(window[2])
            self._windows[kind] = [now_s, 1, 0]
            return left_out
        if window[1] < self._lines:
            window[1] += 1
            return 0
        window[2] += 1
        self.suppressed += 1
        return None
