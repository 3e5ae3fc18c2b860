import gc

from server.telemetry.heartbeat import EVERY_S, Heartbeat
from server.telemetry.loop_watch import WINDOW_NS, GcWatch, LoopWatch

MS = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Beats:
    """A heart that beats by hand."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * MS
        self.heartbeat = Heartbeat(lambda: self.now_ns)
        self.watch = LoopWatch(self.heartbeat)
        self.heartbeat.beat()

    def beat(self, late_ns: int, after_ns: int = 0) -> None:
        """Beats late, or on time after a long while."""
        if after_ns:
            self.now_ns += after_ns
            self.heartbeat._due_ns = self.now_ns
        else:
            self.now_ns += int(EVERY_S * 1e9)
        self.now_ns += late_ns
        self.heartbeat.beat()


def test_lateness_of_each_beat_is_counted() -> None:
    beats = Beats()

    for late_ns in (0, 3 * MS, 200 * MS):
        beats.beat(late_ns)

    assert beats.watch.lag_s.count == 4
    assert abs(beats.watch.lag_s.sum - 0.203) < 1e-9
    assert abs(beats.watch.longest_s - 0.2) < 1e-9


def test_longest_block_is_forgotten_after_two_windows() -> None:
    beats = Beats()
    beats.beat(500 * MS)

    beats.beat(100 * MS, after_ns=WINDOW_NS)
    still = beats.watch.longest_s
    beats.beat(0, after_ns=WINDOW_NS)

    assert abs(still - 0.5) < 1e-9
    assert abs(beats.watch.longest_s - 0.1) < 1e-9


def test_idle_time_begins_anew_with_each_beat() -> None:
    beats = Beats()

    beats.now_ns += 7_000 * MS
    idle_s = beats.heartbeat.idle_s()
    beats.heartbeat.beat()

    assert (idle_s, beats.heartbeat.idle_s()) == (7, 0)


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
