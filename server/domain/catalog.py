"""The catalog as the business writes it: the profile schema, offers and placements."""

from dataclasses import dataclass
from typing import NamedTuple

from server.domain.attribute import Attribute
from server.domain.identity import DEFAULT_POLICY, IdentityPolicy
from server.domain.offer import Offer
from server.domain.placement import Placement


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
