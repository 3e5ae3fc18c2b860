"""What the stages of one decision leave for each other, and for whoever explains or records it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, FloatRow, IntRow, days_since_epoch
from server.domain.clock import microseconds_of
from server.domain.decision import RankQuery, Rung
from server.domain.errors import ErrorReason, OpportuneError, invalid_field
from server.execution.cached import CachedRanking, Where
from server.execution.compiled import ChannelCreatives, CompiledCatalog, CompiledPlacement
from server.execution.contact_rules import ContactRules
from server.execution.ladder import Plan
from server.execution.meter_room import ShortLimit
from server.execution.scoring import Scorer
from server.inference.cost import Cost
from server.input.profiles import ProfileRow, ProfileTable
from server.intelligence.arbitration import Arbitration, Contest
from server.intelligence.caps import CapRoom, Counted, Most

NOTHING: NDArray[np.float64] = np.empty(0)
NOBODY: IntRow = np.empty(0, np.intp)
NOT_ASKED = (None, None)


class Snapshot(NamedTuple):
    """Everything that a decision reads. `rest` is what a decision costs behind its scores."""

    catalog: CompiledCatalog
    profiles: ProfileTable
    rules: ContactRules
    scorers: Mapping[str, Scorer]
    rest: Cost
    profile_version: int


FindCached = Callable[[str, Where, str, int], CachedRanking | None]


class Moment(NamedTuple):
    """When and how a decision is made.

    Attributes:
        time: The time to decide for, with time zone.
        number, tag: Of the decision; the tag is also the seed that shuffles ties.
        clock_ns: A monotonic clock, read for timings, and to see how much time is left.
        ends_ns: When, on this clock, the answer must be there; None: nobody waits.
        plans: What a replay does at each placement instead of choosing by the clock.
        cached: The last ranking of a customer somewhere by a model, if there is one that may be repeated at a time.
        received_us: When it was asked for, which may be any time before or after the one to decide for.
    """

    time: datetime
    number: int
    tag: int
    clock_ns: Callable[[], int]
    ends_ns: int | None = None
    plans: Mapping[str, Plan] | None = None
    cached: FindCached = lambda customer_id, where, model_id, now_us: None  # nobody has seen anything
    received_us: int = 0


class Slate(NamedTuple):
    """What a placement shows, slot by slot: offers of the catalog, with the numbers of the answer."""

    offers: IntRow
    propensity: NDArray[np.float64]
    expected_value: NDArray[np.float64]


EMPTY_SLATE = Slate(NOBODY, NOTHING, NOTHING)


class Evaluation:
    """One decision on its way.

    `allowed` holds indices of offers that may be shown, `eligible` those of them that are ranked, which on lower rungs
    may be fewer; `propensity`, `value` and `expected_value` go along with `eligible`, and `winners` are places in it,
    best first. `slots` are the placement's, `most` what the whole decision may show. `row` is the customer's row,
    `own_row` that of the identifier. `held` are the offers that caps and budgets hold back, with the places of what
    does in `held_by`; `counted` is what the contacts of customer and household count for, None where no cap asks;
    `gone` are offers of which no meter has anything left, with the places of their limits, and `short` the limits of
    several offers that the decision may reach.
    """

    __slots__ = (
        "allowed", "arbitration", "cached", "catalog", "channel", "conditions", "contest", "counted",
        "creatives", "eligible", "expected_value", "first_row", "gone", "granted", "held", "held_by", "marks",
        "model_id", "moment", "most", "now_days", "now_us", "own_row", "placement", "plan", "profile",
        "propensity", "query", "quiet", "requested", "rooms", "row", "rung", "short", "slate", "slots", "snapshot",
        "tensors", "truth", "value", "variables", "winners", "worth",
    )  # fmt: skip

    snapshot: Snapshot
    catalog: CompiledCatalog
    placement: CompiledPlacement
    query: RankQuery
    moment: Moment
    now_us: int
    now_days: float
    slots: int
    most: Most
    channel: str
    creatives: ChannelCreatives
    row: int
    own_row: int
    profile: ProfileRow | None
    granted: int
    variables: FloatRow
    truth: BoolRow
    conditions: BoolRow
    quiet: bool
    requested: BoolRow | None
    held: IntRow
    held_by: IntRow
    counted: tuple[Counted | None, Counted | None]
    rooms: Sequence[CapRoom]
    short: Sequence[ShortLimit]
    gone: tuple[IntRow, IntRow]
    allowed: IntRow
    eligible: IntRow
    plan: Plan
    cached: CachedRanking | None
    model_id: str
    tensors: dict[str, FloatRow]
    propensity: NDArray[np.float64]
    value: NDArray[np.float64]
    worth: NDArray[np.float64]
    expected_value: NDArray[np.float64]
    contest: Contest | None
    first_row: int
    arbitration: Arbitration | None
    winners: IntRow
    slate: Slate
    rung: Rung
    marks: list[int]

    @property
    def where(self) -> Where:
        """Where the ranking is shown."""
        return Where(self.placement.placement.id, self.channel, self.query.context.locale)


def begin(snapshot: Snapshot, query: RankQuery, moment: Moment, placement_id: str) -> Evaluation:
    """An evaluation for one placement, of which nothing is known yet.

    Raises:
        OpportuneError: PLACEMENT_NOT_FOUND, or INVALID_FIELD for the channel.
    """
    evaluation = Evaluation()
    catalog = snapshot.catalog
    placement = catalog.placements.get(placement_id)
    if placement is None:
        metadata = {"placement_id": placement_id, "catalog_version": str(catalog.version)}
        message = f"there is no placement {placement_id} in catalog version {catalog.version}"
        raise OpportuneError(ErrorReason.PLACEMENT_NOT_FOUND, message, metadata)
    channels = placement.placement.channels
    channel = query.context.channel or channels[0]
    if channel not in channels:
        raise invalid_field("context.channel", f"placement {placement_id} has {', '.join(channels)}")
    evaluation.snapshot, evaluation.catalog, evaluation.placement = snapshot, catalog, placement
    evaluation.query, evaluation.moment, evaluation.channel = query, moment, channel
    evaluation.now_us = microseconds_of(moment.time)
    evaluation.now_days = days_since_epoch(moment.time)
    evaluation.creatives = catalog.creatives.column(channel, query.context.locale)
    slots = placement.placement.slots
    evaluation.slots = min(query.max_offers or slots, slots)
    evaluation.most = Most(evaluation.slots, placement.placement.max_per_group)
    evaluation.rung = Rung.FULL
    evaluation.model_id = ""
    evaluation.cached = None
    evaluation.contest = evaluation.arbitration = None
    evaluation.first_row = 0
    evaluation.winners = evaluation.held = evaluation.held_by = NOBODY
    evaluation.counted, evaluation.rooms, evaluation.short = NOT_ASKED, (), ()
    evaluation.gone = NOBODY, NOBODY
    evaluation.slate = EMPTY_SLATE
    evaluation.marks = []
    return evaluation


def that_ran(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Those whose stages have run: of a placement that is disabled nothing is known."""
    return [evaluation for evaluation in evaluations if evaluation.marks]


def show_together(evaluations: Sequence[Evaluation]) -> None:
    """Says of each of these evaluations what they may show together."""
    slots = sum(evaluation.slots for evaluation in evaluations)
    of_group = max((evaluation.most.of_group for evaluation in evaluations), default=1)
    for evaluation in evaluations:
        evaluation.most = Most(slots, of_group)
