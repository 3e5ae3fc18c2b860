"""Runs what follows eligibility once more with other candidates: who would be shown then?

A rebuilt decision is laid out over all offers of the catalog, those that are no candidates with a key of NaN, which
never wins. So a change costs one arbitration, some 30 us for 1,000 offers, and no model run.
"""

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, IntRow
from server.domain.decision import Rung
from server.domain.model import ModelFailure
from server.execution.evaluation import Evaluation
from server.execution.ladder import shortlist
from server.execution.slates import contest_of, contest_together, pins_of, rank_key
from server.intelligence.arbitration import Arbitration, Contest, arbitrate
from server.intelligence.limits import Ledger
from server.intelligence.several import Several

Keys = NDArray[np.float64]

FREE = -2
"""In `Field.rivals`: a slot stayed empty that the offer could have had."""

NO_RIVAL = -1
"""In `Field.rivals`: no key would have been enough."""


class Outcome(NamedTuple):
    """Who wins: the contest over rows, which stand placement by placement for all offers, and its arbitration."""

    contest: Contest
    arbitration: Arbitration
    several: Several | None

    def shown(self, offers: int) -> BoolRow:
        """Which offers are shown somewhere: bool [offers]."""
        shown = np.zeros(offers, np.bool_)
        shown[self.arbitration.winners % offers] = True
        return shown


