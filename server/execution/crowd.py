"""A crowd: customers who are decided on together, each on their own, and what the stages leave for each other.

An `Occasion` is what is the same for all of them, as `Evaluation` has it for one. Arrays of a crowd have a place for
each of its customers, in the order of `rows`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, FloatRow, IntRow
from server.domain.decision import Context, RankQuery
from server.domain.errors import invalid_field
from server.execution.compiled import ChannelCreatives, CompiledCatalog, CompiledPlacement
from server.execution.contact_rules import ChannelRules
from server.execution.evaluation import Moment, Snapshot, begin
from server.execution.rank import MAX_LOCALE_BYTES
from server.execution.scoring import Scorer
from server.input.contacts import Events
from server.intelligence.caps import Most
from server.intelligence.mass_arbitration import MassLimit

_EVERYBODY = "everybody"


class Occasion(NamedTuple):
    """Where and when everybody is decided on, and in what context. `scorer` is None where no model ranks."""

    snapshot: Snapshot
    catalog: CompiledCatalog
    placement: CompiledPlacement
    context: Context
    channel: str
    creatives: ChannelCreatives
    slots: int
    most: Most
    now_us: int
    now_days: float
    rules: ChannelRules
    scorer: Scorer | None

    @classmethod
    def of(cls, snapshot: Snapshot, placement_id: str, context: Context, time: datetime, max_offers: int = 0) -> Self:
        """The occasion at a placement; of the context everything counts but the time.

        Raises:
            OpportuneError: PLACEMENT_NOT_FOUND, or INVALID_FIELD for channel, locale or max_offers. Context attributes
                are checked by whoever reads them.
        """
        if max_offers < 0:
            raise invalid_field("max_offers", "must not be negative")
        if len(context.locale.encode()) > MAX_LOCALE_BYTES:
            raise invalid_field("context.locale", f"is longer than {MAX_LOCALE_BYTES} bytes")
        query = RankQuery(_EVERYBODY, placement_id, context, max_offers)
        begun = begin(snapshot, query, Moment(time, 0, 0, lambda: 0), placement_id)
        model = begun.placement.model
        return cls(
            snapshot=snapshot,
            catalog=begun.catalog,
            placement=begun.placement,
            context=context,
            channel=begun.channel,
            creatives=begun.creatives,
            slots=begun.slots,
            most=begun.most,
            now_us=begun.now_us,
            now_days=begun.now_days,
            rules=snapshot.rules.channel(begun.channel),
            scorer=None if model is None else snapshot.scorers[model.model_id],
        )


class Crowd:
    """Some customers on their way through the stages.

    Attributes:
        rows: int [customers], rows of the profile table.
        names: What each customer is called.
        events: The contacts of those who had any, by their place in the crowd.
        variables: float32 [columns, customers], as `VariableReader` gives them for one.
        granted: uint32 [customers], a bit for each purpose that a customer agreed to.
        conditions: bool [conditions, customers], those of the catalog's policy.
        allowed: bool [customers, offers], what may be shown.
        limits: What caps, budgets, groups and diversity leave for the decisions themselves.
        customers, offers: int [pairs], the customer and the offer of each pair that is allowed, in this order.
        worth, propensity: float64 [pairs].
        failed: bool [customers], whom the model could not score.
    """

    __slots__ = (
        "allowed", "conditions", "customers", "events", "failed", "granted", "limits", "names", "occasion", "offers",
        "propensity", "rows", "variables", "worth",
    )  # fmt: skip

    occasion: Occasion
    rows: IntRow
    names: list[str]
    events: Mapping[int, Events]
    variables: FloatRow
    granted: NDArray[np.uint32]
    conditions: BoolRow
    allowed: BoolRow
    limits: list[MassLimit]
    customers: IntRow
    offers: IntRow
    worth: NDArray[np.float64]
    propensity: NDArray[np.float64]
    failed: BoolRow

    def __init__(self, occasion: Occasion, rows: IntRow, names: list[str]) -> None:
        self.occasion, self.rows, self.names = occasion, rows, names
        self.events = {}
        self.limits = []
        self.failed = np.zeros(len(rows), np.bool_)

    def __len__(self) -> int:
        return len(self.rows)
