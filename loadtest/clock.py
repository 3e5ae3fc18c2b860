"""Time for the load generators: a port, and a clock that wakes within tens of microseconds.

Event loops round timers up to a millisecond, which would be added to every latency that is counted from the
intended send time. A timerfd (timerfd_create(2)) has no such step.
"""

import asyncio
import ctypes
import os
import time
from typing import Protocol

CLOCK_MONOTONIC = 1
TFD_TIMER_ABSTIME = 1


class Clock(Protocol):
    """Seconds from an arbitrary origin, and sleeping until one of them."""

    def now(self) -> float:
        """The time."""
        ...

    async def sleep_until(self, due: float) -> None:
        """Returns at `due`; if that is past, after everything that is ready has had its turn."""
        ...


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("due", _Timespec))


class PreciseClock:
    """The monotonic clock. One sleeper at a time; must be made on a running loop."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._loop = asyncio.get_running_loop()
        self._timer = self._libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._sleeper: asyncio.Future[None] | None = None
        self._loop.add_reader(self._timer, self._wake)

    def now(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    async def sleep_until(self, due: float) -> None:
        """Sleeps on the timer, or only lets others run."""
        if due <= time.monotonic():
            await asyncio.sleep(0)
            return
        seconds, fraction = divmod(due, 1)
        setting = _Timer(due=_Timespec(int(seconds), int(fraction * 1e9)))
        self._sleeper = self._loop.create_future()
        self._libc.timerfd_settime(self._timer, TFD_TIMER_ABSTIME, ctypes.byref(setting), None)
        await self._sleeper

    def _wake(self) -> None:
        os.read(self._timer, 8)
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def close(self) -> None:
        """Gives the timer back."""
        self._loop.remove_reader(self._timer)
        os.close(self._timer)
