"""A circuit keeps a model that fails from being called, and tries it again now and then.

A run blocks the event loop, so what counts is not only how often a model failed but how much of everybody's time it
took: the circuit opens after three failures in a row, or as soon as failures in a row have taken 25 ms. One run that is
cut off after 25 ms is enough; a single cut-off of a caller in a great hurry takes the model from nobody.
"""

from enum import IntEnum

FAILURES = 3
LOST_NS = 25_000_000
FIRST_PAUSE_NS = 1_000_000_000
LONGEST_PAUSE_NS = 60_000_000_000


class CircuitState(IntEnum):
    """Whether the model is called: always, never, or once to see whether it works again."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Circuit:
    """Times are of any monotonic clock in nanoseconds. Runs are inline, so at most one trial goes on at a time.

    Attributes:
        failures: How many failures there were.
        cut_offs: How many of them were runs that took too long and were ended; whoever calls the model counts them.
        opened_count: How often the circuit opened; failed trials do not count again.
    """

    __slots__ = ("_in_a_row", "_lost_ns", "_pause_ns", "_retry_ns", "cut_offs", "failures", "opened_count")

    def __init__(self) -> None:
        self.failures = 0
        self.cut_offs = 0
        self.opened_count = 0
        self._in_a_row = 0
        self._lost_ns = 0
        self._pause_ns = 0
        self._retry_ns = 0

    @property
    def open(self) -> bool:
        """Whether it is not closed, be it that the next call is a trial."""
        return self._pause_ns > 0

    def state(self, now_ns: int) -> CircuitState:
        """The state; HALF_OPEN means that the next call is a trial."""
        if not self._pause_ns:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now_ns < self._retry_ns else CircuitState.HALF_OPEN

    def enter(self, now_ns: int) -> bool:
        """Whether the model may be called now. If it is a trial, nobody else gets one before its result or a pause."""
        if not self._pause_ns:
            return True
        if now_ns < self._retry_ns:
            return False
        self._retry_ns = now_ns + self._pause_ns
        return True

    def succeeded(self) -> None:
        """The call went well: closes the circuit."""
        if self._in_a_row:
            self._in_a_row = self._lost_ns = self._pause_ns = 0

    def failed(self, now_ns: int, lost_ns: int) -> None:
        """The call failed and took so long; a failed trial doubles the pause, to a minute at most."""
        self.failures += 1
        self._in_a_row += 1
        self._lost_ns += lost_ns
        if self._pause_ns:
            self._pause_ns = min(2 * self._pause_ns, LONGEST_PAUSE_NS)
        elif self._in_a_row >= FAILURES or self._lost_ns >= LOST_NS:
            self.opened_count += 1
            self._pause_ns = FIRST_PAUSE_NS
        self._retry_ns = now_ns + self._pause_ns
