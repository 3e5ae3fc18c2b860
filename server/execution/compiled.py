"""The compiled catalog: everything that a request reads, as arrays, immutable from the moment it is published."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, IntRow, Schema
from server.domain.contact import ContactPolicy, HistoryVariable
from server.domain.decision import Shown
from server.domain.identity import IdentityPolicy
from server.domain.model import OutputKind
from server.domain.offer_table import OfferTable
from server.domain.placement import Placement
from server.execution.policy import Policy
from server.input.features import FeaturePlan
from server.input.variables import VariableReader
from server.intelligence.content import CompiledContent
from server.intelligence.eligibility import Eligibility, Words, pack
from server.intelligence.offer_filter import OfferFilter

_NO_CONTENT = CompiledContent({})


@dataclass(frozen=True, slots=True)
class Standing:
    """What schedules and creatives allow during a stretch of time, whoever the customer is.

    Attributes:
        start, end: The stretch in days since 2020, start inclusive, end exclusive; nothing changes within it.
        offers: The offers that are scheduled and have a creative, as a bit set.
    """

    start: float
    end: float
    offers: Words


class ReadyCreative(NamedTuple):
    """A creative as it is shown, with its content compiled."""

    id: str
    content: CompiledContent


class ChannelCreatives:
    """How each offer is shown on one channel in one locale, and which are `available` because they have a creative."""

    def __init__(self, offers: OfferTable, creatives: Iterable[ReadyCreative | None]) -> None:
        chosen = tuple(creatives)
        self.available: BoolRow = np.array([creative is not None for creative in chosen], np.bool_)
        # An offer without a creative is never among the winners, so what would be shown of it does not matter.
        self.shown = tuple(
            Shown(offer.id, creative.id if creative else "", offer.value.profit)
            for offer, creative in zip(offers.offers, chosen, strict=True)
        )
        self.contents = tuple(creative.content if creative else _NO_CONTENT for creative in chosen)
        self._offers = offers
        self._standing = Standing(0.0, 0.0, np.empty(0, np.uint64))

    def standing(self, now_days: float) -> Words:
        """The offers that are scheduled now and have a creative here, as a bit set.

        Most requests are about now, and schedules change a few times a day, so the last answer is kept.
        """
        if not self._standing.start <= now_days < self._standing.end:
            start, end = self._offers.unchanged(now_days)
            self._standing = Standing(start, end, pack(self._offers.scheduled(now_days) & self.available))
        return self._standing.offers


@dataclass(frozen=True, slots=True)
class CreativeTable:
    """The creatives of all offers by channel and locale."""

    locales: frozenset[str]
    columns: Mapping[tuple[str, str], ChannelCreatives]

    def column(self, channel: str, locale: str) -> ChannelCreatives:
        """The creatives for a channel of the catalog and any locale: its own, its language's, or neutral ones."""
        if locale and locale not in self.locales:
            language = locale.partition("-")[0]
            locale = language if language in self.locales else ""
        return self.columns[channel, locale]


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """How one model is used with this catalog; `slopes` and `intercepts` are float64 [offers]."""

    model_id: str
    output_kind: OutputKind
    features: FeaturePlan
    slopes: NDArray[np.float64]
    intercepts: NDArray[np.float64]


class Sorts(NamedTuple):
    """What diversity tells offers apart by: `keys` int [offers], -1 for none; at most `most` of each, which `room` says
    for each key."""

    by: str
    keys: IntRow
    room: NDArray[np.float64]
    most: int


@dataclass(frozen=True, slots=True)
class CompiledPlacement:
    """A placement with its model, the indices of its fallback offers, and how alike its offers may be.

    `group_room` says for each exclusion group how many of it may be shown: float64 [groups].
    """

    placement: Placement
    model: ModelPlan | None
    fallback: IntRow
    sorts: tuple[Sorts, ...]
    group_room: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CompiledCatalog:
    """One published version of the catalog; `history` are the columns of the contact history in its variables."""

    version: int
    etag: str
    currency: str
    text: str
    identity: IdentityPolicy
    customer: Schema
    context: Schema
    offers: OfferTable
    eligibility: Eligibility
    filter: OfferFilter
    creatives: CreativeTable
    placements: Mapping[str, CompiledPlacement]
    variables: VariableReader
    history: tuple[HistoryVariable, ...]
    policy: Policy
    contacts: ContactPolicy
