"""Scorers: a model bound to a catalog, with everything that depends on offers alone computed in advance."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import FloatRow, IntRow
from server.domain.model import Model, ModelFailure
from server.execution.compiled import ModelPlan
from server.inference.calibration import propensities

Line = NDArray[np.float64] | np.float64


class Scores(NamedTuple):
    """Calibrated propensities, float64 [rows], and the tensors that the model was given."""

    propensity: NDArray[np.float64]
    tensors: dict[str, FloatRow]


class Scorer:
    """Scores offers of one catalog with one model."""

    def __init__(self, plan: ModelPlan, model: Model) -> None:
        """Runs the model's offer part once for all offers of the catalog.

        Raises:
            ModelFailure: that run failed.
        """
        self.plan = plan
        self._model = model
        self._offers = tuple(model.precompute(plan.features.offer_tensors()).items())
        self._slopes, self._intercepts = plan.slopes, plan.intercepts
        # One calibration line for all offers needs no look-up for each.
        self._one_line = len(plan.slopes) > 0 and np.ptp(plan.slopes) == 0 == np.ptp(plan.intercepts)

    def score(self, variables: FloatRow, offers: IntRow) -> Scores:
        """The propensities of the offers with these indices, at least one.

        Raises:
            ModelFailure: the model failed.
        """
        tensors = self.plan.features.assemble(variables, offers)
        for name, rows in self._offers:
            tensors[name] = rows.take(offers, axis=0)
        output = self._model.run(tensors)
        if len(output) != len(offers):
            raise ModelFailure(f"{self.plan.model_id}: {len(output)} scores for {len(offers)} offers")
        slopes, intercepts = self._calibration(offers)
        return Scores(propensities(output, self.plan.output_kind, slopes, intercepts), tensors)

    def _calibration(self, offers: IntRow) -> tuple[Line, Line]:
        if self._one_line:
            return self._slopes[0], self._intercepts[0]
        return self._slopes.take(offers), self._intercepts.take(offers)
