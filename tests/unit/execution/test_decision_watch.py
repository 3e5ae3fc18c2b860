from copy import deepcopy

import numpy as np
import pytest

from server.execution.decide import STAGE_NAMES
from server.execution.decision_watch import CLOSER_EVERY
from server.telemetry.context import CURRENT, CallContext
from server.telemetry.drift import FEWEST
from server.telemetry.trace import Trace
from server.wire.call import Call
from tests.support.catalogs import catalog_document, offer_entry, placement_entry
from tests.support.decided import Watched, model, scored_offers
from tests.support.models import fails


def test_decisions_are_counted_by_result_and_rung() -> None:
    document = scored_offers(4)
    document["placements"] += [placement_entry("off", enabled=False)]
    watched = Watched(document, model())

    watched.service.rank()
    watched.service.rank(validate_only=True)
    watched.service.rank(placement_id="off")

    assert watched.watch.answers() == {("ranked", "full"): 2, ("placement_disabled", "full"): 1}


def test_lower_rungs_are_told_apart() -> None:
    document = scored_offers(4)
    document["placements"][0]["fallback_offers"] = ["o1"]
    watched = Watched(document, model(score=fails))

    watched.service.rank()

    assert watched.watch.answers() == {("ranked", "default"): 1}


def test_stages_of_one_decision_in_sixteen_are_timed_beginning_with_the_first() -> None:
    watched = Watched(scored_offers(4), model())

    counts = []
    for _ in range(CLOSER_EVERY + 1):
        watched.service.rank()
        counts.append({labels[0]: kept.count for labels, kept in watched.watch.stages_s.read().items()})

    assert counts[0] == counts[-2] == dict.fromkeys(STAGE_NAMES, 1)
    assert counts[-1] == dict.fromkeys(STAGE_NAMES, 2)


def test_times_of_stages_add_up_to_that_of_the_decision() -> None:
    watched = Watched(scored_offers(4), model())

    watched.service.rank()

    _, (evaluation,) = watched.last
    spent_s = sum(kept.sum for kept in watched.watch.stages_s.read().values())
    assert spent_s == pytest.approx((evaluation.marks[-1] - evaluation.marks[0]) * 1e-9)


def test_offers_that_caps_and_budgets_hold_back_are_counted_apart() -> None:
    offers = [
        offer_entry("capped", caps=[{"count": 1, "window": "1d", "per": "customer", "on": "decision"}]),
        offer_entry("shared", caps=[{"count": 1, "window": "1d", "per": "global", "on": "decision"}]),
        offer_entry("dear", tactic="gift"),
        offer_entry("dearer", tactic="gift"),
        offer_entry("free"),
    ]
    budgets = [{"id": "none", "offers": 'offer.tactic == "gift"', "limit": 0}]
    watched = Watched(catalog_document(offers, [placement_entry(slots=5)], budgets=budgets))

    watched.service.rank()
    first = watched.watch.capped, watched.watch.over_budget
    watched.service.rank()

    assert first == (0, 2)
    assert (watched.watch.capped, watched.watch.over_budget) == (2, 4)


def test_without_budgets_everything_held_back_is_capped() -> None:
    offers = [offer_entry("a", caps=[{"count": 1, "window": "1d", "per": "customer", "on": "decision"}])]
    watched = Watched(catalog_document(offers, [placement_entry(slots=1)]))

    watched.service.rank()
    watched.service.rank()

    assert (watched.watch.capped, watched.watch.over_budget) == (1, 0)


def test_scores_of_all_eligible_offers_are_held_against_training() -> None:
    watched = Watched(scored_offers(FEWEST), model())

    watched.service.rank()

    # Half of the offers have a propensity below 0.5, as in training; the ten that win have not.
    assert watched.watch.scores_seen() == {("fake/1",): FEWEST}
    assert watched.watch.psi() == {("fake/1",): pytest.approx(0.0, abs=1e-3)}


def test_drifted_scores_are_told() -> None:
    watched = Watched(scored_offers(FEWEST), model(score=lambda inputs: np.sqrt(inputs["offer"][:, 0])))

    watched.service.rank()

    assert watched.watch.psi()["fake/1",] > 0.2


def test_model_without_reference_has_no_index() -> None:
    watched = Watched(scored_offers(FEWEST), model(reference=None))

    watched.service.rank()

    assert (watched.watch.psi(), watched.watch.scores_seen()) == ({}, {})


def test_sampled_call_gets_the_stages_of_its_decisions() -> None:
    watched = Watched(scored_offers(4), model())
    context = CallContext(Call(), Trace(1, 0))
    token = CURRENT.set(context)

    decision = watched.service.rank()
    CURRENT.reset(token)

    assert context.decision is decision
    assert context.trace is not None
    (note,) = context.trace.decisions
    assert (note.stages, note.result, note.rung, note.model) == (STAGE_NAMES, "RANKED", "FULL", "fake/1")
    assert len(note.marks_ns) == len(STAGE_NAMES) + 1


def test_decision_is_the_same_whether_it_is_watched_or_not() -> None:
    first, second = Watched(scored_offers(40), model()), Watched(deepcopy(scored_offers(40)), model())
    second.watch = lambda decision, evaluations: None  # type: ignore[assignment]

    assert first.service.rank() == second.service.rank()
