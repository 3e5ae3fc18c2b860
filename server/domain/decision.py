"""The question, "which offers, in which order, for this customer, in this context, now?", and its answer."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

from server.domain.attribute import Value
from server.domain.content import FilledContent

CERTAIN = 1.0
"""The selection probability of every offer, as nothing explores yet."""


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
    DIVERSITY = 11


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
    further_placement_ids: tuple[str, ...] = ()


class Shown(NamedTuple):
    """What an answer says of an offer on a channel, whoever the customer is."""

    offer_id: str
    creative_id: str
    value: float


class Ranking(NamedTuple):
    """The offers of a decision as columns, best first: most decisions never need an object for each.

    `contents` is empty unless content was asked for; `placements` unless there are several.
    """

    shown: Sequence[Shown] = ()
    propensities: Sequence[float] = ()
    expected_values: Sequence[float] = ()
    contents: Sequence[FilledContent] = ()
    placements: Sequence[str] = ()


class RankedOffer(NamedTuple):
    """One offer of a decision."""

    offer_id: str
    creative_id: str
    content: Mapping[str, str]
    propensity: float
    value: float
    expected_value: float
    selection_probability: float
    attribution_token: str
    placement_id: str = ""


class Exclusion(NamedTuple):
    """A candidate that is not in the answer, why, and the same in words.

    `would_have_won_if` is the smallest single change with which it would have been; empty if none is known.
    """

    offer_id: str
    reason: Reason
    detail: str
    would_have_won_if: str = ""


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
    ranking: Ranking
    result: Result
    rung: Rung
    model_version: str
    profile_version: int
    catalog_version: int
    explanation: Explanation | None = None

    @property
    def offers(self) -> tuple[RankedOffer, ...]:
        """The ranking, an object for each offer."""
        ranking = self.ranking
        rows = zip(ranking.shown, ranking.propensities, ranking.expected_values, strict=True)
        return tuple(
            RankedOffer(
                offer_id=shown.offer_id,
                creative_id=shown.creative_id,
                content=ranking.contents[slot].with_texts({}) if ranking.contents else {},
                propensity=propensity,
                value=shown.value,
                expected_value=expected_value,
                selection_probability=CERTAIN,
                attribution_token=attribution_token(self.decision_id, slot),
                placement_id=ranking.placements[slot] if ranking.placements else self.placement_id,
            )
            for slot, (shown, propensity, expected_value) in enumerate(rows)
        )


_ID = re.compile(r"([0-9a-f]{16})([0-9a-f]{16})")
_TOKEN = re.compile(_ID.pattern + r"\.(0|[1-9][0-9]{0,3})")


def decision_id_of(number: int, tag: int) -> str:
    """The id of a decision: its number, and 64 random bits, so that nobody guesses the ids of others."""
    return f"{number:016x}{tag:016x}"


def parse_decision_id(text: str) -> tuple[int, int] | None:
    """Number and tag of a decision id, None if it is none."""
    match = _ID.fullmatch(text)
    return None if match is None else (int(match[1], 16), int(match[2], 16))


def attribution_token(decision_id: str, slot: int) -> str:
    """What callers hand back with an outcome: which decision it belongs to, and which of its offers."""
    return f"{decision_id}.{slot}"


def parse_token(text: str) -> tuple[int, int, int] | None:
    """Number, tag and slot of an attribution token, None if it is none."""
    match = _TOKEN.fullmatch(text)
    return None if match is None else (int(match[1], 16), int(match[2], 16), int(match[3]))
