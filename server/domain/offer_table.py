"""Offers as columns: what every request reads of them is an array with one place for each offer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import Attribute, AttributeType, BoolRow, FloatRow, Schema, Value, days_since_epoch
from server.domain.catalog import Problem
from server.domain.offer import Offer


@dataclass(frozen=True)
class OfferTable:
    """The offers of one catalog in its order; index `i` means the same offer in every array.

    Attributes:
        schema: The attributes of offers, with types inferred from their values.
        attributes: float32 [attributes, offers], NaN where an offer does not have the attribute.
        profit: float64 [offers], profit on conversion in the catalog's currency.
        start, end: float64 [offers], days since 2020, infinite where the schedule is open.
        tie_break: uint64 [offers], a hash of the id, so that equal offers rank in no order that the file gives.
    """

    offers: tuple[Offer, ...]
    schema: Schema
    attributes: FloatRow
    profit: NDArray[np.float64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    tie_break: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.offers)

    @cached_property
    def index(self) -> dict[str, int]:
        """The place of each offer id."""
        return {offer.id: place for place, offer in enumerate(self.offers)}

    @cached_property
    def by_id(self) -> tuple[Offer, ...]:
        """The offers ordered by id, for listing."""
        return tuple(sorted(self.offers, key=lambda offer: offer.id))

    def scheduled(self, now_days: float) -> BoolRow:
        """Which offers' schedules include a time in days since 2020: bool [offers]."""
        return (self.start <= now_days) & (self.end > now_days)

    def unchanged(self, now_days: float) -> tuple[float, float]:
        """The stretch of time around now, start inclusive, end exclusive, in which no schedule starts or ends."""
        place = int(np.searchsorted(self._changes, now_days, side="right"))
        return float(self._changes[place - 1]), float(self._changes[place])

    @cached_property
    def _changes(self) -> NDArray[np.float64]:
        return np.unique(np.concatenate([self.start, self.end, [-np.inf, np.inf]]))

    @classmethod
    def of(cls, offers: Sequence[Offer], schema: Schema) -> "OfferTable":
        """Lays the offers out under a schema that `infer_schema` gave for them."""
        attributes = np.full((schema.width, len(offers)), np.nan, np.float32)
        for place, offer in enumerate(offers):
            for name, value in values_of(offer).items():
                _put(attributes[:, place], schema, schema.by_id[name], value)
        return cls(
            offers=tuple(offers),
            schema=schema,
            attributes=attributes,
            profit=np.array([offer.value.profit for offer in offers], np.float64),
            start=_days([offer.start for offer in offers], -np.inf),
            end=_days([offer.end for offer in offers], np.inf),
            tie_break=np.array([_hash(offer.id) for offer in offers], np.uint64),
        )


GIVEN = ("id", "tactic", "exclusion_group")
"""The attributes that every offer has without declaring them; the group only where it is in one."""


def values_of(offer: Offer) -> dict[str, Value]:
    """What conditions, filters and models may read of an offer, by name."""
    values: dict[str, Value] = {**offer.attributes, "id": offer.id, "tactic": offer.tactic}
    if offer.exclusion_group:
        values["exclusion_group"] = offer.exclusion_group
    return values


def infer_schema(
    offers: Sequence[Offer], declared: Sequence[Attribute] = ()
) -> tuple[Schema, list[Offer], list[Problem]]:
    """The attributes that offers have, with the type that is declared or that each has where it first stands.

    The attributes that are `GIVEN` come last, whatever the offers have.

    Returns:
        The schema, the offers without the values of other types, and a problem for each of these values and for each
        attribute that has the name of a given one.
    """
    problems = [
        Problem(f"offer_attributes[{place}].id", _taken(attribute.id))
        for place, attribute in enumerate(declared)
        if attribute.id in GIVEN
    ]
    declared = [attribute for attribute in declared if attribute.id not in GIVEN]
    types = {attribute.id: attribute.type for attribute in declared}
    texts = {attribute.id: set(attribute.values) for attribute in declared}
    fitting: list[Offer] = []
    for place, offer in enumerate(offers):
        attributes = dict(offer.attributes)
        for name, value in offer.attributes.items():
            if name in GIVEN:
                del attributes[name]
                problems.append(Problem(f"offers[{place}].attributes.{name}", _taken(name)))
                continue
            type_, known = _type_of(value), types.setdefault(name, _type_of(value))
            if type_ is known:
                texts.setdefault(name, set()).update(_texts(value))
                continue
            del attributes[name]
            problem = f"is a {type_} here and a {known} in offer_attributes or an offer before"
            problems.append(Problem(f"offers[{place}].attributes.{name}", problem))
        fitting.append(offer if len(attributes) == len(offer.attributes) else replace(offer, attributes=attributes))
    for name in GIVEN:
        types[name] = AttributeType.CATEGORY
        texts[name] = {str(values[name]) for values in map(values_of, fitting) if name in values}
    schema = Schema(tuple(Attribute(name, type_, tuple(sorted(texts.get(name, ())))) for name, type_ in types.items()))
    return schema, fitting, problems


def _taken(name: str) -> str:
    return f"{name} is given by the offer itself; name the attribute otherwise"


def _type_of(value: Value) -> AttributeType:
    match value:
        case bool():
            return AttributeType.BOOLEAN
        case str():
            return AttributeType.CATEGORY
        case tuple():
            return AttributeType.SET
        case _:
            return AttributeType.NUMBER


def _texts(value: Value) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return value if isinstance(value, tuple) else ()


def _put(column: FloatRow, schema: Schema, attribute: Attribute, value: Value) -> None:
    if isinstance(value, tuple):
        column[[schema.columns[name] for name in attribute.column_names()]] = 0
        for member in value:
            place, bit = schema.member(attribute, member)
            column[place] = int(column[place]) | bit
        return
    place = schema.columns[attribute.id]
    if isinstance(value, str):
        column[place] = schema.codes[attribute.id][value]
    elif not isinstance(value, datetime):
        column[place] = value


def _days(times: list[datetime | None], default: float) -> NDArray[np.float64]:
    return np.array([default if time is None else days_since_epoch(time) for time in times], np.float64)


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
