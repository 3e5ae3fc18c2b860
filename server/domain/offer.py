"""Offers: the tactic made concrete, what it is worth, and how it is shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from server.domain.attribute import Value
from server.domain.cap import Cap


@dataclass(frozen=True, slots=True)
class Creative:
    """An offer's content on one channel, in one language or (empty locale) in any."""

    id: str
    channel: str
    locale: str = ""
    content: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OfferValue:
    """What a conversion brings, in the catalog's currency; `margin` is a fraction of the revenue."""

    revenue: float
    margin: float
    cost: float = 0.0

    @property
    def profit(self) -> float:
        """Profit if the customer takes the offer."""
        return self.revenue * self.margin - self.cost


@dataclass(frozen=True, slots=True)
class Offer:
    """Something a customer can be offered; `start` is inclusive, `end` exclusive.

    At most one offer of an `exclusion_group` is in a decision; empty: the offer is in none. With a `purpose`, only
    customers who granted it get the offer.
    """

    id: str
    tactic: str
    value: OfferValue
    attributes: Mapping[str, Value] = field(default_factory=dict)
    eligible: str = ""
    start: datetime | None = None
    end: datetime | None = None
    channels: tuple[str, ...] = ()
    creatives: tuple[Creative, ...] = ()
    exclusion_group: str = ""
    caps: tuple[Cap, ...] = ()
    purpose: str = ""

    def creative_for(self, channel: str, locale: str) -> Creative | None:
        """The creative for a channel: of the locale, else of its language, else of no locale, else None."""
        if self.channels and channel not in self.channels:
            return None
        on_channel = [creative for creative in self.creatives if creative.channel == channel]
        language = locale.partition("-")[0]
        for wanted in (locale, language, ""):
            for creative in on_channel:
                if creative.locale == wanted:
                    return creative
        return None
