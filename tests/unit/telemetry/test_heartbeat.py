import pytest

from server.telemetry.heartbeat import EVERY_S, Heartbeat

EVERY_NS = int(EVERY_S * 1e9)


class Clock:
    def __init__(self) -> None:
        self.now_ns = 1_000

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def beats(heartbeat: Heartbeat, clock: Clock, *lags_ns: int) -> None:
    for lag_ns in lags_ns:
        clock.now_ns += EVERY_NS + lag_ns
        heartbeat.beat()


def test_one_late_turn_is_a_hiccup_and_three_are_lag(clock: Clock) -> None:
    heartbeat = Heartbeat(clock)
    heartbeat.beat()

    beats(heartbeat, clock, 0, 50, 0)
    hiccup = heartbeat.lag_ns
    beats(heartbeat, clock, 70, 50, 60)

    assert (hiccup, heartbeat.lag_ns) == (0, 50)


def test_watchers_see_every_lag(clock: Clock) -> None:
    heartbeat, seen = Heartbeat(clock), list[int]()
    heartbeat.watchers.append(seen.append)
    heartbeat.beat()

    beats(heartbeat, clock, 5, 0, 7)

    assert seen == [0, 5, 0, 7]


def test_last_turn_is_known(clock: Clock) -> None:
    heartbeat = Heartbeat(clock)

    beats(heartbeat, clock, 3)

    assert heartbeat.last_ns == clock.now_ns
