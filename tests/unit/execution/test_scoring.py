from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from server.domain.attribute import FloatRow
from server.domain.model import RUN_LIMIT_NS, Model, ModelFailure, ModelTimeout
from server.execution.scoring import TRIAL_LIMIT_NS, Scorer
from server.inference.circuit import FIRST_PAUSE_NS, CircuitState
from server.inference.model import load_model
from tests.support.catalogs import catalog_document, compiled_catalog, offer_entry, placement_entry
from tests.support.models import FakeModel, ManualNs, SlowModel, fails
from tests.support.onnx_files import graph, write_model

MS = 1_000_000
OFFERS = 100


def scorer_of(model: Model, clock: ManualNs, previous: Scorer | None = None, offers: int = OFFERS) -> Scorer:
    entries = [offer_entry(f"o{n}", attributes={"appeal": n / offers, "c": float(n)}) for n in range(offers)]
    more = [{"id": "a", "type": "number"}, {"id": "b", "type": "number"}]
    document = catalog_document(entries, [placement_entry(model=model.manifest.id)], attributes=more)
    plan = compiled_catalog(document, {model.manifest.id: model.manifest}).placements["home"].model
    assert plan is not None
    return Scorer(plan, model, previous, clock_ns=clock)


def variables(value: float = 0.0) -> FloatRow:
    return np.full(8, value, np.float32)


def score(scorer: Scorer, rows: int = 10, limit_ns: int | None = None) -> list[float]:
    return list(scorer.score(variables(), np.arange(rows), limit_ns).propensity)


def fail(scorer: Scorer, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ModelFailure):
            score(scorer)


def no_number(inputs: Mapping[str, FloatRow]) -> FloatRow:
    raise ModelFailure("fake/1: a score is not a finite number")


def test_scores_are_those_of_the_offers_asked_for() -> None:
    scorer = scorer_of(FakeModel(), ManualNs())

    scores = scorer.score(variables(), np.array([70, 20]))

    assert scores.propensity == pytest.approx([0.7, 0.2], abs=1e-6)


def test_measuring_finds_what_runs_take() -> None:
    clock = ManualNs()
    scorer = scorer_of(SlowModel(clock, fixed_ns=50_000, per_row_ns=2_000), clock)

    scorer.measure(variables())

    assert [scorer.cost.estimate_ns(rows, clock()) for rows in (1, 50, 100)] == pytest.approx(
        [54_000, 152_000, 252_000], rel=0.01
    )


def test_measuring_a_slow_model_ends_after_one_run_of_each_size() -> None:
    clock = ManualNs()
    model = SlowModel(clock, fixed_ns=30 * MS)

    scorer_of(model, clock).measure(variables())

    assert [len(call["offer"]) for call in model.calls] == [1, 64, 100]


def test_model_that_hangs_is_cut_off_when_measured_and_left_alone() -> None:
    clock = ManualNs()
    model = SlowModel(clock, fixed_ns=10_000 * MS)
    scorer = scorer_of(model, clock)

    scorer.measure(variables())

    assert scorer.state() is CircuitState.OPEN
    assert scorer.cost.estimate_ns(1, clock()) >= RUN_LIMIT_NS
    assert len(model.limits_ns) == 1


def test_model_that_cannot_score_new_customers_is_measured_all_the_same() -> None:
    scorer = scorer_of(FakeModel(fails), ManualNs())

    scorer.measure(variables())

    assert scorer.cost.measured
    assert scorer.state() is CircuitState.CLOSED


def test_catalog_without_offers_needs_no_measuring() -> None:
    scorer = scorer_of(FakeModel(), ManualNs(), offers=1)
    scorer.measure(variables())

    assert scorer.cost.measured


def test_next_catalog_keeps_what_is_known_of_the_same_model() -> None:
    clock = ManualNs()
    model = SlowModel(clock)
    scorer = scorer_of(model, clock)
    scorer.measure(variables())
    runs = len(model.calls)

    following = scorer_of(model, clock, scorer)
    following.measure(variables())

    assert len(model.calls) == runs
    assert following.cost is scorer.cost
    assert following.circuit is scorer.circuit


def test_next_catalog_knows_nothing_of_another_model() -> None:
    clock = ManualNs()
    scorer = scorer_of(FakeModel(fails), clock)
    fail(scorer, 3)

    following = scorer_of(FakeModel(), clock, scorer)

    assert (scorer.state(), following.state()) == (CircuitState.OPEN, CircuitState.CLOSED)


def test_runs_keep_the_cost_current() -> None:
    clock = ManualNs()
    model = SlowModel(clock)
    scorer = scorer_of(model, clock)
    scorer.measure(variables())

    model.fixed_ns = 5 * MS
    for _ in range(10):
        score(scorer)

    assert scorer.cost.estimate_ns(10, clock()) >= 5 * MS


