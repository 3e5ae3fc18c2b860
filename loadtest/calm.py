"""Which windows count: those in which nobody else used the machine.

On a shared machine the same server can look ten times slower for a second. The kernel counts what the
hypervisor took (steal) and what other processes used, so disturbed windows are repeated, a bounded number of
times, and if calm never comes the calmest are taken and the disturbance is reported. A window in which calls failed
always counts: a busy machine is no excuse for that.
"""

from collections.abc import Callable, Sequence

from loadtest.target import Window

STEAL_PERCENT_MAX = 2.0
OTHERS_PERCENT_MAX = 5.0


def in_turn(measures: Sequence[Callable[[], Window]], wanted: int, rounds_max: int) -> list[list[Window]]:
    """Runs all measures in turn until each has so many calm windows; returns the windows that count."""
    taken: list[list[Window]] = [[] for _ in measures]
    for _ in range(rounds_max):
        for windows, measure in zip(taken, measures, strict=True):
            windows.append(measure())
        if all(sum(map(is_calm, windows)) >= wanted for windows in taken):
            break
    return [calmest(windows, wanted) for windows in taken]


def calmest(windows: Sequence[Window], wanted: int) -> list[Window]:
    """All calm windows, or if they are too few the calmest; and all in which calls failed."""
    failed = [window for window in windows if window.errors]
    rest = [window for window in windows if not window.errors]
    calm = [window for window in rest if is_calm(window)]
    if len(calm) + len(failed) < wanted:
        calm = sorted(rest, key=lambda window: window.steal_percent + window.others_percent)[: wanted - len(failed)]
    return [*calm, *failed]


def is_calm(window: Window) -> bool:
    """Whether the window counts without a second thought."""
    return window.steal_percent <= STEAL_PERCENT_MAX and window.others_percent <= OTHERS_PERCENT_MAX
