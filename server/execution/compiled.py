"""The compiled catalog: everything that a request reads, as arrays, immutable from the moment it is published."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, IntRow, Schema
from server.domain.model import OutputKind
from server.domain.offer import Creative
from server.domain.offer_table import OfferTable
from server.domain.placement import Placement
from server.input.features import FeaturePlan
from server.input.variables import VariableReader
from server.intelligence.eligibility import Eligibility
from server.intelligence.offer_filter import OfferFilter


@dataclass(frozen=True, slots=True)
class ChannelCreatives:
    """Each offer's creative on one channel in one locale; None where it has none, and then `available` is false."""

    available: BoolRow
    creatives: tuple[Creative | None, ...]


@dataclass(frozen=True, slots=True)
class CreativeTable:
    """The creatives of all offers by channel and locale."""

    locales: frozenset[str]
    columns: Mapping[tuple[str, str], ChannelCreatives]

    def column(self, channel: str, locale: str) -> ChannelCreatives:
        """The creatives for a channel of the catalog and any locale: its own, its language's, or neutral ones."""
        if locale not in self.locales:
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


@dataclass(frozen=True, slots=True)
class CompiledPlacement:
    """A placement with its model and the indices of its fallback offers."""

    placement: Placement
    model: ModelPlan | None
    fallback: IntRow


@dataclass(frozen=True, slots=True)
class CompiledCatalog:
    """One published version of the catalog."""

    version: int
    etag: str
    currency: str
    customer: Schema
    context: Schema
    offers: OfferTable
    eligibility: Eligibility
    filter: OfferFilter
    creatives: CreativeTable
    placements: Mapping[str, CompiledPlacement]
    variables: VariableReader
