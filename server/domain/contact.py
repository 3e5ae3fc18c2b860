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
