"""RankAudience: what RankOffers would answer every customer of an audience, many customers at a time.

Every customer is decided on alone, as with `validate_only`: nothing is recorded, and budgets and caps are as they are
now, however many decisions go before in the batch. There is no deadline, so nobody gets less than the whole ranking;
whom the model fails for gets the placement's fallback offers.

Sketch for a million customers and 200 offers: 1,000 crowds of 1,000 customers. A crowd is some 2,000 numpy calls over
arrays of a megabyte, 10 to 20 ms, and a run of the model for each customer, 10 to 90 us.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from server.domain.attribute import IntRow
from server.domain.condition import ConditionError
from server.domain.decision import Context
from server.domain.errors import invalid_field
from server.execution.batch_candidates import find_eligible, hold_back
from server.execution.batch_scores import pair_up, score, weigh
from server.execution.batch_slates import Slates, fill_slots
from server.execution.crowd import Crowd, Occasion
from server.execution.crowd_variables import CrowdReader, events_of, fill_history
from server.execution.evaluation import Snapshot
from server.input.columns import CustomerColumns
from server.input.customers import customers_of_page
from server.intelligence.audience import Audience

CELLS_AT_ONCE = 1 << 18
"""How many pairs of customer and offer a crowd has at most: the arrays over them are 2 MiB each."""

MOST_AT_ONCE = 1_024
_FEWEST_AT_ONCE = 16

_STAGES: tuple[Callable[[Crowd], None], ...] = (find_eligible, hold_back, pair_up, weigh, score)

SeedOf = Callable[[int, str], int]
"""Gives the seed of a customer's decision, 64 bits, for a catalog version and the customer's name."""


class BatchQuery(NamedTuple):
    """Whom to rank for, and where. An empty audience is everybody; `max_offers` 0 means the placement's slots."""

    audience: str
    placement_id: str
    context: Context = Context()
    max_offers: int = 0


class Answers(NamedTuple):
    """The answers to some customers: who they are, whom the model failed for, and who won."""

    names: Sequence[str]
    failed: NDArray[np.bool_]
    slates: Slates


class Part(NamedTuple):
    """A part of a batch: how many customers were looked at for it, and the answers to those in the audience."""

    looked_at: int
    answers: Answers | None


def seed_of(catalog_version: int, name: str) -> int:
    """The seed of a decision in a batch: a customer's ties fall alike for as long as the catalog is the same."""
    return xxh3_64_intdigest(name.encode(), seed=catalog_version)


class RankAudience:
    """Ranks the catalog's offers for every customer of an audience. The snapshot must not change meanwhile."""

    def __init__(self, snapshot: Snapshot, query: BatchQuery, time: datetime, seed: SeedOf = seed_of) -> None:
        """Compiles the audience and finds the placement.

        Raises:
            OpportuneError: PLACEMENT_NOT_FOUND, or INVALID_FIELD for audience, context or max_offers.
        """
        self.occasion = Occasion.of(snapshot, query.placement_id, query.context, time, query.max_offers)
        self._audience = _compiled(query.audience, snapshot)
        self._profiles = snapshot.profiles
        self._history = snapshot.rules.history_reader(self._audience.history)
        self._reader = CrowdReader(self.occasion)
        self._seed = seed

    @property
    def customers(self) -> int:
        """How many customers there are, in the audience or not."""
        return sum(len(customers_of_page(self._profiles, number)) for number in range(len(self._profiles.pages)))

    def __iter__(self) -> Iterator[Part]:
        """The answers, some customers at a time, in the order of the table."""
        waiting: list[IntRow] = []
        looked_at = 0
        # A placement that is switched off has nothing for anybody.
        enabled = self.occasion.placement.placement.enabled
        at_once = min(max(CELLS_AT_ONCE // max(len(self.occasion.catalog.offers), 1), _FEWEST_AT_ONCE), MOST_AT_ONCE)
        for rows, members in self._members():
            looked_at += len(rows)
            waiting += [members] if enabled else []
            while sum(map(len, waiting)) >= at_once:
                together = np.concatenate(waiting)
                waiting = [together[at_once:]]
                yield Part(looked_at, self.answer(together[:at_once]))
                looked_at = 0
        rest = np.concatenate(waiting) if waiting else np.empty(0, np.intp)
        yield Part(looked_at, self.answer(rest) if len(rest) else None)

    def answer(self, rows: IntRow) -> Answers:
        """The answers to the customers of these rows, at least one."""
        crowd = self._reader.read(rows)
        for stage in _STAGES:
            stage(crowd)
        version = self.occasion.catalog.version
        seeds = np.array([self._seed(version, name) for name in crowd.names], np.uint64)
        return Answers(crowd.names, crowd.failed, fill_slots(crowd, seeds))

    def _members(self) -> Iterator[tuple[IntRow, IntRow]]:
        """All customers, page by page, and those of them who are in the audience."""
        audience, occasion = self._audience, self.occasion
        for rows, columns in CustomerColumns(self._profiles, audience.columns).blocks(occasion.now_days):
            history = None
            if audience.history:
                absent = [np.nan if each.window_days is None else 0.0 for each in audience.history]
                history = np.repeat(np.array(absent, np.float32)[:, None], len(rows), axis=1)
                fill_history(history, self._history, events_of(self._profiles, rows), occasion.now_us)
            yield rows, rows[audience.holds(columns, history, occasion.now_days)]


def _compiled(text: str, snapshot: Snapshot) -> Audience:
    try:
        return Audience.compile(text, snapshot.catalog.customer)
    except ConditionError as error:
        raise invalid_field("audience", str(error)) from error
