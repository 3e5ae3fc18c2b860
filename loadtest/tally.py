"""What came of the calls of one window."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

OK = "OK"

Send = Callable[[bytes], Awaitable[str]]
"""Sends one serialised request and returns the name of the gRPC status; it does not raise."""


@dataclass(slots=True)
class Tally:
    """Calls by status name, and how long the window took."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def calls(self) -> int:
        """All calls, failed ones included."""
        return self.statuses.total()
