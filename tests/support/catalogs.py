"""Catalogs for tests, written as a few keywords."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from server.domain.aggregate import Aggregate, Operation
from server.domain.attribute import Attribute, AttributeType, MergeRule, Schema
from server.domain.catalog import Problem
from server.domain.model import Manifest
from server.domain.offer import Offer, OfferValue
from server.execution.compile import compile_text
from server.execution.compiled import CompiledCatalog

Document = dict[str, Any]

ATTRIBUTES: list[Document] = [
    {"id": "tier", "type": "category", "values": ["basic", "silver", "gold"]},
    {"id": "visits", "type": "number"},
    {"id": "member", "type": "boolean"},
    {"id": "tags", "type": "set", "values": ["vegan", "parent", "student"]},
    {"id": "last_visit", "type": "timestamp_age"},
    {"id": "income", "type": "number", "purpose": "personalization"},
    {"id": "spend", "type": "number", "by": "department", "keys": ["grocery", "floral"]},
]
"""One customer attribute of each type."""

CONTEXT: list[Document] = [
    {"id": "hour", "type": "number"},
    {"id": "device", "type": "category", "values": ["phone", "desktop"]},
]


def offer_entry(offer_id: str, profit: float = 1.0, **more: Any) -> Document:
    """An offer of a catalog file: always eligible and shown on the web, unless `more` says otherwise."""
    entry: Document = {
        "id": offer_id,
        "tactic": "discount",
        "value": {"revenue": max(profit, 0.0), "margin": 1.0, "cost": max(-profit, 0.0)},
        "creatives": [{"id": f"{offer_id}-web", "channel": "web", "content": {"title": offer_id.title()}}],
    }
    return entry | more


def placement_entry(placement_id: str = "home", **more: Any) -> Document:
    """A placement of a catalog file: three slots on the web, ranked by value alone."""
    return {"id": placement_id, "channel": "web", "slots": 3} | more


def catalog_document(
    offers: Sequence[Document] = (), placements: Sequence[Document] | None = None, **more: Any
) -> Document:
    """A catalog file as plain data, with `ATTRIBUTES`, `CONTEXT` and the placement `home` unless told otherwise."""
    return {
        "currency": "USD",
        "attributes": ATTRIBUTES,
        "context": CONTEXT,
        "offers": list(offers),
        "placements": [placement_entry()] if placements is None else list(placements),
    } | more


def catalog_text(offers: Sequence[Document] = (), placements: Sequence[Document] | None = None, **more: Any) -> str:
    """The same as the text of a catalog file."""
    return text_of(catalog_document(offers, placements, **more))


def text_of(document: Document) -> str:
    """A document as YAML, without the aliases that a catalog may not have."""
    return yaml.dump(document, Dumper=_PlainDumper, sort_keys=False)


def compiled_catalog(document: Document, manifests: Mapping[str, Manifest] | None = None) -> CompiledCatalog:
    """A catalog that must compile."""
    compiled, problems = compile_text(text_of(document), manifests or {})
    assert not problems, [str(problem) for problem in problems]
    assert compiled is not None
    return compiled


def problems_of(document: Document, manifests: Mapping[str, Manifest] | None = None) -> dict[str, str]:
    """What is wrong with a catalog, by path."""
    found: list[Problem] = compile_text(text_of(document), manifests or {}).problems
    return {problem.path: problem.description for problem in found}


def offer(offer_id: str = "a", profit: float = 1.0, **more: Any) -> Offer:
    """An offer as the domain has it."""
    return Offer(offer_id, "discount", OfferValue(max(profit, 0.0), 1.0, max(-profit, 0.0)), **more)


def number(attribute_id: str) -> Attribute:
    """A number attribute."""
    return Attribute(attribute_id, AttributeType.NUMBER)


def category(attribute_id: str, *values: str) -> Attribute:
    """A category attribute with these values."""
    return Attribute(attribute_id, AttributeType.CATEGORY, values)


def text_set(attribute_id: str, *values: str) -> Attribute:
    """A set attribute with these members, merged as in a catalog that does not say how."""
    return Attribute(attribute_id, AttributeType.SET, values, merge=MergeRule.UNION)


def boolean(attribute_id: str) -> Attribute:
    """A boolean attribute."""
    return Attribute(attribute_id, AttributeType.BOOLEAN)


def timestamp(attribute_id: str) -> Attribute:
    """A timestamp attribute, which conditions read as an age in days."""
    return Attribute(attribute_id, AttributeType.TIMESTAMP_AGE)


def keyed(attribute_id: str, by: str, *keys: str) -> Attribute:
    """A number for each of these keys."""
    return Attribute(attribute_id, AttributeType.NUMBER, by=by, keys=keys)


def text(attribute_id: str) -> Attribute:
    """An identifying text, which is kept in the vault."""
    return Attribute(attribute_id, AttributeType.TEXT)


def merged(attribute: Attribute, rule: MergeRule) -> Attribute:
    """An attribute with another merge rule."""
    return replace(attribute, merge=rule)


def count(attribute_id: str, event: str, window_days: int = 0, **more: Any) -> Attribute:
    """How often an event happened."""
    aggregate = Aggregate(event, Operation.COUNT, window_days=window_days)
    return _kept(attribute_id, AttributeType.NUMBER, MergeRule.SUM, aggregate, more)


def total(attribute_id: str, event: str, property_name: str, window_days: int = 0, **more: Any) -> Attribute:
    """The sum of a property of events."""
    aggregate = Aggregate(event, Operation.SUM, property_name, window_days)
    return _kept(attribute_id, AttributeType.NUMBER, MergeRule.SUM, aggregate, more)


def decayed(attribute_id: str, event: str, property_name: str, half_life_days: float, **more: Any) -> Attribute:
    """The decayed sum of a property of events."""
    aggregate = Aggregate(event, Operation.DECAYED_SUM, property_name, half_life_days=half_life_days)
    return _kept(attribute_id, AttributeType.NUMBER, MergeRule.SUM, aggregate, more)


def last(attribute_id: str, event: str, **more: Any) -> Attribute:
    """When an event happened last."""
    return _kept(attribute_id, AttributeType.TIMESTAMP_AGE, MergeRule.MAX, Aggregate(event, Operation.LAST), more)


def _kept(
    attribute_id: str, type_: AttributeType, merge: MergeRule, aggregate: Aggregate, more: Mapping[str, Any]
) -> Attribute:
    return Attribute(attribute_id, type_, merge=merge, aggregate=aggregate, **more)


def schema(*attributes: Attribute) -> Schema:
    """The schema of these attributes."""
    return Schema(attributes)


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True
