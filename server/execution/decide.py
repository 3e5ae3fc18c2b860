"""The decision: a pure function of snapshot, query and moment. No I/O, no lock, no global, no log line.

The stages run in the order in which they are written in `_STAGES`; each reads what the ones before it left in the
`Evaluation`. None costs Python time per candidate. What a decision does by the clock, its plan, is kept with it, so
that a replay does the same without a clock.
"""

from collections.abc import Callable, Sequence

from server.domain.decision import Decision, Ranking, RankQuery, Result, decision_id_of
from server.execution.candidates import find_eligible, hold_back, read_variables
from server.execution.evaluation import Evaluation, Moment, Snapshot, begin, show_together
from server.execution.scores import score, weigh
from server.execution.slates import fill_slots, fill_together, value_candidates

Stage = tuple[str, Callable[[Evaluation], None]]

_UP_TO_VALUES: tuple[Stage, ...] = (
    ("variables", read_variables),
    ("eligibility", find_eligible),
    ("contacts", hold_back),
    ("worth", weigh),
    ("model", score),
    ("value", value_candidates),
)
_STAGES: tuple[Stage, ...] = (*_UP_TO_VALUES, ("arbitration", fill_slots))

STAGE_NAMES = tuple(name for name, _ in _STAGES)


def decide(snapshot: Snapshot, query: RankQuery, moment: Moment) -> tuple[Decision, Sequence[Evaluation]]:
    """Ranks the offers of a snapshot for one query, in one evaluation for each placement.

    Args:
        query: A query whose fields `execution/rank.py` has checked.

    Raises:
        OpportuneError: PLACEMENT_NOT_FOUND, or INVALID_FIELD for channel, context attributes, filter or order_by.
    """
    if query.further_placement_ids:
        return _decide_together(snapshot, query, moment)
    evaluation = begin(snapshot, query, moment, query.placement_id)
    if not evaluation.placement.placement.enabled:
        return _answer(evaluation, Ranking(), Result.PLACEMENT_DISABLED), (evaluation,)
    _run(evaluation, _STAGES)
    if not len(evaluation.winners):
        return _answer(evaluation, Ranking(), Result.NO_ELIGIBLE_OFFER), (evaluation,)
    return _answer(evaluation, _ranking(evaluation), Result.RANKED, evaluation.model_id), (evaluation,)


def _decide_together(snapshot: Snapshot, query: RankQuery, moment: Moment) -> tuple[Decision, Sequence[Evaluation]]:
    """One decision for several placements. The rung is the lowest of theirs, the model the first that was used."""
    placement_ids = (query.placement_id, *query.further_placement_ids)
    evaluations = [begin(snapshot, query, moment, placement_id) for placement_id in placement_ids]
    enabled = [evaluation for evaluation in evaluations if evaluation.placement.placement.enabled]
    if not enabled:
        return _answer(evaluations[0], Ranking(), Result.PLACEMENT_DISABLED), evaluations
    show_together(enabled)
    for evaluation in enabled:
        _run(evaluation, _UP_TO_VALUES)
    fill_together(enabled)
    ranking = Ranking()
    for evaluation in enabled:
        more = _ranking(evaluation)
        names = [evaluation.placement.placement.id] * len(more.shown)
        ranking = Ranking(
            [*ranking.shown, *more.shown],
            [*ranking.propensities, *more.propensities],
            [*ranking.expected_values, *more.expected_values],
            [*ranking.contents, *more.contents],
            [*ranking.placements, *names],
        )
    lowest = max(enabled, key=lambda evaluation: evaluation.rung)
    result = Result.RANKED if ranking.shown else Result.NO_ELIGIBLE_OFFER
    model_id = next((evaluation.model_id for evaluation in enabled if evaluation.model_id), "")
    answer = _answer(evaluations[0], ranking, result, model_id)
    return answer._replace(rung=lowest.rung), evaluations


def _run(evaluation: Evaluation, stages: Sequence[Stage]) -> None:
    clock_ns = evaluation.moment.clock_ns
    marks = [clock_ns()]
    for _, stage in stages:
        stage(evaluation)
        marks.append(clock_ns())
    evaluation.marks = marks


def _answer(evaluation: Evaluation, ranking: Ranking, result: Result, model_id: str = "") -> Decision:
    query, moment, snapshot = evaluation.query, evaluation.moment, evaluation.snapshot
    return Decision(
        decision_id=decision_id_of(moment.number, moment.tag),
        customer_id=query.customer_id,
        placement_id=query.placement_id,
        time=moment.time,
        ranking=ranking,
        result=result,
        rung=evaluation.rung,
        model_version=model_id if result is Result.RANKED else "",
        profile_version=snapshot.profile_version,
        catalog_version=evaluation.catalog.version,
    )


def _ranking(evaluation: Evaluation) -> Ranking:
    creatives, slate = evaluation.creatives, evaluation.slate
    offers = slate.offers.tolist()
    contents = creatives.contents if evaluation.query.include_content else None
    return Ranking(
        [creatives.shown[offer] for offer in offers],
        slate.propensity.tolist(),
        slate.expected_value.tolist(),
        () if contents is None else [contents[offer].fill(evaluation.variables) for offer in offers],
    )
