"""Tunes the interpreter for a server: how threads take turns, and what the garbage collector walks."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SWITCH_INTERVAL_S = 0.0005
"""How long a thread that wants the GIL waits before it asks for it.

Wherever the loop is busy with something else than calls, as taking in a new catalog, the thread that receives calls
waits this long for its turn, for each batch. The interpreter's own 5 ms are longer than most decisions take.
"""

_THRESHOLDS = (10_000, 10, 50)
"""Objects that came and stayed before the interpreter walks them by itself, and how many such walks before older ones.

A `Sweep` comes long before it, but for what makes very many objects at once.
"""

_SWEEPS = (1, 1_000, 60_000)
"""Beats between two walks of each generation: 10 ms, 10 s and 10 min.

What a decision leaves behind, as its record, is a dozen objects that stay for a while. The interpreter counts what came
less what went, so where old records go as new ones come it walks fifteen thousand at a time, for 5 ms, and always
within a decision. A walk at every beat meets a hundred and takes a fiftieth of that.
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


class Sweep:
    """Walks the garbage collector's generations by the beats of a heartbeat: little, often, and between two calls."""

    def __init__(self, collect: Callable[[int], object] = gc.collect) -> None:
        """`collect` walks one generation and those that are younger."""
        self._collect = collect
        self._beats = 0

    def __call__(self, lag_ns: int) -> None:
        """The loop has had a turn; how late it came does not matter here."""
        self._beats += 1
        self._collect(max(generation for generation, beats in enumerate(_SWEEPS) if self._beats % beats == 0))
