"""People to ask conditions of, drawn at random and kept: making one costs more than asking it a condition."""

import math
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from random import Random
from typing import Any

from server.domain.attribute import FloatRow, Value
from server.domain.contact import ContactScope, HistoryVariable
from server.domain.offer import Offer
from tests.properties.conditions import (
    DEPARTMENTS,
    DEVICES,
    GROUPS,
    HISTORY,
    IDS,
    TACTICS,
    TAGS,
    TIERS,
    WISHES,
)
from tests.support.clock import NOON
from tests.support.conditions import variables

KEYS = {
    ContactScope.ALL: ("",),
    ContactScope.OFFER: IDS,
    ContactScope.EXCLUSION_GROUP: GROUPS,
    ContactScope.TACTIC: TACTICS,
}
TIMES = tuple(
    NOON + offset
    for offset in (
        *(timedelta(0), timedelta(microseconds=1), timedelta(hours=-36), timedelta(hours=-12, microseconds=1)),
        *(timedelta(days=9_999, microseconds=123_457), timedelta(days=-2_000, seconds=-0.5)),
    )
)


@dataclass(frozen=True)
class Person:
    """A customer in a context, with a history; `row` is what the server reads of the first two."""

    customer: dict[str, Value]
    context: dict[str, Value]
    contacts: dict[HistoryVariable, float]
    row: FloatRow


@cache
def people(count: int) -> tuple[Person, ...]:
    """So many people, always the same, each with some of all attributes."""
    random = Random(1)
    return tuple(_person(random) for _ in range(count))


def _person(random: Random) -> Person:
    def number() -> float:
        return random.randint(-12, 12) / 4

    def some(values: dict[str, Any]) -> dict[str, Value]:
        share = random.choice((0.5, 0.9, 1.0))
        return {name: value for name, value in values.items() if random.random() < share}

    customer = some(
        {
            "visits": number(),
            "score": number(),
            "tier": random.choice(TIERS),
            "wish": random.choice(WISHES),
            "tags": tuple(tag for tag in TAGS if random.random() < 0.5),
            "member": random.random() < 0.5,
            **{f"spend.{department}": number() for department in DEPARTMENTS},
        }
    )
    context = some({"hour": number(), "device": random.choice(DEVICES), "vip": random.random() < 0.5})
    asked = [named._replace(key=key) for named in HISTORY.values() for key in KEYS[named.scope]]
    contacts = {
        variable: float(random.randint(0, 3)) if variable.window_days is not None else random.randint(0, 40) / 4
        for variable in asked
        if random.random() < 0.7
    }
    return Person(customer, context, contacts, variables(customer, context))


def history_of(person: Person, offer: Offer) -> dict[str, float]:
    """What CEL is given as `history` where an offer is meant: a count may be 0, days and a group may be missing."""
    keys = {
        ContactScope.ALL: "",
        ContactScope.OFFER: offer.id,
        ContactScope.EXCLUSION_GROUP: offer.exclusion_group,
        ContactScope.TACTIC: offer.tactic,
    }
    history = {}
    for name, variable in HISTORY.items():
        key = keys[variable.scope]
        number = person.contacts.get(variable._replace(key=key), math.nan if variable.window_days is None else 0.0)
        in_a_group = variable.scope is not ContactScope.EXCLUSION_GROUP or bool(key)
        if in_a_group and not math.isnan(number):
            history[name] = number
    return history
