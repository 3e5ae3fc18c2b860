"""200 distinct predicates, each true for about seven customers in ten, and how they are dealt to offers."""

import json

import numpy as np

from loadtest.schema import BOOLEANS, CATEGORIES, CONTEXT, NUMBERS, SKEWED, Attribute

COUNT = 200
PER_OFFER = 3
OPERATORS = ("<", ">=", "<=", ">")


def predicates(rng: np.random.Generator) -> list[str]:
    """As conditions: 177 comparisons, 6 equalities and 12 memberships of customers, 5 of contexts."""
    fixed = [*_equalities(), *_memberships(rng), *_moments()]
    return [*_comparisons(rng, COUNT - len(fixed)), *fixed]


def _comparisons(rng: np.random.Generator, count: int) -> list[str]:
    return [
        _comparison(NUMBERS[index % len(NUMBERS)], OPERATORS[index // len(NUMBERS)], rng.uniform(0.62, 0.78))
        for index in range(count)
    ]


def _comparison(attribute: Attribute, operator: str, share: float) -> str:
    threshold = share if operator.startswith("<") else 1 - share
    return f"customer.{attribute.id} {operator} {round(threshold * 100 * 64) / 64}"


def _equalities() -> list[str]:
    truths = [f"customer.{attribute.id} == true" for attribute in BOOLEANS]
    return [*truths, *(f'customer.{category} == "v0"' for category in SKEWED)]


def _memberships(rng: np.random.Generator) -> list[str]:
    """Seven of ten values, in six ways for each category whose values are equally frequent."""
    even = [attribute for attribute in CATEGORIES if attribute.id not in SKEWED]
    return [_membership(attribute, shift) for attribute in even for shift in rng.permutation(10)[:6].tolist()]


def _membership(attribute: Attribute, shift: int) -> str:
    members = [attribute.values[(shift + step) % len(attribute.values)] for step in range(7)]
    return f"customer.{attribute.id} in {json.dumps(members)}"


def _moments() -> list[str]:
    devices = json.dumps(list(CONTEXT[2].values[:7]))
    return [
        "context.k0 < 70.0",
        "context.k0 >= 28.5",
        "context.k1 > 31.25",
        f"context.k2 in {devices}",
        "context.k3 == true",
    ]


def deal(rng: np.random.Generator, offers: int) -> list[list[int]]:
    """Three different predicates for each offer, each predicate as often as any other, give or take one."""
    deck: list[int] = []
    while len(deck) < offers * PER_OFFER:
        deck.extend(_hand(rng, deck[len(deck) // PER_OFFER * PER_OFFER :]))
    return [deck[start : start + PER_OFFER] for start in range(0, offers * PER_OFFER, PER_OFFER)]


def _hand(rng: np.random.Generator, carried: list[int]) -> list[int]:
    """A shuffled deck that does not repeat a predicate of the offer that straddles two decks."""
    while True:
        hand: list[int] = rng.permutation(COUNT).tolist()
        if not set(hand[: PER_OFFER - len(carried)]) & set(carried):
            return hand
