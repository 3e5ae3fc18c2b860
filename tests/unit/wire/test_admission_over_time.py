"""A server and its callers by a clock that is set by hand: what admission is worth when far too much is asked."""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import pytest

from server.domain.errors import OpportuneError
from server.execution.pressure import TURN_NS, Pressure, Tier
from server.telemetry.heartbeat import Heartbeat
from server.wire.admission import Admission
from server.wire.call import Call
from server.wire.call_queue import CallQueue, WaitingCall

PATH = "/opportune.v1.DecisionService/RankOffers"
S, MS, US = 1_000_000_000, 1_000_000, 1_000
FULL_NS, CHEAP_NS, REFUSE_NS, EXPIRED_NS, SWITCH_NS = 400 * US, 280 * US, 15 * US, 15 * US, 50 * US
BATCH = 16
CAPACITY = S / FULL_NS


class Outcome(NamedTuple):
    """What callers got, by when they came."""

    good: list[int]
    late: list[int]
    refused: list[int]
    waits_ns: list[int]
    full: list[int]

    def rate(self, which: list[int], since_ns: int, until_ns: int) -> float:
        return sum(since_ns <= at < until_ns for at in which) * S / (until_ns - since_ns)


class Server:
    """What a transport does with calls, at what it costs; without admission, first come, first served."""

    def __init__(self, admitting: bool) -> None:
        self.now_ns = 0
        self.pressure = Pressure()
        heartbeat = Heartbeat(lambda: self.now_ns)
        self.admission = Admission(self.pressure, heartbeat, 1.0, clock_ns=lambda: self.now_ns, chance=Random(5).random)
        self.queue = CallQueue()
        self.outcome = Outcome([], [], [], [], [])
        self._admitting = admitting

    def run(self, arrivals: Iterator[int], deadline_ns: int) -> Outcome:
        """Serves calls that come at these times, to the last one."""
        coming = next(arrivals, None)
        while coming is not None or len(self.queue):
            if coming is not None and not len(self.queue):
                self.now_ns = max(self.now_ns, coming)
            while coming is not None and coming <= self.now_ns:
                self._take_in(coming, deadline_ns)
                coming = next(arrivals, None)
            self._turn(deadline_ns)
        return self.outcome

    def _take_in(self, came_ns: int, deadline_ns: int) -> None:
        wait_ns = self.queue.wait_ns(Tier.LIVE)
        left_s = (came_ns + deadline_ns - self.now_ns) / S
        if self._admitting and wait_ns and self.admission.entering(Tier.LIVE, left_s, wait_ns):
            self.now_ns += REFUSE_NS
            self.outcome.refused.append(came_ns)
            return
        self.queue.put(WaitingCall(self.now_ns, came_ns, 0, b"", (), "", left_s), Tier.LIVE)

    def _turn(self, deadline_ns: int) -> None:
        began_ns = self.now_ns
        calls: list[WaitingCall] = []
        while len(calls) < BATCH and self.now_ns - began_ns < TURN_NS and (call := self.queue.next()) is not None:
            if self._answer(call):
                calls.append(call)
        self.now_ns += SWITCH_NS
        if calls:
            self.queue.answered(len(calls), self.now_ns - began_ns)
        for call in calls:
            came_ns = call.call_id
            (self.outcome.good if self.now_ns - came_ns <= deadline_ns else self.outcome.late).append(came_ns)

    def _answer(self, call: WaitingCall) -> bool:
        waited_s = (self.now_ns - call.arrived_ns) / S
        assert call.time_left_s is not None
        left_s = call.time_left_s - waited_s
        if left_s <= 0:
            self.now_ns += EXPIRED_NS
            return False
        told_ns = None
        if self._admitting:
            try:
                self.admission(PATH, Call(time_left_s=left_s, waited_s=waited_s))
            except OpportuneError:
                self.now_ns += REFUSE_NS
                self.outcome.refused.append(call.call_id)
                return False
            told_ns = self.pressure.told_ns(self.now_ns)
        full = told_ns is None or told_ns > 1.2 * FULL_NS
        if full:
            self.outcome.full.append(call.call_id)
        self.outcome.waits_ns.append(self.now_ns - call.call_id)
        self.now_ns += FULL_NS if full else CHEAP_NS
        self.pressure.ranked(FULL_NS if full else CHEAP_NS, FULL_NS - CHEAP_NS if full else 0)
        return True


def poisson(rate: float, seconds: float, *, since_ns: int = 0, seed: int = 3) -> Iterator[int]:
    random, at = Random(seed), float(since_ns)
    while (at := at + random.expovariate(rate) * S) < since_ns + seconds * S:
        yield int(at)


def served(load: float, seconds: float = 4.0, *, admitting: bool = True, deadline_ms: int = 100) -> Outcome:
    return Server(admitting).run(poisson(load * CAPACITY, seconds), deadline_ms * MS)


@pytest.mark.parametrize(("load", "share"), [(1.0, 0.9), (2.0, 0.9), (4.0, 0.8)])
def test_goodput_stays_when_far_too_much_is_asked(load: float, share: float) -> None:
    outcome = served(load)

    good, late = (outcome.rate(each, S, 4 * S) for each in (outcome.good, outcome.late))
    assert good >= share * CAPACITY
    assert late <= 0.01 * good


def test_without_admission_goodput_collapses() -> None:
    outcome = served(4.0, admitting=False)

    assert outcome.rate(outcome.good, S, 4 * S) < 0.5 * CAPACITY


def test_load_that_can_be_served_is_served_in_full_and_nobody_is_refused() -> None:
    outcome = served(0.8)

    assert not outcome.refused
    assert len(outcome.full) == len(outcome.good)
    assert not outcome.late


def test_rungs_go_down_before_more_is_refused_than_must_be() -> None:
    outcome = served(1.2)

    assert outcome.rate(outcome.full, S, 4 * S) < 0.7 * CAPACITY
    assert outcome.rate(outcome.refused, S, 4 * S) < 0.05 * CAPACITY


def test_everything_is_as_before_within_two_seconds_after() -> None:
    server = Server(admitting=True)
    server.run(poisson(4 * CAPACITY, 3), 100 * MS)
    before = len(server.outcome.full)

    outcome = server.run(poisson(0.5 * CAPACITY, 3, since_ns=3 * S), 100 * MS)

    calm = [at for at in outcome.good if at >= 5 * S]
    assert len(outcome.full) > before
    assert set(calm) <= set(outcome.full)
    assert not [at for at in outcome.refused if at >= 3.5 * S]


def test_queue_is_short_when_it_cannot_be_worked_off() -> None:
    outcome = served(4.0)

    waits_ns = sorted(outcome.waits_ns[len(outcome.waits_ns) // 2 :])
    assert waits_ns[int(0.99 * len(waits_ns))] < 50 * MS


def test_patient_callers_are_not_hurried() -> None:
    outcome = served(0.95, deadline_ms=5_000)

    assert not outcome.refused
    assert len(outcome.full) == len(outcome.good)
