"""Caps: how often customers may be contacted."""

from dataclasses import dataclass
from enum import StrEnum

from server.domain.contact import ContactKind, ContactScope

MAX_WINDOW_DAYS = 400


class CapSubject(StrEnum):
    """Whose contacts a cap counts: one customer's, those of the customer's household, or everybody's."""

    CUSTOMER = "customer"
    HOUSEHOLD = "household"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `count` contacts of a kind in any `window_us`, over the contacts that the scope puts together.

    A decision holds what it may become until its time is over, so that no concurrency exceeds a cap. A cool-down is a
    cap of one on declined.
    """

    count: int
    window_us: int
    per: CapSubject = CapSubject.CUSTOMER
    of: ContactScope = ContactScope.OFFER
    on: ContactKind = ContactKind.IMPRESSION

    def __str__(self) -> str:
        days = self.window_us / 86_400_000_000
        window = f"{days:g} d" if days >= 1 else f"{days * 24:g} h"
        return f"{self.count} {self.on.name.lower()} in {window}{_OF[self.of]}{_PER[self.per]}"


_PER = {CapSubject.CUSTOMER: "", CapSubject.HOUSEHOLD: " per household", CapSubject.GLOBAL: " of everybody"}
_OF = {
    ContactScope.OFFER: "",
    ContactScope.EXCLUSION_GROUP: " of the exclusion group",
    ContactScope.TACTIC: " of the tactic",
    ContactScope.CHANNEL: " on the channel",
    ContactScope.ALL: " of all offers",
}
