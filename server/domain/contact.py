"""Contacts: what a customer was shown and what became of it. Caps count them, conditions read them."""

from enum import IntEnum, StrEnum
from typing import NamedTuple


class ContactKind(IntEnum):
    """What happened between a customer and an offer.

    All but a decision are outcomes, which callers report; their values are those of `opportune.v1.OutcomeKind`.
    """

    DECISION = 0
    IMPRESSION = 1
    CLICK = 2
    ACCEPTED = 3
    DECLINED = 4
    CONVERTED = 5


REACHED: dict[ContactKind, tuple[ContactKind, ...]] = {
    ContactKind.IMPRESSION: (ContactKind.IMPRESSION,),
    ContactKind.CLICK: (ContactKind.IMPRESSION, ContactKind.CLICK),
    ContactKind.ACCEPTED: (ContactKind.IMPRESSION, ContactKind.ACCEPTED),
    ContactKind.DECLINED: (ContactKind.IMPRESSION, ContactKind.DECLINED),
    ContactKind.CONVERTED: (ContactKind.IMPRESSION, ContactKind.ACCEPTED, ContactKind.CONVERTED),
}
"""What an outcome says has happened: nobody accepts what was not shown, whoever forgot to report it."""

HOLDING = frozenset({ContactKind.IMPRESSION, ContactKind.CLICK, ContactKind.ACCEPTED, ContactKind.CONVERTED})
"""What a decision may become and therefore holds. Nobody hopes for a refusal, so that none is held."""

UNCOUNTED = 15
"""In the place of a kind: an event that stands for more than is kept; whatever counts must take it for too many."""

KIND_MASK = 0xF
REACHED_SHIFT = 4
STATE_BITS = 10
STATE_MASK = (1 << STATE_BITS) - 1
"""An event's state: its kind in 4 bits, and of a decision a bit for each kind that was reached since."""


def reached_bit(kind: ContactKind) -> int:
    """The bit of a decision's state that says that a kind was reached."""
    return 1 << (REACHED_SHIFT + kind)


class ContactScope(StrEnum):
    """Which contacts count together: those with the same offer, exclusion group, tactic or channel, or all."""

    OFFER = "offer"
    EXCLUSION_GROUP = "exclusion_group"
    TACTIC = "tactic"
    CHANNEL = "channel"
    ALL = "all"


class HistoryVariable(NamedTuple):
    """A number that conditions read of a customer's contacts.

    Attributes:
        kind: Which contacts.
        window_days: How many of them there were within so many days before the decision, whole and at least 1; None:
            how many days ago the latest was, missing if there was none.
        scope, key: Those of one offer, exclusion group or tactic, named by its id, or (ALL, with an empty key) all.
    """

    kind: ContactKind
    window_days: int | None
    scope: ContactScope = ContactScope.ALL
    key: str = ""


class Draw(NamedTuple):
    """What one decision for an offer takes from a meter: a budget, or a cap that all customers share.

    Attributes:
        meter: The meter's id.
        on: What commits it; a decision only holds it, unless decisions are what is counted.
        window_us: How long it counts, 0 for ever.
        amount: In millionths: of a contact, or of the catalog's currency.
    """

    meter: str
    on: ContactKind
    window_us: int
    amount: int


class ContactSubject(NamedTuple):
    """What a contact was about, as it was when the decision was made: later catalogs do not change it."""

    offer_id: str
    placement_id: str = ""
    channel: str = ""
    tactic: str = ""
    exclusion_group: str = ""
    draws: tuple[Draw, ...] = ()

    def key(self, scope: ContactScope) -> str | None:
        """What a scope puts this and others together by; None if it has nothing in common with anything."""
        match scope:
            case ContactScope.OFFER:
                return self.offer_id
            case ContactScope.EXCLUSION_GROUP:
                # An offer without a group shares it with nobody.
                return self.exclusion_group or None
            case ContactScope.TACTIC:
                return self.tactic or None
            case ContactScope.CHANNEL:
                return self.channel
            case _:
                return ""


class ContactPolicy(NamedTuple):
    """How contacts are kept.

    Attributes:
        hold_us: How long a decision holds what its outcomes have not used.
        attribution_us: How long after a decision an outcome without token is taken for one of it.
        horizon_us: How long contacts matter to anything; older ones may be let go.
    """

    hold_us: int = 15 * 60 * 1_000_000
    attribution_us: int = 7 * 86_400_000_000
    horizon_us: int = 400 * 86_400_000_000


DEFAULT_CONTACT_POLICY = ContactPolicy()