class Field:
    """One placement's candidates among all offers.

    Attributes:
        allowed: Which offers may be shown, bool [offers].
        key: What each is ranked by, float64 [offers]; NaN for those whose score is not known.
        wide: The evaluation over all offers.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.offers = len(evaluation.catalog.offers)
        self.allowed = np.zeros(self.offers, np.bool_)
        self.allowed[evaluation.allowed] = True
        self.wide = _wide(evaluation)
        self._ranked = _ranked(evaluation)
        self.key = self._keys()

    @property
    def is_scored(self) -> bool:
        """Whether a model has ranked the candidates."""
        return self.evaluation.placement.model is not None and self.evaluation.rung <= Rung.REDUCED

    def score(self, offers: IntRow) -> None:
        """Has the model score more offers, if it is loaded and has ranked here at all."""
        if self.is_scored:
            _score(self.wide, offers)
            self.key = self._keys()

    def full(self) -> "Field | None":
        """The same placement on the highest rung, before the model scores; None if it is there or cannot get there."""
        evaluation = self.evaluation
        model = evaluation.placement.model
        if model is None or evaluation.rung is Rung.FULL or model.model_id not in evaluation.snapshot.scorers:
            return None
        other = copy(evaluation)
        other.rung = Rung.FULL
        other.eligible, other.propensity = other.eligible[:0], other.propensity[:0]
        field = Field(other)
        if evaluation.rung is Rung.REDUCED:
            field.wide.propensity = self.wide.propensity.copy()
            field.score(other.eligible)
        return field

    def without_limit(self, code: int) -> "Field":
        """The same placement without what a cap or a budget, by its place, leaves for the decision itself."""
        other = copy(self)
        other.wide = copy(self.wide)
        rules = self.evaluation.snapshot.rules.channel(self.evaluation.channel)
        other.wide.rooms = [room for room in self.wide.rooms if room.family != code]
        other.wide.short = [short for short in self.wide.short if rules.first_meter + short.number != code]
        return other

    def keys(self, allowed: BoolRow) -> Keys:
        """The keys of these candidates, NaN for all other offers."""
        if self.evaluation.rung is Rung.DEFAULT:
            return self._places(allowed)
        if self.evaluation.rung is Rung.REDUCED:
            candidates = allowed.nonzero()[0]
            if self.evaluation.plan.rows < len(candidates):
                pinned = [place for _, place in pins_of(self.wide)]
                ahead = np.isin(candidates, pinned).nonzero()[0].tolist()
                best = shortlist(self.wide.worth.take(candidates), self.evaluation.plan.rows, ahead)
                allowed = np.zeros(self.offers, np.bool_)
                allowed[candidates.take(best)] = True
        return np.where(allowed, self.key, np.nan)

    def _places(self, allowed: BoolRow) -> Keys:
        """Where candidates stand among the fallback offers that are left."""
        fallback = self.evaluation.placement.fallback
        left = fallback[allowed[fallback]]
        places = np.full(self.offers, np.nan)
        places[left] = -np.arange(len(left), dtype=np.float64)
        return places

    def _keys(self) -> Keys:
        if self.evaluation.rung is Rung.DEFAULT:
            return self._places(np.ones(self.offers, np.bool_))
        if self.evaluation.placement.model is None:
            self.wide.propensity = self.wide.expected_value = np.zeros(self.offers)
        self.wide.expected_value = self.wide.propensity * self.wide.worth
        key: Keys = np.where(self._ranked & ~np.isnan(self.wide.propensity), rank_key(self.wide), np.nan)
        return key


def run(fields: Sequence[Field], allowed: Sequence[BoolRow], together: bool) -> Outcome:
    """Who wins among these candidates of each placement."""
    keys = [field.keys(mask) for field, mask in zip(fields, allowed, strict=True)]
    if not together:
        contest = contest_of(fields[0].wide, keys[0])
        return Outcome(contest, arbitrate(contest), None)
    layout = contest_together([field.wide for field in fields], keys)
    return Outcome(layout.contest, arbitrate(layout.contest), layout)


def rivals(outcome: Outcome) -> IntRow:
    """For each row the winner that it would have to beat by its key to win: int [rows], or `FREE`, or `NO_RIVAL`.

    Losers use nothing up, so the winners win whoever loses: a row would win if it stood ahead of one of them, and
    limits had room for it then. It is the last such winner, as room only ever shrinks.
    """
    contest, arbitration = outcome.contest, outcome.arbitration
    pinned, others = list(arbitration.pinned.values()), arbitration.others
    count = len(contest.key)
    ledger = Ledger(contest.limits)
    ledger.look_at(np.array(pinned + others, np.intp))
    for place in range(len(pinned)):
        ledger.admit(place)
    rival = np.full(count, NO_RIVAL, np.intp)
    for place, row in enumerate(others, len(pinned)):
        rival[ledger.has_room(count)] = row
        ledger.admit(place)
    if len(arbitration.winners) < contest.slots:
        rival[ledger.has_room(count)] = FREE
    return rival


def _wide(evaluation: Evaluation) -> Evaluation:
    """The evaluation over all offers of the catalog: worth and values of all, scores of those that have some."""
    catalog, policy = evaluation.catalog, evaluation.catalog.policy
    wide = copy(evaluation)
    wide.eligible = np.arange(len(catalog.offers))
    wide.worth = policy.worth.copy()
    for boost in policy.boosts:
        if evaluation.conditions[boost.condition]:
            wide.worth[boost.offers] *= boost.factor
    wide.value = catalog.offers.profit
    wide.propensity = np.full(len(catalog.offers), np.nan)
    if evaluation.rung is Rung.CACHED and evaluation.cached is not None:
        wide.propensity[evaluation.cached.offers] = evaluation.cached.propensities
    wide.propensity[evaluation.eligible] = evaluation.propensity
    return wide


def _ranked(evaluation: Evaluation) -> BoolRow:
    """Which offers can be ranked at all: those of the earlier ranking if that was repeated, else every one."""
    count = len(evaluation.catalog.offers)
    if evaluation.rung is not Rung.CACHED:
        return np.ones(count, np.bool_)
    ranked = np.zeros(count, np.bool_)
    if evaluation.cached is not None:
        ranked[evaluation.cached.offers] = True
    return ranked


def _score(wide: Evaluation, offers: IntRow) -> None:
    model = wide.placement.model
    scorer = None if model is None else wide.snapshot.scorers.get(model.model_id)
    offers = offers[np.isnan(wide.propensity.take(offers))]
    if scorer is None or not len(offers):
        return
    try:
        wide.propensity[offers] = scorer.rescore(wide.variables, offers).propensity
    except ModelFailure:
        # Then they stay unknown, and nothing is said of them.
        return
