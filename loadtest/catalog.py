"""The synthetic catalog, as the file that the server reads: JSON, which is YAML and faster to read."""

import json
from datetime import date, timedelta

import numpy as np

from loadtest.predicates import deal, predicates
from loadtest.schema import CONTEXT, CUSTOMER, DEPARTMENTS, OFFER

CHANNEL = "web"
PLACEMENT = "home"
SLOTS = 10
EXPIRED_EVERY = 50
"""One offer in so many is over, so that schedules are not all alike."""

GROUP_SIZE = 10
"""How many offers exclude each other."""

TACTICS = ("discount", "bundle", "points", "content")
CAPS = (
    {"count": 3, "window": "30d", "on": "impression"},
    {"count": 6, "window": "30d", "on": "impression", "of": "exclusion_group"},
    {"count": 60, "window": "7d", "on": "decision", "of": "tactic"},
)
"""The caps of every offer. The first two fill up for customers who ask often."""


def catalog(offers: int, model: str, today: date, seed: int) -> str:
    """The text of a catalog of so many offers. Everything but the dates depends on the seed alone."""
    rng = np.random.default_rng(seed)
    conditions = predicates(rng)
    hands = deal(rng, offers)
    features = offer_features(offers, seed).tolist()
    entries = [
        _offer(index, [conditions[one] for one in hand], row, today, rng)
        for index, (hand, row) in enumerate(zip(hands, features, strict=True))
    ]
    return json.dumps(
        {
            "currency": "USD",
            "attributes": [attribute.declaration() for attribute in CUSTOMER],
            "context": [attribute.declaration() for attribute in CONTEXT],
            "offers": entries,
            "placements": [{"id": PLACEMENT, "channel": CHANNEL, "slots": SLOTS, "model": model}],
        }
    )


def offer_features(offers: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """float64 [offers, 60], standard normal to three decimals."""
    rng = np.random.default_rng((seed, offers))
    return np.round(rng.standard_normal((offers, len(OFFER))), 3)


def _offer(
    index: int, conditions: list[str], features: list[float], today: date, rng: np.random.Generator
) -> dict[str, object]:
    department = DEPARTMENTS[int(rng.integers(len(DEPARTMENTS)))]
    title = f"Offer {index} in {department}"
    return {
        "id": f"offer-{index}",
        "tactic": TACTICS[index % len(TACTICS)],
        "value": _value(rng),
        "attributes": {"department": department, **dict(zip(OFFER, features, strict=True))},
        "eligible": " && ".join(conditions),
        "schedule": _schedule(index, today, rng),
        "exclusion_group": f"group-{index // GROUP_SIZE}",
        "caps": CAPS,
        "channels": [CHANNEL],
        "creatives": [{"id": "c1", "channel": CHANNEL, "content": {"title": title}}],
    }


def _value(rng: np.random.Generator) -> dict[str, float]:
    """Revenue from 10 to 80, margin from 0.2 to 0.5, cost below 1: the profit is always positive."""
    return {
        "revenue": round(rng.uniform(10, 80), 2),
        "margin": round(rng.uniform(0.2, 0.5), 3),
        "cost": round(rng.uniform(0, 1), 2),
    }


def _schedule(index: int, today: date, rng: np.random.Generator) -> dict[str, str]:
    shift = -120 if index % EXPIRED_EVERY == EXPIRED_EVERY - 1 else 0
    before, after = (int(days) for days in rng.integers(10, 60, 2))
    start, end = today + timedelta(days=shift - before), today + timedelta(days=shift + after)
    return {"start": start.isoformat(), "end": end.isoformat()}
