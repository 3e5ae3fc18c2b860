"""Has a process stand back behind those that somebody waits for (sched(7), sched_setattr(2))."""

import ctypes
import os
import platform
import struct
import sys
from contextlib import suppress

NICE = 10
"""How far such a process stands back: where the server takes a whole core, a tenth is left to it.

So an operator who publishes a catalog to a busy server is answered; at idle priority that would wait for the night.
"""

SLICE_NS = 10_000_000
"""How long it goes on once it has a core, if everybody else is content to wait.

A process with a longer slice makes way at once for one with a shorter slice that wakes up (Linux 6.12 and later). With
the usual slice, threads that wake up for a call or its answer would wait until it is over, 3 to 4 ms each time.
"""

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""`struct sched_attr`: size, policy, flags, nice, priority, runtime (here the slice), deadline, period."""


def stand_back(pid: int) -> None:
    """Has a process give way from now on. On an older kernel, or where it is not allowed, it is only nice.

    Where there are several cores it keeps off the first, so that there always is one where it does not have to.

    Raises:
        OSError: there is no such process, or it may not be changed.
    """
    os.setpriority(os.PRIO_PROCESS, pid, NICE)
    if sys.platform != "linux":
        return
    _, *others = sorted(os.sched_getaffinity(0))
    if others:
        with suppress(OSError):
            os.sched_setaffinity(pid, others)
    call = _SCHED_SETATTR.get(platform.machine())
    if call is not None:
        attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, NICE, 0, SLICE_NS, 0, 0)
        ctypes.CDLL(None).syscall(call, pid, attributes, 0)
