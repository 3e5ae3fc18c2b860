import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from server.domain.model import ModelFailure, ModelTimeout
from server.inference.model import load_model
from server.inference.watchdog import COARSEST_NAP_NS, FINEST_NAP_NS, Deadlines, Watchdog
from tests.support.models import ManualNs
from tests.support.onnx_files import Weights, graph, write_model

MS = 1_000_000
CUSTOMER = np.array([[2.0, 1.0]], np.float32)
NODES = 500


class Watched(Deadlines):
    """Deadlines on a manual clock that remember how often they were woken."""

    def __init__(self) -> None:
        self.clock = ManualNs()
        self.woken = 0
        super().__init__(self.clock)

    def _wake(self) -> None:
        self.woken += 1


def slow() -> onnx.ModelProto:
    """Gives what `linear()` gives, after some hundred nodes that take seconds for thousands of offers."""
    nodes = [
        helper.make_node("MatMul", ["customer", "wc"], ["c"]),
        # What depends on offers alone would be worked out in advance.
        helper.make_node("Mul", ["c", "nothing"], ["none"]),
        helper.make_node("MatMul", ["offer", "wide"], ["of_offers"]),
        helper.make_node("Add", ["of_offers", "none"], ["h0"]),
        *(helper.make_node("MatMul", [f"h{n}", "same"], [f"h{n + 1}"]) for n in range(NODES)),
        helper.make_node("MatMul", [f"h{NODES}", "narrow"], ["o"]),
        helper.make_node("Add", ["c", "o"], ["score"]),
    ]
    weights: Weights = {
        "wc": np.array([[1.0], [-1.0]], np.float32),
        "nothing": np.array(0, np.float32),
        "wide": np.ones((1, 256), np.float32),
        "same": np.eye(256, dtype=np.float32),
        "narrow": np.full((256, 1), 0.5 / 256, np.float32),
    }
    return graph(nodes, {"customer": [1, 2], "offer": ["N", 1]}, weights)


def test_slow_model_is_cut_off_and_scores_again_afterwards(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path, slow()))
    many = model.precompute({"offer": np.ones((4_000, 1), np.float32)})
    few = model.precompute({"offer": np.array([[1.0], [3.0]], np.float32)})

    for _ in range(2):
        with pytest.raises(ModelTimeout, match=r"tiny/1: cut off after 30\.0 ms"):
            model.run({"customer": CUSTOMER, **many}, 30 * MS)

    np.testing.assert_allclose(model.run({"customer": CUSTOMER, **few}), [1.5, 2.5], atol=1e-5)


def test_failure_within_the_limit_is_no_timeout(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path))

    with pytest.raises(ModelFailure) as failure:
        model.run({"customer": CUSTOMER})

    assert not isinstance(failure.value, ModelTimeout)


def test_run_is_ended_once_it_is_past_its_limit() -> None:
    deadlines = Watched()
    options = deadlines.begin(20 * MS)

    deadlines.clock.advance(ms=19)
    deadlines.look()
    before = options.terminate
    deadlines.clock.advance(ms=1)
    deadlines.look()

    assert (before, options.terminate) == (False, True)
    assert deadlines.end(options) is True


def test_run_that_is_over_is_not_ended() -> None:
    deadlines = Watched()
    options = deadlines.begin(20 * MS)

    assert deadlines.end(options) is False
    deadlines.clock.advance(ms=100)
    deadlines.look()

    assert options.terminate is False


def test_no_run_inherits_the_end_of_another() -> None:
    deadlines = Watched()
    first = deadlines.begin(20 * MS)
    deadlines.clock.advance(ms=20)
    deadlines.look()
    deadlines.end(first)

    second = deadlines.begin(20 * MS)
    deadlines.look()

    assert (first.terminate, second.terminate) == (True, False)


def test_of_several_runs_only_those_that_are_due_are_ended() -> None:
    deadlines = Watched()
    patient, hurried = deadlines.begin(80 * MS), deadlines.begin(15 * MS)

    deadlines.clock.advance(ms=15)
    deadlines.look()

    assert (patient.terminate, hurried.terminate) == (False, True)


def test_first_run_wakes_and_the_next_ones_cost_nobody_a_wake() -> None:
    deadlines = Watched()

    for _ in range(100):
        deadlines.end(deadlines.begin(100 * MS))
        deadlines.look()

    assert deadlines.woken == 1


def test_naps_are_no_longer_than_the_shortest_limit_of_late() -> None:
    deadlines = Watched()
    deadlines.end(deadlines.begin(1_000 * MS))
    relaxed = deadlines.look()
    woken = deadlines.woken
    deadlines.end(deadlines.begin(20 * MS))
    hurried = deadlines.look()

    assert relaxed == COARSEST_NAP_NS / 1e9
    assert deadlines.woken == woken + 1
    assert hurried == 20 * MS / 1e9


def test_nap_ends_when_a_run_is_due() -> None:
    deadlines = Watched()
    deadlines.begin(1_000 * MS)
    deadlines.clock.advance(ms=990)

    assert deadlines.look() == 0.01


def test_limits_below_the_finest_nap_wake_once_and_not_for_each_run() -> None:
    deadlines = Watched()

    for _ in range(15):
        deadlines.end(deadlines.begin(2 * MS))
        assert deadlines.look() == FINEST_NAP_NS / 1e9

    assert deadlines.woken == 1


def test_without_runs_nobody_looks_until_one_begins() -> None:
    deadlines = Watched()
    deadlines.end(deadlines.begin(100 * MS))

    naps = [deadlines.look()]
    while naps[-1] is not None:
        naps.append(deadlines.look())
    woken = deadlines.woken
    deadlines.begin(100 * MS)

    assert len(naps) < 60
    assert deadlines.woken == woken + 1


def test_long_run_keeps_the_watchdog_awake() -> None:
    deadlines = Watched()
    options = deadlines.begin(10_000 * MS)

    assert None not in [deadlines.look() for _ in range(100)]

    deadlines.clock.advance(ms=10_000)
    deadlines.look()
    assert options.terminate


def test_thread_ends_with_its_watchdog() -> None:
    before = set(threading.enumerate())
    watchdog = Watchdog()
    watchdog.end(watchdog.begin(1_000 * MS))
    (thread,) = set(threading.enumerate()) - before
    kept = weakref.ref(watchdog)

    del watchdog
    gc.collect()
    thread.join(timeout=10)

    assert kept() is None
    assert not thread.is_alive()


def test_watchdog_that_nobody_keeps_wakes_its_thread_for_the_last_time() -> None:
    watchdog = Watchdog()
    bell = watchdog._bell

    del watchdog
    gc.collect()

    assert not bell.locked()
