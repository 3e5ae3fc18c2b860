"""The question, "which offers, in which order, for this customer, in this context, now?", and its answer."""

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

from server.domain.attribute import Value


class Result(IntEnum):
    """What kind of answer a decision is; values are those of `opportune.v1.Result`."""

    RANKED = 1
    NO_ELIGIBLE_OFFER = 2
    HELD_OUT = 3
    PLACEMENT_DISABLED = 4


class Rung(IntEnum):
    """How much of the ranking was done; values are those of `opportune.v1.Rung`."""

    FULL = 1
    REDUCED = 2
    CACHED = 3
    DEFAULT = 4


class Reason(IntEnum):
    """Why a candidate is not in the answer; values are those of `opportune.v1.Reason`."""

    CONDITION = 1
    CAP = 2
    EXCLUSION_GROUP = 3
    SCHEDULE = 4
    CONSENT = 5
    NO_CREATIVE = 6
    BUDGET = 7
    FILTER = 8
    LOST = 9
    UNKNOWN_OFFER = 10


class Context(NamedTuple):
    """The moment in which the answer is shown; an empty channel means the placement's first."""

    channel: str = ""
    locale: str = ""
    time: datetime | None = None
    attributes: Mapping[str, Value] = MappingProxyType({})


class RankQuery(NamedTuple):
    """One question, a named tuple as one is made for every decision.
    `max_offers` 0 means the placement's slots; no candidates means all offers."""

    customer_id: str
    placement_id: str
    context: Context = Context()
    max_offers: int = 0
    candidate_offer_ids: tuple[str, ...] = ()
    filter: str = ""
    order_by: str = ""
    full_view: bool = False
    include_content: bool = False
    request_id: str = ""
    validate_only: bool = False
    min_profile_version: int = 0


class RankedOffer(NamedTuple):
    """One offer of a decision. A named tuple, because ten of them are made in every decision."""

    offer_id: str
    creative_id: str
    content: Mapping[str, str]
    propensity: float
    value: float
    expected_value: float
    selection_probability: float
    attribution_token: str


class Exclusion(NamedTuple):
    """A candidate that is not in the answer, why, and the same in words."""

    offer_id: str
    reason: Reason
    detail: str


class OfferExplanation(NamedTuple):
    """Why an offer was eligible, and what the model was given for it."""

    conditions_met: tuple[str, ...]
    model_inputs: Mapping[str, float]


class StageTiming(NamedTuple):
    """How long a stage of the decision took."""

    stage: str
    duration_ns: int


class Explanation(NamedTuple):
    """What the FULL view adds; `offers` goes along with the decision's offers."""

    offers: tuple[OfferExplanation, ...]
    exclusions: tuple[Exclusion, ...]
    timings: tuple[StageTiming, ...]


class Decision(NamedTuple):
    """One answer; `model_version` is `name/version`, empty if no model was used."""

    decision_id: str
    customer_id: str
    placement_id: str
    time: datetime
    offers: tuple[RankedOffer, ...]
    result: Result
    rung: Rung
    model_version: str
    profile_version: int
    catalog_version: int
    explanation: Explanation | None = None
