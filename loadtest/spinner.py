"""One idle-priority spinner per core, so that no core ever sleeps while something is measured.

On a virtual machine a core that goes idle is given away, and getting it back takes milliseconds that are then
blamed on the server. A SCHED_IDLE loop keeps it, and any other process takes it at once (sched(7)).

Only for open loops on a machine that loses cores: where none were lost, a scheduler that saw both cores taken by
spinners put server and generator on one of them, which cost a third of the rate and trebled the p99.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

from loadtest.children import child


@contextlib.contextmanager
def spinners() -> Iterator[None]:
    """Spins on every core that this process may use, until the block ends."""
    with contextlib.ExitStack() as stack:
        for core in sorted(os.sched_getaffinity(0)):
            stack.enter_context(child(["-m", "loadtest.spinner", str(core)]))
        yield


def spin(core: int) -> None:
    """Spins on one core at the lowest priority, for ever."""
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass


if __name__ == "__main__":
    spin(int(sys.argv[1]))
