"""Limits that all customers share, compiled: which meters an offer draws from, and how much each may have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow
from server.domain.budget import MICROS, Budget, BudgetUnit
from server.domain.cap import Cap
from server.domain.contact import ContactScope, ContactSubject, Draw
from server.domain.decision import Reason
from server.domain.offer import Offer
from server.intelligence.caps import scope_key


class MeterLimit(NamedTuple):
    """One limit of one meter.

    Attributes:
        limit: In millionths.
        amounts: What a decision for each offer takes, in millionths; int64 [offers], 0 for none.
        carriers: The offers that the limit holds back, bool [offers].
        text: The limit in words.
    """

    meter: str
    window_us: int
    limit: int
    amounts: NDArray[np.int64]
    carriers: BoolRow
    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class MeterLimits:
    """The limits of a catalog on one channel, and what each offer draws. Immutable once made."""

    limits: tuple[MeterLimit, ...]
    draws: Mapping[int, tuple[Draw, ...]]


def compile_meter_limits(
    offers: Sequence[Offer],
    budgets: Sequence[tuple[Budget, BoolRow]],
    caps: Sequence[tuple[Cap, BoolRow]],
    channel: str,
) -> MeterLimits:
    """The limits of these budgets with their offers, and of global caps with their carriers, on a channel."""
    limits: list[MeterLimit] = []
    draws: dict[int, dict[str, Draw]] = {}
    for budget, members in budgets:
        amounts = np.array([_amount(budget, offer) for offer in offers], np.int64) * members
        limit = round(budget.limit * MICROS)
        text = f"budget {budget.id}: {budget.limit:g} {budget.unit}"
        meter = f"budget:{budget.id}"
        limits.append(MeterLimit(meter, budget.window_us, limit, amounts, members, Reason.BUDGET, text))
        for place in amounts.nonzero()[0].tolist():
            _draw(draws, place, Draw(meter, budget.on, budget.window_us, int(amounts[place])))
    for cap, carriers in caps:
        for (scope, key), places in _by_key(offers, cap.of, channel).items():
            if not carriers[places].any():
                continue
            amounts = np.zeros(len(offers), np.int64)
            amounts[places] = MICROS
            meter = f"cap:{scope}:{key}:{cap.on.name.lower()}"
            limits.append(
                MeterLimit(meter, cap.window_us, cap.count * MICROS, amounts, carriers, Reason.CAP, f"cap {cap}")
            )
            for place in places:
                _draw(draws, place, Draw(meter, cap.on, cap.window_us, MICROS))
    return MeterLimits(tuple(limits), {place: tuple(of_offer.values()) for place, of_offer in draws.items()})


def _by_key(offers: Sequence[Offer], scope: ContactScope, channel: str) -> dict[tuple[ContactScope, str], list[int]]:
    places: dict[tuple[ContactScope, str], list[int]] = {}
    for place, offer in enumerate(offers):
        key = scope_key(scope, ContactSubject(offer.id, "", channel, offer.tactic, offer.exclusion_group))
        if scope is ContactScope.ALL or key[1]:
            places.setdefault(key, []).append(place)
    return places


def _amount(budget: Budget, offer: Offer) -> int:
    return MICROS if budget.unit is BudgetUnit.COUNT else round(offer.value.cost * MICROS)


def _draw(draws: dict[int, dict[str, Draw]], place: int, draw: Draw) -> None:
    """Notes what an offer draws, once for each meter; the longest window decides how long it is kept."""
    of_offer = draws.setdefault(place, {})
    known = of_offer.get(draw.meter)
    if known is not None:
        longest = 0 if 0 in (known.window_us, draw.window_us) else max(known.window_us, draw.window_us)
        draw = draw._replace(window_us=longest)
    of_offer[draw.meter] = draw
