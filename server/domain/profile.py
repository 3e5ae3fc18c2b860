"""Profiles and the deltas that change them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from server.domain.attribute import Value
from server.domain.errors import OpportuneError


@dataclass(frozen=True, slots=True)
class AttributeUpdates:
    """New values, amounts to add, members to add and members to take out, by attribute or `attribute.key`.

    An empty tuple under `remove` makes the attribute missing.
    """

    set: Mapping[str, Value] = field(default_factory=dict)
    increment: Mapping[str, float] = field(default_factory=dict)
    append: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    remove: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """Something the customer did."""

    type: str
    properties: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConsentUpdate:
    """A customer's answer to whether their data may be used for a purpose."""

    purpose: str
    granted: bool
    source: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class ProfileDelta:
    """One change to one customer, applied whole or not at all."""

    customer_id: str
    event_time: datetime
    change: AttributeUpdates | Event | ConsentUpdate


@dataclass(frozen=True, slots=True)
class RejectedDelta:
    """A delta that was refused: its place in the request and why."""

    index: int
    error: OpportuneError


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known about one customer; `version` is the journal offset of the last change."""

    customer_id: str
    attributes: Mapping[str, Value]
    consents: Mapping[str, bool]
    version: int
    update_time: datetime
