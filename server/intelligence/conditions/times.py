"""Reads the texts of `timestamp("…")` and `duration("…")`, as microseconds.

Microseconds since 1970 are whole numbers that float64 holds exactly for 285 years, so sums and differences of times
are exact, and a comparison at its very bound is decided right; days would not be.
"""

import re
from datetime import UTC, datetime
from fractions import Fraction

from server.domain.clock import microseconds_of
from server.intelligence.conditions.suggestions import suggestion

MAX_DURATION_US = 2.0**63 / 1_000
"""CEL's durations are 64-bit counts of nanoseconds: about 292 years."""

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DURATION = re.compile(r"([+-]?)((?:(?:\d+\.?\d*|\.\d+)[A-Za-zµ]+)+)", re.ASCII)
_AMOUNT = re.compile(r"(\d+\.?\d*|\.\d+)([A-Za-zµ]+)", re.ASCII)
_UNITS_US = {
    "ns": Fraction(1, 1_000),
    "us": Fraction(1),
    "ms": Fraction(1_000),
    "s": Fraction(1_000_000),
    "m": Fraction(60_000_000),
    "h": Fraction(3_600_000_000),
}
_INSTEAD = {"d": "a day is 24h", "w": "a week is 168h", "µs": "write us", "days": "a day is 24h", "weeks": "write 168h"}


def timestamp_us(text: str) -> float:
    """Microseconds since 1970.

    Raises:
        ValueError: the text is not a time of RFC 3339; the message says what is.
    """
    try:
        if not _TIMESTAMP.fullmatch(text):
            raise ValueError
        time = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("a timestamp is written like 2026-01-31T18:30:00Z or 2026-01-31T18:30:00+01:00") from None
    return float(microseconds_of(time))


def duration_us(text: str) -> float:
    """Microseconds.

    Raises:
        ValueError: the text is not a duration, has a unit that does not exist, or is longer than 292 years.
    """
    if text in ("0", "+0", "-0"):
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("a duration is written like 36h, 1h30m or -1.5s; units are h, m, s, ms, us and ns")
    total = sum((Fraction(amount) * _unit(unit) for amount, unit in _AMOUNT.findall(match[2])), Fraction(0))
    if total >= MAX_DURATION_US:
        raise ValueError("a duration is at most 292 years, 2,562,047h")
    return float(-total if match[1] == "-" else total)


def _unit(unit: str) -> Fraction:
    if unit in _UNITS_US:
        return _UNITS_US[unit]
    hint = f"; {_INSTEAD[unit]}" if unit in _INSTEAD else suggestion(unit, _UNITS_US)
    raise ValueError(f"unknown unit {unit}{hint or '; units are h, m, s, ms, us and ns'}")
