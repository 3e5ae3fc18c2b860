import asyncio
import gc
from contextlib import suppress

from server.telemetry.loop_watch import EVERY_S, WINDOW_S, GcWatch, LoopWatch


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_lateness_of_each_turn_is_counted() -> None:
    clock = Clock()
    watch = LoopWatch(clock)

    for late_s in (0.0, 0.003, 0.2):
        due_s = clock.now_s + EVERY_S
        clock.now_s = due_s + late_s
        watch.turn(due_s)

    assert watch.lag_s.count == 3
    assert abs(watch.lag_s.sum - 0.203) < 1e-9
    assert abs(watch.longest_s - 0.2) < 1e-9


def test_longest_block_is_forgotten_after_two_windows() -> None:
    clock = Clock()
    watch = LoopWatch(clock)
    watch.turn(clock.now_s - 0.5)

    clock.now_s += WINDOW_S
    watch.turn(clock.now_s - 0.1)
    still = watch.longest_s
    clock.now_s += WINDOW_S
    watch.turn(clock.now_s)

    assert abs(still - 0.5) < 1e-9
    assert abs(watch.longest_s - 0.1) < 1e-9


def test_idle_time_begins_anew_with_each_turn() -> None:
    clock = Clock()
    watch = LoopWatch(clock)

    clock.now_s += 7
    idle_s = watch.idle_s()
    watch.turn(clock.now_s)

    assert (idle_s, watch.idle_s()) == (7, 0)


async def test_loop_is_watched_until_the_task_is_cancelled() -> None:
    watch = LoopWatch()
    task = asyncio.create_task(watch.run())

    while watch.lag_s.count < 2:
        await asyncio.sleep(EVERY_S / 10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert task.cancelled()


def test_runs_of_the_collector_are_timed_by_generation() -> None:
    clock = Clock()
    watch = GcWatch(clock)

    watch.noted("start", {"generation": 2})
    clock.now_s += 0.25
    watch.noted("stop", {"generation": 2})

    assert {labels: kept.sum for labels, kept in watch.pauses_s.read().items()} == {("2",): 0.25}


def test_collector_is_listened_to_from_start_to_stop() -> None:
    watch = GcWatch()
    watch.start()
    gc.collect()
    watch.stop()
    gc.collect()

    assert watch.pauses_s.of("2").count == 1
    assert watch.noted not in gc.callbacks
