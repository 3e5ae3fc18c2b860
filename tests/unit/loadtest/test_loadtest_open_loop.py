"""The open loop against a server in virtual time: nothing here waits, and nothing depends on the machine."""

import asyncio
import itertools
import selectors
from collections.abc import Coroutine
from typing import Any

import numpy as np

from loadtest.closed_loop import closed_loop
from loadtest.latency import Latencies
from loadtest.open_loop import OpenLoop, poisson
from loadtest.tally import Tally

PAYLOADS = [b"one", b"two"]


class VirtualSelector(selectors.SelectSelector):
    """Instead of waiting it moves the time on."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose hours pass in microseconds."""

    def __init__(self) -> None:
        self.virtual = VirtualSelector()
        super().__init__(self.virtual)

    def time(self) -> float:
        return self.virtual.now


class VirtualClock:
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep_until(self, due: float) -> None:
        await asyncio.sleep(max(0.0, due - self.now()))


class Server:
    """Answers one call after the other, each in 1 ms, but for one stall during which nothing is answered."""

    def __init__(self, stall_at: float = -1.0, stall_s: float = 0.0, status: str = "OK") -> None:
        self._free_at = 0.0
        self._stall_at, self._stall_s = stall_at, stall_s
        self._status = status
        self._clock = VirtualClock()

    async def send(self, payload: bytes) -> str:
        start = max(self._clock.now(), self._free_at)
        if 0 <= self._stall_at <= start:
            start, self._stall_at = start + self._stall_s, -1.0
        self._free_at = start + 0.001
        await self._clock.sleep_until(self._free_at)
        return self._status


def in_virtual_time(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main)


def open_loop(server: Server, due: list[float], warm_up_s: float = 0.0) -> OpenLoop:
    loop = OpenLoop(server.send, VirtualClock(), warm_up_s)
    in_virtual_time(loop.run(itertools.cycle(PAYLOADS), due))
    return loop


def every_10_ms(seconds: int) -> list[float]:
    return [index / 100 for index in range(100 * seconds)]


def test_calm_server_shows_its_service_time_at_every_percentile() -> None:
    latencies = open_loop(Server(), every_10_ms(10)).latencies

    assert latencies.count == 1_000
    np.testing.assert_allclose([latencies.percentile_ms(50), latencies.percentile_ms(99.9)], 1, rtol=0.01)


def test_stall_is_charged_for_every_request_that_was_due_during_it() -> None:
    latencies = open_loop(Server(stall_at=5.0, stall_s=1.0), every_10_ms(10)).latencies

    # A stall of 1 s in 10 s keeps a tenth of the requests waiting, evenly from 1 s down to nothing: the slowest
    # percent waits 0.9 s or more. A closed loop would have sent one request and reported one slow answer.
    np.testing.assert_allclose(latencies.percentile_ms(50), 1, rtol=0.01)
    np.testing.assert_allclose(latencies.percentile_ms(95), 550, rtol=0.05)
    assert latencies.percentile_ms(99) > 850
    assert latencies.percentile_ms(99.9) > 950


def test_requests_leave_when_they_are_due_although_earlier_ones_wait() -> None:
    loop = open_loop(Server(stall_at=5.0, stall_s=1.0), every_10_ms(10))

    assert loop.tally.calls == 1_000
    assert loop.lateness.percentile_ms(100) < 1


def test_requests_of_the_warm_up_are_sent_and_counted_but_their_latency_is_not() -> None:
    loop = open_loop(Server(stall_at=0.1, stall_s=0.2), every_10_ms(10), warm_up_s=1.0)

    assert (loop.tally.calls, loop.latencies.count) == (1_000, 900)
    np.testing.assert_allclose(loop.latencies.percentile_ms(100), 1, rtol=0.01)


def test_failures_are_counted_by_their_status() -> None:
    loop = open_loop(Server(status="UNAVAILABLE"), every_10_ms(1))

    assert loop.tally.statuses == {"UNAVAILABLE": 100}


def test_arrivals_are_a_poisson_process_of_the_rate_and_the_same_for_the_same_seed() -> None:
    due = np.array(poisson(1_000, 20, seed=3))
    gaps = np.diff(due)

    assert due.tolist() == poisson(1_000, 20, seed=3)
    assert len(due) == 20_000
    np.testing.assert_allclose([gaps.mean(), gaps.std()], 0.001, rtol=0.05)


def test_closed_loop_waits_for_answers_and_so_measures_the_rate() -> None:
    tallies: list[Tally] = []

    async def main() -> None:
        window = closed_loop(Server().send, itertools.cycle(PAYLOADS), callers=4, seconds=2, clock=VirtualClock())
        tallies.append(await window)

    in_virtual_time(main())

    np.testing.assert_allclose(tallies[0].calls / tallies[0].seconds, 1_000, rtol=0.01)


def test_histograms_merge_after_crossing_between_processes() -> None:
    fast, slow = Latencies(), Latencies()
    for _ in range(99):
        fast.record(0.001)
    slow.record(1_000.0)

    merged = Latencies.merged([fast.encode(), slow.encode()])

    assert merged.count == 100
    np.testing.assert_allclose([merged.percentile_ms(50), merged.percentile_ms(100)], [1, 60_000], rtol=0.001)


def test_nothing_measured_is_no_latency() -> None:
    assert Latencies().percentile_ms(99) == 0
