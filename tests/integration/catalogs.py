"""Catalogs of the integration tests, as the documents that a catalog file holds."""

import json
from typing import Any

TOPICS = [f"topic-{number}" for number in range(30)]
"""The members of a set that takes two columns."""

SIGNALS = [f"signal_{number}" for number in range(16)]
"""Names of numbers in the context, enough for the entries of a map to come in many orders."""

OFFER_IDS = ["welcome", "gold-only", "big-spender", "expired", "mail-only", "evening", "small"]
"""The offers of `shop`, in the order of the catalog."""


def shop() -> dict[str, Any]:
    """Seven offers and five placements: one offer for everybody, and one for each reason to leave an offer out."""
    return {
        "currency": "USD",
        "attributes": [
            {"id": "visits", "type": "number"},
            {"id": "tier", "type": "category", "values": ["basic", "silver", "gold"]},
            {"id": "spend", "type": "number", "purpose": "personalization"},
            {"id": "last_visit", "type": "timestamp_age"},
            {"id": "subscribed", "type": "boolean"},
            {"id": "interests", "type": "set", "values": TOPICS},
            {"id": "affinity", "type": "number", "by": "department", "keys": ["grocery", "toys"]},
        ],
        "context": [
            {"id": "hour", "type": "number"},
            {"id": "daypart", "type": "category", "values": ["morning", "evening"]},
            {"id": "holiday", "type": "boolean"},
            *({"id": signal, "type": "number"} for signal in SIGNALS),
        ],
        "offers": [
            _offer("welcome", 10.0, "grocery", 0.2, creatives=_welcome_creatives()),
            _offer("gold-only", 20.0, "toys", 0.5, eligible='customer.tier == "gold" && customer.visits > 1.0'),
            _offer("big-spender", 30.0, "grocery", 0.4, eligible="customer.spend > 100.0"),
            _offer("expired", 40.0, "toys", 0.9, schedule={"end": "2020-01-01"}),
            _offer("mail-only", 8.0, "grocery", 0.3, creatives=[_creative("mail-only-mail", "email")]),
            _offer("evening", 12.0, "toys", 0.1, eligible='context.daypart == "evening"'),
            _offer("small", 0.2, "grocery", 0.1),
        ],
        "placements": [
            {"id": "home", "channel": ["web", "email"], "slots": 2, "model": "tiny/1"},
            {"id": "newsletter", "channel": "email", "slots": 3},
            {"id": "fragile", "channel": "web", "slots": 2, "model": "fragile/1", "fallback_offers": _FALLBACK},
            {"id": "off", "channel": "web", "slots": 2, "enabled": False},
            {"id": "kiosk", "channel": "kiosk", "slots": 2},
        ],
    }


def stall(offer_id: str = "only-offer") -> dict[str, Any]:
    """The smallest useful catalog: one offer, one placement, no model."""
    return {
        "currency": "EUR",
        "attributes": [{"id": "visits", "type": "number"}],
        "offers": [_offer(offer_id, 4.0, "grocery", 0.1)],
        "placements": [{"id": "home", "channel": "web", "slots": 1}],
    }


def warehouse(offers: int) -> dict[str, Any]:
    """A catalog of many offers, which takes a while to compile."""
    catalog = stall()
    catalog["offers"] = [
        _offer(f"offer-{number:06}", 1.0 + number % 7, "grocery", 0.1, eligible=f"customer.visits > {number}.5")
        for number in range(offers)
    ]
    return catalog


def market(**more: Any) -> dict[str, Any]:
    """Everything that profiles can keep, and offers that need it; customers have at most three identifiers."""
    return {
        "currency": "USD",
        "attributes": [
            {"id": "visits", "type": "number", "merge": "sum"},
            {"id": "tier", "type": "category", "values": ["basic", "silver", "gold"]},
            {"id": "income", "type": "number", "purpose": "personalization"},
            {"id": "joined", "type": "timestamp_age"},
            {"id": "member", "type": "boolean"},
            {"id": "topics", "type": "set", "values": TOPICS},
            {"id": "affinity", "type": "number", "by": "department", "keys": ["grocery", "toys"]},
        ],
        "aggregates": [
            {"id": "purchases", "event": "purchase", "op": "count"},
            {"id": "spent_30d", "event": "purchase", "op": "sum", "property": "amount", "window": "30d"},
        ],
        "identity": {"max_identifiers": 3},
        "offers": [
            _offer("welcome", 1.0, "grocery", 0.1),
            _offer("frequent", 2.0, "toys", 0.1, eligible="customer.visits >= 3.0"),
            _offer("regular", 3.0, "grocery", 0.1, eligible="customer.purchases >= 2.0"),
            _offer("spender", 4.0, "grocery", 0.1, eligible="customer.spent_30d > 100.0"),
        ],
        "placements": [{"id": "home", "channel": "web", "slots": 9}],
        **more,
    }


def text_of(catalog: dict[str, Any]) -> str:
    """The text of a catalog file."""
    return json.dumps(catalog)


_FALLBACK = ["big-spender", "small", "welcome"]


def _offer(offer_id: str, revenue: float, department: str, level: float, **fields: Any) -> dict[str, Any]:
    return {
        "id": offer_id,
        "tactic": "discount",
        "value": {"revenue": revenue, "margin": 0.5},
        "attributes": {"department": department, "level": level},
        "creatives": [_creative(f"{offer_id}-web", "web")],
        **fields,
    }


def _creative(creative_id: str, channel: str, locale: str = "", title: str = "Hello") -> dict[str, Any]:
    return {"id": creative_id, "channel": channel, "locale": locale, "content": {"title": title}}


def _welcome_creatives() -> list[dict[str, Any]]:
    return [
        _creative("welcome-web", "web"),
        _creative("welcome-web-de", "web", "de", "Grüß Gott"),
        _creative("welcome-mail", "email"),
    ]
