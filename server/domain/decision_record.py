"""What is written down of a decision: enough to say it in words, and to make it once more."""

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, FloatRow, IntRow
from server.domain.decision import RankQuery

MAX_LOST = 32
"""How many of the offers that are not in the answer are written down."""


class Counts(IntEnum):
    """What an amount in a record was counted of, and by which key."""

    CUSTOMER = 0
    """Contacts of the customer, by the key of a cap."""
    HOUSEHOLD = 1
    """Contacts of the household, by the key of a cap."""
    LEFT = 2
    """What is left of a meter's limit, in millionths, by the place of the limit."""


class DecisionRecord(NamedTuple):
    """One decision, as references to what the decision was made of: nothing of it may change afterwards.

    One is made for every decision, so it is a named tuple of arrays, and whoever keeps it does the rest later.

    Attributes:
        number: Above 0 and below 2**63, unique; later decisions have higher ones. The first half of the decision's id.
        tag: 64 random bits, the second half of the id: who knows a number does not know its decision.
        time_us: Of the decision.
        query: As it came; points in time have a time zone.
        result: A `Result`.
        rung: A `Rung`.
        model_id: Empty if no model was used.
        plans: For each placement that was ranked, its rung, how many candidates the model was given, and how many
            offers of an earlier ranking were repeated.
        variables: What was known of customer and context, float32 [variables].
        truth: Which clauses held, bool [clauses].
        granted: The purposes that the customer had agreed to, as bits by their places in the catalog.
        counted: What contacts and meters had come to, (placement, `Counts`, amounts by key), once for each channel: the
            place of the first placement there in the query, and what was counted for which key.
        capped: The offers that caps or budgets held back, below 2**31 as all offers are.
        capped_by: For each of `capped`, what held it back.
        repeated: The offers of the earlier rankings that were repeated, placement by placement.
        repeated_propensity: Of each of `repeated`.
        shown: The offers of the answer, best first, placement by placement.
        shown_at: For each of `shown`, the place of its placement in the query.
        propensity: Of each of `shown`.
        expected_value: Of each of `shown`.
        lost: The best of the others, at most `MAX_LOST`.
        lost_propensity: Of each of `lost`, in single precision once it has been written.
        lost_expected_value: Likewise.
        timings_ns: How long each stage took.
    """

    number: int
    tag: int
    time_us: int
    profile_version: int
    catalog_version: int
    query: RankQuery
    result: int
    rung: int
    model_id: str
    plans: tuple[tuple[int, int, int], ...]
    variables: FloatRow
    truth: BoolRow
    granted: int
    counted: tuple[tuple[int, int, Mapping[int, int]], ...]
    capped: IntRow
    capped_by: IntRow
    repeated: IntRow
    repeated_propensity: NDArray[np.float64]
    shown: IntRow
    shown_at: IntRow
    propensity: NDArray[np.float64]
    expected_value: NDArray[np.float64]
    lost: IntRow
    lost_propensity: FloatRow | NDArray[np.float64]
    lost_expected_value: FloatRow | NDArray[np.float64]
    timings_ns: tuple[int, ...]
