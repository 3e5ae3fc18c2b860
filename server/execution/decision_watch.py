"""Watches decisions: counts what every one came to, and looks closer at one in sixteen.

Cost: 1 to 2 us for a decision, some 60 us more for those that are looked at closer, of 1,000 scores with cold caches.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from server.domain.decision import Decision, Result, Rung
from server.domain.model import Model
from server.execution.decide import STAGE_NAMES
from server.execution.evaluation import Evaluation
from server.telemetry import metrics
from server.telemetry.context import CURRENT
from server.telemetry.drift import Drift
from server.telemetry.instruments import Distributions
from server.telemetry.trace import DecisionNote, Trace

CLOSER_EVERY = 16
_RUNGS = len(Rung) + 1


class DecisionWatch:
    """Is shown every decision.

    Attributes:
        capped, over_budget: How many offers were held back, once for each cap or budget that did.
        stages_s: How long the stages took.
    """

    def __init__(self, models: Callable[[], Mapping[str, Model]]) -> None:
        """Asks for the models that are loaded when it meets one that it does not know."""
        self._models = models
        self._answers = [0] * (_RUNGS * (len(Result) + 1))
        self._drifts: dict[str, Drift | None] = {}
        self._until_closer = 1
        self.capped = 0
        self.over_budget = 0
        self.stages_s = Distributions(metrics.STAGE_SECONDS)
        self._of_stage = [self.stages_s.of(stage) for stage in STAGE_NAMES]

    def __call__(self, decision: Decision, evaluations: Sequence[Evaluation]) -> None:
        """Takes note of a decision."""
        self._answers[decision.result * _RUNGS + decision.rung] += 1
        for evaluation in evaluations:
            if len(evaluation.held):
                self._count_held(evaluation)
        context = CURRENT.get()
        if context is not None:
            context.decision = decision
            if context.trace is not None:
                _note(context.trace, decision, evaluations)
        self._until_closer -= 1
        if not self._until_closer:
            self._until_closer = CLOSER_EVERY
            for evaluation in evaluations:
                self._look_closer(evaluation)

    def answers(self) -> dict[tuple[str, ...], int]:
        """How many decisions there were, by the names of result and rung."""
        return {
            (result.name.lower(), rung.name.lower()): count
            for result in Result
            for rung in Rung
            if (count := self._answers[result * _RUNGS + rung])
        }

    def psi(self) -> dict[tuple[str, ...], float]:
        """The stability index of each model that has a reference and scores enough."""
        found = {(model_id,): drift.psi() for model_id, drift in self._drifts.items() if drift is not None}
        return {labels: psi for labels, psi in found.items() if psi is not None}

    def scores_seen(self) -> dict[tuple[str, ...], int]:
        """How many scores the index has looked at."""
        return {(model_id,): drift.seen for model_id, drift in self._drifts.items() if drift is not None}

    def _count_held(self, evaluation: Evaluation) -> None:
        rules = evaluation.snapshot.rules.channel(evaluation.channel)
        first, budgets = rules.first_meter, rules.policy.meters.budgets
        over_budget = 0
        if budgets:
            codes = evaluation.held_by - first
            over_budget = int(np.count_nonzero((codes >= 0) & (codes < budgets)))
        self.over_budget += over_budget
        self.capped += len(evaluation.held_by) - over_budget

    def _look_closer(self, evaluation: Evaluation) -> None:
        # Of several placements the last stage is common to all, and not in the marks.
        for distribution, (began_ns, ended_ns) in zip(self._of_stage, pairwise(evaluation.marks), strict=False):
            distribution.observe((ended_ns - began_ns) * 1e-9)
        # Lower rungs score the offers that are worth the most, or none: a choice that training knows nothing of.
        if evaluation.model_id and evaluation.rung is Rung.FULL:
            drift = self._drift(evaluation.model_id)
            if drift is not None:
                drift.observe(evaluation.propensity)

    def _drift(self, model_id: str) -> Drift | None:
        if model_id not in self._drifts:
            model = self._models().get(model_id)
            reference = None if model is None else model.manifest.scores
            self._drifts[model_id] = None if reference is None else Drift(reference)
        return self._drifts[model_id]


def _note(trace: Trace, decision: Decision, evaluations: Sequence[Evaluation]) -> None:
    for evaluation in evaluations:
        note = DecisionNote(
            STAGE_NAMES, evaluation.marks, decision.result.name, evaluation.rung.name, evaluation.model_id
        )
        trace.decisions.append(note)
