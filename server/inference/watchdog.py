"""Ends model runs that go on past their limit, between two nodes of the graph: a single node cannot be interrupted.

Runs happen on the event loop's thread, which lets go of the GIL meanwhile, so another thread can end them. That thread
must not be felt: a run only notes its deadline (plain writes, no lock), and the thread looks at the notes now and then.
It naps as long as the shortest limit of late, so every run is seen before its deadline and then awaited to the
millisecond. Only limits below the finest nap may be overstepped, by that nap at most. Without any runs it sleeps.
"""

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from time import monotonic_ns

from onnxruntime import RunOptions

FINEST_NAP_NS = 10_000_000
"""The shortest nap, and so the most that a run goes on past its limit, apart from the node that it is in."""

COARSEST_NAP_NS = 50_000_000
_LOOKS = 20
_ASLEEP_NS = 1 << 62


class Deadlines:
    """The runs that are going on, and how often to look at them. Any number of threads may begin and end runs."""

    def __init__(self, clock_ns: Callable[[], int] = monotonic_ns) -> None:
        """No runs; `clock_ns` is monotonic."""
        self._clock_ns = clock_ns
        self._running: dict[RunOptions, int] = {}
        self._unused: list[RunOptions] = []
        self._nap_ns = _ASLEEP_NS
        self._shortest_ns = COARSEST_NAP_NS
        self._ran = False
        self._looks = _LOOKS

    def begin(self, limit_ns: int) -> RunOptions:
        """Options for a run that begins now and may take so long; never ones that were ended, as they stay so."""
        options = self._unused.pop() if self._unused else RunOptions()
        self._running[options] = self._clock_ns() + limit_ns
        self._ran = True
        if limit_ns < self._nap_ns:
            self._hurry(limit_ns)
        return options

    def end(self, options: RunOptions) -> bool:
        """Must be called after the run; whether it was told to end."""
        if self._running.pop(options, None) is None:
            return True
        # Whoever takes options out of the dict has them for itself: these will not be told to end any more.
        self._unused.append(options)
        return False

    def look(self) -> float | None:
        """Ends the runs that are past their limits.

        Returns:
            Seconds until the next look; None: when a run begins, which will call `_wake`.
        """
        self._looks -= 1
        if self._looks < 0 and not self._begin_window():
            return None
        # Written before the runs are read: a run that begins in between finds the new nap too long for it, or is read.
        self._nap_ns = nap_ns = max(FINEST_NAP_NS, self._shortest_ns)
        now_ns = self._clock_ns()
        # A copy of a dict is atomic, iterating over it is not.
        for options, deadline_ns in self._running.copy().items():
            if deadline_ns > now_ns:
                nap_ns = min(nap_ns, deadline_ns - now_ns)
            elif self._running.pop(options, None) is not None:
                options.terminate = True
        return nap_ns / 1e9

    def _begin_window(self) -> bool:
        """Forgets the shortest limit every so many looks; False if nothing ran since the last time."""
        self._looks = _LOOKS
        self._shortest_ns = COARSEST_NAP_NS
        # Also written first: a run that begins in between finds the watchdog asleep, or is seen here.
        self._nap_ns = _ASLEEP_NS
        if not self._ran and not self._running:
            return False
        self._ran = False
        return True

    def _hurry(self, limit_ns: int) -> None:
        """Shortens the naps for a limit that is shorter than the nap of now."""
        self._shortest_ns = min(limit_ns, self._shortest_ns)
        if self._nap_ns > FINEST_NAP_NS:
            self._nap_ns = FINEST_NAP_NS
            self._wake()

    def _wake(self) -> None:
        """Has `look` called at once."""


class Watchdog(Deadlines):
    """Looks from a thread of its own, which begins with the first run and ends with the watchdog."""

    def __init__(self) -> None:
        super().__init__()
        # A bare lock as the bell, locked until it rings: a nap is one call, where an Event takes a dozen.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._thread: threading.Thread | None = None
        weakref.finalize(self, _ring, self._bell).atexit = False

    def _wake(self) -> None:
        if self._thread is None:
            arguments = (weakref.ref(self), self._bell)
            self._thread = threading.Thread(target=_watch, args=arguments, name="watchdog", daemon=True)
            self._thread.start()
        _ring(self._bell)


def _ring(bell: threading.Lock) -> None:
    # It may be ringing already.
    with suppress(RuntimeError):
        bell.release()


def _watch(kept: "weakref.ref[Watchdog]", bell: threading.Lock) -> None:
    """Looks until nobody keeps the watchdog any more, without keeping it during naps."""
    while (watchdog := kept()) is not None:
        nap_s = watchdog.look()
        del watchdog
        bell.acquire(timeout=-1 if nap_s is None else nap_s)
