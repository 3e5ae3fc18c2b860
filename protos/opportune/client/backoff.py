"""How long to wait before the next attempt."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential, capped, with full jitter: uniform between nothing and the ceiling, so that clients spread out.

    Attributes:
        base_s: the ceiling of the first wait; it doubles with each attempt.
        cap_s: what no ceiling exceeds.
        random: gives numbers in [0, 1).
    """

    base_s: float = 0.1
    cap_s: float = 30.0
    random: Callable[[], float] = random.random

    def delay_s(self, attempt: int, at_least_s: float = 0.0) -> float:
        """The wait before an attempt, counted from 0.

        `at_least_s` is what the server asked for. The jitter comes on top: it asks all its clients for the same.
        """
        # Beyond 2**64 every ceiling is the cap, and a float would overflow some time.
        ceiling_s = min(self.cap_s, self.base_s * 2.0 ** min(attempt, 64))
        return at_least_s + self.random() * ceiling_s
