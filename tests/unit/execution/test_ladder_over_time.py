"""Two thousand decisions on a manual clock, over a model that becomes four hundred times slower and recovers."""

import random
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest

from server.domain.decision import Rung
from server.domain.model import ModelFailure
from server.execution.ladder import Plan, Situation, choose, overheads, without_model
from server.execution.scoring import Scorer
from server.inference.watchdog import FINEST_NAP_NS
from tests.support.catalogs import catalog_document, compiled_catalog, offer_entry, placement_entry
from tests.support.models import ManualNs, SlowModel

MS = 1_000_000
OFFERS = 100
VARIABLES = np.zeros(8, np.float32)
ARRIVALS_MS = 5
BEFORE, SLOW, DECISIONS = 500, 1_000, 2_000
"""The model is slow from the first until before the second of two thousand decisions."""


class Outcome(NamedTuple):
    planned: Plan
    rung: int
    late_ns: int


class Simulation:
    """Decisions as a caller of the ladder makes them, each stage taking its time on the clock."""

    def __init__(self, seed: int = 1) -> None:
        self.chance = random.Random(seed)
        self.clock = ManualNs()
        self.model = SlowModel(self.clock, fixed_ns=60_000, per_row_ns=400)
        self.model.granularity_ns = FINEST_NAP_NS
        offers = [offer_entry(f"o{number}", attributes={"appeal": number / OFFERS}) for number in range(OFFERS)]
        document = catalog_document(offers, [placement_entry(model="fake/1")])
        plan = compiled_catalog(document, {"fake/1": self.model.manifest}).placements["home"].model
        assert plan is not None
        self.scorer = Scorer(plan, self.model, clock_ns=self.clock)
        self.scorer.measure(VARIABLES)
        self.rest = overheads()

    def decide(self, deadline_ms: float, cached: bool) -> Outcome:
        began_ns = self.clock()
        self.clock.advance(us=self.chance.uniform(30, 60))
        now_ns = self.clock()
        left_ns = round(deadline_ms * MS) - (now_ns - began_ns)
        cost = None if self.scorer.circuit.state(now_ns).name == "OPEN" else self.scorer.cost
        rest_ns = self.rest.estimate_ns(OFFERS, now_ns)
        plan = choose(Situation(left_ns, OFFERS, 3, cost, now_ns, rest_ns, 5_000, cached))
        rung = plan.rung
        if plan.rows:
            try:
                self.scorer.score(VARIABLES, np.arange(plan.rows), plan.limit_ns)
            except ModelFailure:
                rung = without_model(cached).rung
        scored_ns = self.clock()
        self.clock.advance(us=self.chance.uniform(30, 80))
        self.rest.observe(OFFERS, self.clock() - scored_ns, self.clock())
        return Outcome(plan, rung, self.clock() - began_ns - round(deadline_ms * MS))

    def run(self, slow_ns: tuple[int, int], *deadlines_ms: float) -> list[Outcome]:
        """`slow_ns`: what a run and each of its rows takes while the model is slow."""
        fast_ns = (self.model.fixed_ns, self.model.per_row_ns)
        outcomes = []
        for number in range(DECISIONS):
            self.model.fixed_ns, self.model.per_row_ns = slow_ns if BEFORE <= number < SLOW else fast_ns
            outcomes.append(self.decide(self.chance.choice(deadlines_ms), cached=self.chance.random() < 0.5))
            self.clock.advance(ms=ARRIVALS_MS)
        return outcomes


def rungs(outcomes: list[Outcome]) -> Counter[Rung]:
    return Counter(Rung(outcome.rung) for outcome in outcomes)


@pytest.mark.parametrize("deadlines_ms", [(20,), (5,), (30, 60), (2, 20, 200)])
@pytest.mark.parametrize("slow_ns", [(40 * MS, 0), (60_000, 400_000)], ids=["every run", "every row"])
def test_no_decision_is_later_than_a_run_can_be_cut_off(
    slow_ns: tuple[int, int], deadlines_ms: tuple[float, ...]
) -> None:
    outcomes = Simulation().run(slow_ns, *deadlines_ms)

    assert max(outcome.late_ns for outcome in outcomes) <= FINEST_NAP_NS
    late = [outcome for outcome in outcomes if outcome.late_ns > 0]
    assert len(late) <= 12


def test_ladder_goes_down_with_the_model_and_up_again() -> None:
    outcomes = Simulation().run((40 * MS, 0), 20)

    assert rungs(outcomes[:BEFORE]) == {Rung.FULL: BEFORE}
    assert set(rungs(outcomes[BEFORE:SLOW])) == {Rung.CACHED, Rung.DEFAULT}
    assert rungs(outcomes[-300:]) == {Rung.FULL: 300}


def test_few_decisions_are_spent_on_trying_a_slow_model() -> None:
    simulation = Simulation()
    simulation.run((40 * MS, 0), 20)

    assert simulation.scorer.circuit.failures <= 6


def test_model_that_is_slow_by_row_scores_the_best_few() -> None:
    outcomes = Simulation().run((60_000, 400_000), 20)

    slow = rungs(outcomes[BEFORE:SLOW])
    assert slow[Rung.REDUCED] > 300
    assert rungs(outcomes[:BEFORE])[Rung.FULL] == BEFORE
    assert rungs(outcomes[-300:]) == {Rung.FULL: 300}


def test_slow_model_that_fits_all_deadlines_is_still_used() -> None:
    outcomes = Simulation().run((40 * MS, 0), 200)

    assert rungs(outcomes) == {Rung.FULL: DECISIONS}


def test_rung_of_an_answer_is_the_planned_one_or_one_below() -> None:
    outcomes = Simulation().run((40 * MS, 0), 20, 60)

    assert all(outcome.rung >= outcome.planned.rung for outcome in outcomes)


def test_simulation_repeats_itself() -> None:
    assert Simulation(7).run((40 * MS, 0), 20, 60) == Simulation(7).run((40 * MS, 0), 20, 60)
