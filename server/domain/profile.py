"""Profiles and the deltas that change them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from server.domain.attribute import Value
from server.domain.errors import OpportuneError

_NONE: Mapping[str, Any] = MappingProxyType({})

# Deltas come by the ten thousand a second, so these are tuples, which are made in a third of a dataclass's time.


class AttributeUpdates(NamedTuple):
    """New values, amounts to add, members to add and members to take out, by attribute or `attribute.key`.

    An empty tuple under `remove` makes the attribute missing.
    """

    set: Mapping[str, Value] = _NONE
    increment: Mapping[str, float] = _NONE
    append: Mapping[str, tuple[str, ...]] = _NONE
    remove: Mapping[str, tuple[str, ...]] = _NONE


class Event(NamedTuple):
    """Something the customer did."""

    type: str
    properties: Mapping[str, Value] = _NONE


class ConsentUpdate(NamedTuple):
    """A customer's answer to whether their data may be used for a purpose."""

    purpose: str
    granted: bool
    source: str = ""
    version: str = ""


class ProfileDelta(NamedTuple):
    """One change to one customer, applied whole or not at all.

    Attributes:
        customer_id: The identifier that the change belongs to.
        event_time_us: When it happened, in microseconds since 1970.
        change: None if the delta only says which identifiers belong together.
        other_ids: Further identifiers of the same customer; they are joined with the first.
        match_keys: Keyed hashes of identifying text by the catalog's match rules; equal ones join customers.
    """

    customer_id: str
    event_time_us: int
    change: AttributeUpdates | Event | ConsentUpdate | None
    other_ids: tuple[str, ...] = ()
    match_keys: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class RejectedDelta:
    """A delta that was refused: its place in the request and why.

    `applied` means that the delta itself was applied, and only a join that a match rule asked for was refused.
    """

    index: int
    error: OpportuneError
    applied: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known about one customer; `version` is the offset of the last change, `identifiers` are sorted."""

    customer_id: str
    attributes: Mapping[str, Value]
    consents: Mapping[str, bool]
    version: int
    update_time: datetime
    identifiers: tuple[str, ...] = ()
