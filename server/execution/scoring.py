"""Scorers: a model bound to a catalog, with everything that depends on offers alone computed in advance.

A scorer also guards the server from its model: it cuts runs off, knows what a run costs, and leaves a model alone that
keeps failing. Decisions ask `cost` and `state` before they call it; see `execution/ladder.py`.
"""

from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import FloatRow, IntRow
from server.domain.model import RUN_LIMIT_NS, Model, ModelFailure, ModelTimeout
from server.execution.compiled import ModelPlan
from server.inference.calibration import propensities
from server.inference.circuit import Circuit, CircuitState
from server.inference.cost import Cost
from server.inference.watchdog import FINEST_NAP_NS

TRIAL_LIMIT_NS = 100_000_000
"""How long a model that failed may take to show that it works again."""

_MEASURED_ROWS = (1, 64, 1_024)
_MEASURED_RUNS = 5
_MEASURING_NS = 20_000_000

Line = NDArray[np.float64] | np.float64


class Scores(NamedTuple):
    """Calibrated propensities, float64 [rows], and the tensors that the model was given."""

    propensity: NDArray[np.float64]
    tensors: dict[str, FloatRow]


class Scorer:
    """Scores offers of one catalog with one model.

    Attributes:
        cost: What `score` takes.
        circuit: Whether the model works.
    """

    def __init__(
        self,
        plan: ModelPlan,
        model: Model,
        previous: "Scorer | None" = None,
        *,
        clock_ns: Callable[[], int] = monotonic_ns,
        limit_ns: int = RUN_LIMIT_NS,
    ) -> None:
        """Runs the model's offer part once for all offers of the catalog.

        Args:
            previous: The scorer of the catalog before. What it has learnt is taken over if its model is the same.
            clock_ns: A monotonic clock.
            limit_ns: How long a run may take at most.

        Raises:
            ModelFailure: that run failed.
        """
        self.plan = plan
        self._model = model
        self._clock_ns = clock_ns
        self._limit_ns = limit_ns
        self._offers = tuple(model.precompute(plan.features.offer_tensors()).items())
        self._slopes, self._intercepts = plan.slopes, plan.intercepts
        # One calibration line for all offers needs no look-up for each.
        self._one_line = len(plan.slopes) > 0 and np.ptp(plan.slopes) == 0 == np.ptp(plan.intercepts)
        known = previous if previous is not None and previous._model is model else None
        self.cost: Cost = known.cost if known else Cost()
        self.circuit: Circuit = known.circuit if known else Circuit()

    @property
    def model(self) -> Model:
        """The model itself, which nobody guards who calls it."""
        return self._model

    @property
    def offer_tensors(self) -> Sequence[tuple[str, FloatRow]]:
        """What the model is given of offers alone: the names of tensors, and a row of each for every offer."""
        return self._offers

    def state(self) -> CircuitState:
        """Whether `score` would call the model now."""
        return self.circuit.state(self._clock_ns())

    def measure(self, variables: FloatRow) -> None:
        """Finds out what a run costs before anybody waits for it, unless that is known already.

        Takes some 20 ms of the calling thread, more only if the model is that slow.

        Args:
            variables: Of any customer, for example a new one.
        """
        if self.cost.measured or not len(self._slopes):
            return
        most = len(self._slopes)
        best_ns: dict[int, int] = {}
        began_ns = self._clock_ns()
        for run in range(_MEASURED_RUNS):
            for rows in sorted({min(rows, most) for rows in _MEASURED_ROWS}):
                if run and self._clock_ns() - began_ns > _MEASURING_NS:
                    break
                started_ns = self._clock_ns()
                if not self._endures(variables, rows):
                    spent_ns = self._clock_ns() - started_ns
                    # Slower than it was allowed to be: how much slower nobody knows.
                    self.cost.measure({rows: 2 * spent_ns})
                    self.circuit.failed(self._clock_ns(), spent_ns)
                    return
                spent_ns = self._clock_ns() - started_ns
                best_ns[rows] = min(spent_ns, best_ns.get(rows, spent_ns))
        self.cost.measure(best_ns)

    def _endures(self, variables: FloatRow, rows: int) -> bool:
        """Whether a run over so many offers ends in time; whether it has a result does not matter for its cost."""
        try:
            self.rescore(variables, np.arange(rows))
        except ModelTimeout:
            return False
        except ModelFailure:
            return True
        return True

    def score(self, variables: FloatRow, offers: IntRow, limit_ns: int | None = None) -> Scores:
        """The propensities of the offers with these indices, at least one.

        Args:
            limit_ns: How long it may take; None for the scorer's own limit, which is never exceeded.

        Raises:
            ModelTimeout: the model was cut off.
            ModelFailure: the model failed, or has failed so often that it is left alone for now.
        """
        started_ns = self._clock_ns()
        if not self.circuit.enter(started_ns):
            raise ModelFailure(f"{self.plan.model_id}: failed, and is not called until it is tried again")
        limit_ns = self._limit_ns if limit_ns is None else min(limit_ns, self._limit_ns)
        if self.circuit.open:
            limit_ns = min(limit_ns, TRIAL_LIMIT_NS)
        try:
            scores = self.rescore(variables, offers, limit_ns)
        except ModelFailure as failure:
            ended_ns = self._clock_ns()
            if isinstance(failure, ModelTimeout):
                self.cost.cut_off(len(offers), ended_ns - started_ns, ended_ns)
                self.circuit.cut_offs += 1
            self.circuit.failed(ended_ns, ended_ns - started_ns)
            raise
        ended_ns = self._clock_ns()
        spent_ns = ended_ns - started_ns
        self.cost.observe(len(offers), spent_ns, ended_ns)
        if spent_ns - limit_ns > FINEST_NAP_NS:
            # It could not be cut off, as a single node takes too long. The scores are there, but it must not go on so.
            self.circuit.failed(ended_ns, spent_ns)
        else:
            self.circuit.succeeded()
        return scores

    def rescore(self, variables: FloatRow, offers: IntRow, limit_ns: int = RUN_LIMIT_NS) -> Scores:
        """As `score`, without regard for what the model did before, and without learning from it: for replays.

        Raises:
            ModelTimeout: the model was cut off.
            ModelFailure: the model failed.
        """
        tensors = self.plan.features.assemble(variables, offers)
        for name, rows in self._offers:
            tensors[name] = rows.take(offers, axis=0)
        output = self._model.run(tensors, limit_ns)
        if len(output) != len(offers):
            raise ModelFailure(f"{self.plan.model_id}: {len(output)} scores for {len(offers)} offers")
        return Scores(self.calibrated(output, offers), tensors)

    def calibrated(self, output: FloatRow, offers: IntRow) -> NDArray[np.float64]:
        """The propensities that the model's output for these offers stands for."""
        slopes, intercepts = self._calibration(offers)
        return propensities(output, self.plan.output_kind, slopes, intercepts)

    def _calibration(self, offers: IntRow) -> tuple[Line, Line]:
        if self._one_line:
            return self._slopes[0], self._intercepts[0]
        return self._slopes.take(offers), self._intercepts.take(offers)
