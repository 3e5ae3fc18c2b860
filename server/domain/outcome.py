"""Outcomes: what became of a decision, as callers report it."""

from enum import IntEnum
from typing import NamedTuple

from server.domain.contact import ContactKind, ContactSubject
from server.domain.profile import Event


class DecisionRef(NamedTuple):
    """One offer of one decision: what an attribution token says."""

    number: int
    tag: int
    slot: int


class Outcome(NamedTuple):
    """Something that happened to an offer that was shown, or to one that nobody decided to show.

    Attributes:
        outcome_id: The caller's own name for it; a second report of the same is the same.
        decision: Whose it is; None: the latest decision for this customer and offer.
        placement_id: Narrows that down; empty: any placement.
        revenue, profit: In the catalog's currency, 0 if not known. Revenue is never negative, profit may be.
    """

    outcome_id: str
    kind: ContactKind
    event_time_us: int
    decision: DecisionRef | None = None
    customer_id: str = ""
    offer_id: str = ""
    placement_id: str = ""
    revenue: float = 0.0
    profit: float = 0.0


class Attribution(IntEnum):
    """What became of a report; values are those of `opportune.v1.Attribution`."""

    ATTRIBUTED = 1
    LATE = 2
    REPEATED = 3
    UNATTRIBUTED = 4


class AttributedOutcome(NamedTuple):
    """A report and what became of it; `decision` is whose it turned out to be."""

    attribution: Attribution
    decision: DecisionRef | None


def event_type(kind: ContactKind) -> str:
    """The type of the event that an outcome is for aggregates: `offer_impression`, `offer_converted` …"""
    return f"offer_{kind.name.lower()}"


def event_of(outcome: Outcome, subject: ContactSubject | None) -> Event:
    """The event that an outcome is for aggregates; the subject is that of its decision, if there was one."""
    properties: dict[str, float | str] = {"revenue": outcome.revenue, "profit": outcome.profit}
    if subject is not None:
        properties |= {"offer_id": subject.offer_id, "placement_id": subject.placement_id}
        properties |= {"tactic": subject.tactic, "exclusion_group": subject.exclusion_group}
    else:
        properties |= {"offer_id": outcome.offer_id, "placement_id": outcome.placement_id}
    return Event(event_type(outcome.kind), properties)
