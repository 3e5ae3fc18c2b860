"""What every scenario says beside its figures, so that a reader can trust them, or not."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from loadtest.machine import machine


class Measured(Protocol):
    """Figures that know how disturbed their windows were."""

    @property
    def steal_percent(self) -> float:
        """The most that the hypervisor took in any window."""
        ...

    @property
    def others_percent(self) -> float:
        """The most that other processes used in any window."""
        ...

    @property
    def errors(self) -> Counter[str]:
        """What failed, by status name."""
        ...


def now() -> str:
    """The time, for the field `started`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def setting(measured: Sequence[Measured], started: str) -> dict[str, object]:
    """Errors, disturbance, time and machine."""
    errors = sum((each.errors for each in measured), Counter[str]())
    return {
        "errors": errors.total(),
        "errors_by_code": dict(errors),
        "steal_percent": max(each.steal_percent for each in measured),
        "others_percent": max(each.others_percent for each in measured),
        "started": started,
        "machine": machine(),
    }
