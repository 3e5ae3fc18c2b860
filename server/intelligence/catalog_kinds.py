"""What entries of the catalog file are made of: names, texts, numbers, times and durations, each with its limits."""

import re
from datetime import UTC, date, datetime, time
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from server.domain.identifier import ID_PATTERN


class Entry(BaseModel):
    """What an entry may not say is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


def to_time(value: object) -> object:
    """A date or time, of UTC unless it says otherwise."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("is not a date or time such as 2017-08-01 or 2017-08-01T09:00:00Z") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def to_tuple(value: object) -> object:
    """One entry, or a list of them."""
    return tuple(value) if isinstance(value, list) else (value,)


def to_milliseconds(value: object) -> object:
    """The milliseconds of a duration."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is not a duration such as 150ms or 0.5s")
    return float(match[1]) * (1_000 if match[2] == "s" else 1)


def to_days(value: object) -> object:
    """The days of a duration."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(d|h)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is not a duration such as 30d or 12h")
    return float(match[1]) / (24 if match[2] == "h" else 1)


_UNITS_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def to_microseconds(value: object) -> object:
    """The microseconds of a duration."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is not a duration such as 30d, 12h, 15m or 30s")
    return round(float(match[1]) * _UNITS_US[match[2]])


def to_minutes(value: object) -> object:
    """The minutes since midnight of a time of day. YAML 1.1 reads 21:00 without quotes as the number 1260."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1440:
        return value
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)|24:00", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('is not a time of day such as "21:30"')
    return 1440 if match[1] is None else int(match[1]) * 60 + int(match[2])


Id = Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Time = Annotated[datetime | None, BeforeValidator(to_time)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-3.4e38, le=3.4e38)]
Amount = Annotated[float, Field(allow_inf_nan=False, ge=0)]
Condition = Annotated[str, StringConstraints(max_length=65_536)]
