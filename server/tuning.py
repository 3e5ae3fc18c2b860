"""Tunes the interpreter for a server: how threads take turns, and what the garbage collector walks."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH_INTERVAL_S = 0.0005
"""How long a thread that wants the GIL waits before it asks for it.

Wherever the loop is busy with something else than calls, as taking in a new catalog, the thread that receives calls
waits this long for its turn, for each batch. The interpreter's own 5 ms are longer than most decisions take.
"""

_THRESHOLDS = (2_000, 10, 50)
"""Objects that came and stayed before the youngest are walked, and how many such walks before the older ones are.

A request makes some hundred objects without cycles, and they go with it: the default of 700 would walk for nothing.
With tens of thousands, a single walk would hold up everybody for 10 to 20 ms.
"""


@contextmanager
def without_collector() -> Iterator[None]:
    """For reading millions of entries and pages, none of them in a cycle. `tune` ends it, or else the block."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def tune() -> None:
    """Called once, when everything that lives as long as the server is there."""
    gc.collect()
    keep()
    gc.enable()
    gc.set_threshold(*_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def keep() -> None:
    """What is alive now lives long and is not walked again. Without cycles it still goes with its last reference."""
    gc.freeze()