def test_model_is_given_the_limit_or_the_scorers_own() -> None:
    clock = ManualNs()
    model = SlowModel(clock)
    scorer = scorer_of(model, clock)

    for limit_ns in (3 * MS, None, 5_000 * MS):
        score(scorer, limit_ns=limit_ns)

    assert model.limits_ns == [3 * MS, RUN_LIMIT_NS, RUN_LIMIT_NS]


def test_cut_off_raises_the_cost_and_opens_the_circuit_if_it_took_long() -> None:
    clock = ManualNs()
    model = SlowModel(clock)
    scorer = scorer_of(model, clock)
    scorer.measure(variables())
    model.fixed_ns = 60 * MS

    with pytest.raises(ModelTimeout):
        score(scorer, limit_ns=25 * MS)

    assert scorer.cost.estimate_ns(10, clock()) >= 49 * MS
    assert scorer.state() is CircuitState.OPEN


def test_cut_off_of_a_caller_in_a_hurry_takes_the_model_from_nobody() -> None:
    clock = ManualNs()
    model = SlowModel(clock)
    scorer = scorer_of(model, clock)
    model.fixed_ns = 5 * MS

    with pytest.raises(ModelTimeout):
        score(scorer, limit_ns=2 * MS)

    assert score(scorer, limit_ns=50 * MS)


@pytest.mark.parametrize("function", [fails, no_number, lambda inputs: inputs["offer"][:-1, 0]])
def test_three_failures_in_a_row_leave_the_model_alone(function: object) -> None:
    clock = ManualNs()
    model = FakeModel(function)  # type: ignore[arg-type]
    scorer = scorer_of(model, clock)

    fail(scorer, 5)

    assert len(model.calls) == 3
    assert scorer.state() is CircuitState.OPEN


def test_model_that_gives_nan_while_serving_is_left_alone_and_tried_again(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["customer", "wc"], ["c"]),
        helper.make_node("MatMul", ["offer", "wo"], ["o"]),
        helper.make_node("Add", ["c", "o"], ["score"]),
    ]
    weights = {"wc": np.array([[1.0], [-1.0]], np.float32), "wo": np.array([[0.5]], np.float32)}
    model = load_model(write_model(tmp_path, graph(nodes, {"customer": [1, 2], "offer": ["N", 1]}, weights)))
    clock = ManualNs()
    document = catalog_document(
        [offer_entry("a", attributes={"c": 1.0, "kind": "X"})],
        [placement_entry(model="tiny/1")],
        attributes=[{"id": "a", "type": "number"}, {"id": "b", "type": "number"}],
    )
    plan = compiled_catalog(document, {"tiny/1": model.manifest}).placements["home"].model
    assert plan is not None
    scorer = Scorer(plan, model, clock_ns=clock)

    for _ in range(3):
        with pytest.raises(ModelFailure, match="not a finite number"):
            scorer.score(variables(np.nan), np.array([0]))
    with pytest.raises(ModelFailure, match="not called"):
        scorer.score(variables(), np.array([0]))
    clock.now_ns += FIRST_PAUSE_NS

    assert np.isfinite(scorer.score(variables(), np.array([0])).propensity).all()
    assert scorer.state() is CircuitState.CLOSED


def test_trial_has_less_time_than_other_runs() -> None:
    clock = ManualNs()
    model = SlowModel(clock, fixed_ns=2_000 * MS)
    scorer = scorer_of(model, clock)
    fail(scorer, 1)
    clock.now_ns += FIRST_PAUSE_NS

    fail(scorer, 1)

    assert model.limits_ns == [RUN_LIMIT_NS, TRIAL_LIMIT_NS]


def test_run_that_could_not_be_cut_off_gives_its_scores_but_counts_as_failed() -> None:
    clock = ManualNs()
    model = SlowModel(clock, fixed_ns=60 * MS)
    model.cuttable = False
    scorer = scorer_of(model, clock)

    scores = score(scorer, limit_ns=20 * MS)

    assert len(scores) == 10
    assert scorer.state() is CircuitState.OPEN


def test_replay_scores_whatever_the_model_did_before_and_teaches_nothing() -> None:
    clock = ManualNs()
    model = SlowModel(clock)
    scorer = scorer_of(model, clock)
    scorer.circuit.failed(clock(), 1_000 * MS)
    before = scorer.cost.estimate_ns(10, clock())
    now_ns = clock.now_ns

    scores = scorer.rescore(variables(), np.arange(10))
    clock.now_ns = now_ns

    assert len(scores.propensity) == 10
    assert scorer.state() is CircuitState.OPEN
    assert scorer.cost.estimate_ns(10, clock()) == before
