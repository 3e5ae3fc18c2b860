"""The catalog as the business writes it: the profile schema, offers and placements."""

from dataclasses import dataclass
from typing import NamedTuple

from server.domain.attribute import Attribute
from server.domain.budget import Budget
from server.domain.channel import Channel
from server.domain.contact import DEFAULT_CONTACT_POLICY
from server.domain.identity import DEFAULT_POLICY, IdentityPolicy
from server.domain.offer import Offer
from server.domain.placement import Placement
from server.domain.quiet_hours import UTC, QuietHours, TimeZones
from server.domain.rule import Lever, Rule


class Problem(NamedTuple):
    """One thing that is wrong with a catalog: where (`offers[3].eligible`) and what."""

    path: str
    description: str

    def __str__(self) -> str:
        return f"{self.path}: {self.description}"


@dataclass(frozen=True, slots=True)
class Catalog:
    """One version of everything that is declared. `etag` identifies the content.

    `offer_attributes` are those that conditions and models may read even if no offer has them; the others that offers
    have need no declaration.
    """

    currency: str
    attributes: tuple[Attribute, ...]
    context: tuple[Attribute, ...]
    offers: tuple[Offer, ...]
    placements: tuple[Placement, ...]
    etag: str
    offer_attributes: tuple[Attribute, ...] = ()
    aggregates: tuple[Attribute, ...] = ()
    identity: IdentityPolicy = DEFAULT_POLICY
    rules: tuple[Rule, ...] = ()
    levers: tuple[Lever, ...] = ()
    budgets: tuple[Budget, ...] = ()
    channels: tuple[Channel, ...] = ()
    quiet_hours: tuple[QuietHours, ...] = ()
    time_zones: TimeZones = UTC
    hold_us: int = DEFAULT_CONTACT_POLICY.hold_us
    attribution_us: int = DEFAULT_CONTACT_POLICY.attribution_us
    household: str = ""
    content_attributes: frozenset[str] = frozenset()
