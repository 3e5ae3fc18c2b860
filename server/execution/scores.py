"""Scores: the stages that find what each candidate is worth, on the highest rung that the time left allows."""

import numpy as np

from server.domain.attribute import IntRow
from server.domain.decision import Rung
from server.domain.model import ModelFailure
from server.execution.cached import CachedRanking
from server.execution.evaluation import NOTHING, Evaluation
from server.execution.ladder import Plan, Situation, choose, shortlist, without_model
from server.execution.scoring import Scorer
from server.execution.slates import pins_of
from server.inference.circuit import CircuitState

_CHEAP_NS = 20_000


def weigh(evaluation: Evaluation) -> None:
    """What each candidate counts for if it converts: profit, times levers, times the boosts that hold."""
    policy, eligible = evaluation.catalog.policy, evaluation.allowed
    evaluation.eligible = eligible
    worth = policy.worth.take(eligible)
    for boost in policy.boosts:
        if evaluation.conditions[boost.condition]:
            worth[boost.offers.take(eligible)] *= boost.factor
    evaluation.worth = worth
    evaluation.value = evaluation.catalog.offers.profit.take(eligible)
    evaluation.propensity = NOTHING
    evaluation.tensors = {}


def score(evaluation: Evaluation) -> None:
    """Calibrated propensities of the candidates that are ranked."""
    model = evaluation.placement.model
    if model is None or not len(evaluation.eligible):
        evaluation.plan = Plan(int(Rung.FULL))
        return
    scorer = evaluation.snapshot.scorers[model.model_id]
    is_replay = evaluation.moment.plans is not None
    plan = evaluation.plan = _recorded(evaluation) if is_replay else _choose(evaluation, scorer)
    if plan.rung <= Rung.REDUCED:
        try:
            _run(evaluation, scorer, plan, is_replay)
        except ModelFailure:
            evaluation.cached = _find_cached(evaluation)
            plan = evaluation.plan = without_model(evaluation.cached is not None)
    evaluation.rung = Rung(plan.rung)
    if plan.rung == Rung.CACHED:
        repeat(evaluation)
    elif plan.rung == Rung.DEFAULT:
        fall_back(evaluation)


def _recorded(evaluation: Evaluation) -> Plan:
    """The plan that a replay has for this placement."""
    assert evaluation.moment.plans is not None
    plan = evaluation.moment.plans[evaluation.placement.placement.id]
    if plan.rung == Rung.CACHED:
        evaluation.cached = _find_cached(evaluation)
    return plan


def _choose(evaluation: Evaluation, scorer: Scorer) -> Plan:
    """The plan for the time left. Only somebody in a hurry has to know what the customer saw last."""
    moment, count = evaluation.moment, len(evaluation.eligible)
    now_ns = moment.clock_ns()
    cost = None if scorer.state() is CircuitState.OPEN else scorer.cost
    left_ns = None if moment.ends_ns is None else moment.ends_ns - now_ns
    rest_ns = evaluation.snapshot.rest.estimate_ns(count, now_ns)
    situation = Situation(left_ns, count, evaluation.slots, cost, now_ns, rest_ns, _CHEAP_NS)
    plan = choose(situation)
    if plan.rung != Rung.DEFAULT:
        return plan
    evaluation.cached = _find_cached(evaluation)
    return without_model(evaluation.cached is not None)


def _find_cached(evaluation: Evaluation) -> CachedRanking | None:
    assert evaluation.placement.model is not None
    model_id, query = evaluation.placement.model.model_id, evaluation.query
    return evaluation.moment.cached(query.customer_id, evaluation.where, model_id, evaluation.moment.received_us)


def _run(evaluation: Evaluation, scorer: Scorer, plan: Plan, is_replay: bool) -> None:
    if plan.rows < len(evaluation.eligible):
        keep(evaluation, best(evaluation, plan.rows))
    if is_replay:
        scores = scorer.rescore(evaluation.variables, evaluation.eligible)
    else:
        scores = scorer.score(evaluation.variables, evaluation.eligible, plan.limit_ns)
    evaluation.propensity, evaluation.tensors = scores
    evaluation.model_id = scorer.plan.model_id


def best(evaluation: Evaluation, rows: int) -> IntRow:
    """The places of the candidates that are worth the most, and of those that rules pin, which must be scored too."""
    return shortlist(evaluation.worth, rows, ahead=[place for _, place in pins_of(evaluation)])


def repeat(evaluation: Evaluation) -> None:
    """The candidates of the customer's last ranking, with the propensities they had."""
    ranking = evaluation.cached
    assert ranking is not None
    eligible = evaluation.allowed
    places = _places(eligible, ranking.offers.astype(np.intp))
    found = places >= 0
    _restore(evaluation)
    keep(evaluation, places[found])
    evaluation.propensity = ranking.propensities[found]
    evaluation.model_id = ranking.model_id


def fall_back(evaluation: Evaluation) -> None:
    """The placement's fallback offers, as far as they may be shown, in their order."""
    places = _places(evaluation.allowed, evaluation.placement.fallback)
    _restore(evaluation)
    keep(evaluation, places[places >= 0])


def _places(eligible: IntRow, offers: IntRow) -> IntRow:
    """Where offers stand among the eligible ones, which are sorted; -1 if they do not."""
    if not len(eligible):
        return np.full(len(offers), -1)
    places = np.minimum(np.searchsorted(eligible, offers), len(eligible) - 1)
    return np.where(eligible.take(places) == offers, places, -1)


def _restore(evaluation: Evaluation) -> None:
    """All candidates again, after a run over a few of them has failed."""
    if len(evaluation.eligible) < len(evaluation.allowed):
        weigh(evaluation)


def keep(evaluation: Evaluation, places: IntRow) -> None:
    """Ranks only these of the candidates."""
    evaluation.eligible = evaluation.eligible.take(places)
    evaluation.worth = evaluation.worth.take(places)
    evaluation.value = evaluation.value.take(places)
