"""Limits that all customers share, compiled: which meters an offer draws from, and how much each may have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, IntRow
from server.domain.budget import MICROS, Budget, BudgetUnit
from server.domain.cap import Cap
from server.domain.contact import HOLDING, ContactKind, ContactScope, ContactSubject, Draw
from server.domain.decision import Reason
from server.domain.offer import Offer


class MeterLimit(NamedTuple):
    """One limit of one meter.

    Attributes:
        limit: In millionths.
        offers: The places of those that draw from the meter.
        amounts: What a decision for each of them takes, in millionths; int64 [offers].
        carriers: Which of them the limit holds back, bool [offers].
        reserved: Whether decisions take it, or hold it.
        of_channel: Whether it is of decisions on this channel alone.
        text: The limit in words.
    """

    meter: str
    window_us: int
    limit: int
    offers: IntRow
    amounts: NDArray[np.int64]
    carriers: BoolRow
    reserved: bool
    of_channel: bool
    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class MeterLimits:
    """The limits of a catalog on one channel, and what each offer draws. Immutable once made.

    The first `budgets` of the limits are those of budgets; the others are of caps.
    """

    limits: tuple[MeterLimit, ...]
    draws: Mapping[int, tuple[Draw, ...]]
    budgets: int = 0


def compile_meter_limits(
    offers: Sequence[Offer],
    budgets: Sequence[tuple[Budget, BoolRow]],
    caps: Sequence[tuple[Cap, BoolRow]],
    channel: str,
) -> MeterLimits:
    """The limits of these budgets with their offers, and of global caps with their carriers, on a channel."""
    limits = [_budget_limit(offers, budget, members) for budget, members in budgets]
    kinds = [budget.on for budget, _ in budgets]
    for cap, carriers in caps:
        for key, places in _by_key(offers, cap.of, channel).items():
            if carriers[places].any():
                limits.append(_cap_limit(cap, key, np.array(places, np.intp), carriers[places]))
                kinds.append(cap.on)
    draws: dict[int, dict[str, Draw]] = {}
    for limit, kind in zip(limits, kinds, strict=True):
        for place, amount in zip(limit.offers.tolist(), limit.amounts.tolist(), strict=True):
            _draw(draws.setdefault(place, {}), Draw(limit.meter, kind, limit.window_us, amount))
    of_offers = {place: tuple(of_offer.values()) for place, of_offer in draws.items()}
    return MeterLimits(tuple(limits), of_offers, len(budgets))


def _budget_limit(offers: Sequence[Offer], budget: Budget, members: BoolRow) -> MeterLimit:
    limit = round(budget.limit * MICROS)
    amounts = np.array([_amount(budget, offer, limit) for offer in offers], np.int64) * members
    places = amounts.nonzero()[0]
    return MeterLimit(
        meter=f"budget:{budget.id}",
        window_us=budget.window_us,
        limit=limit,
        offers=places,
        amounts=amounts[places],
        carriers=np.ones(len(places), np.bool_),
        reserved=True,
        of_channel=False,
        reason=Reason.BUDGET,
        text=f"budget {budget.id}: {budget.limit:g} {budget.unit}",
    )


def _cap_limit(cap: Cap, key: str, places: IntRow, carriers: BoolRow) -> MeterLimit:
    return MeterLimit(
        meter=f"cap:{cap.of}:{key}:{cap.on.name.lower()}",
        window_us=cap.window_us,
        limit=cap.count * MICROS,
        offers=places,
        amounts=np.full(len(places), MICROS, np.int64),
        carriers=carriers,
        reserved=cap.on is ContactKind.DECISION or cap.on in HOLDING,
        of_channel=cap.of is ContactScope.CHANNEL,
        reason=Reason.CAP,
        text=f"cap {cap}",
    )


def _by_key(offers: Sequence[Offer], scope: ContactScope, channel: str) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, offer in enumerate(offers):
        key = ContactSubject(offer.id, "", channel, offer.tactic, offer.exclusion_group).key(scope)
        if key is not None:
            places.setdefault(key, []).append(place)
    return places


def _amount(budget: Budget, offer: Offer, limit: int) -> int:
    """What an offer takes; any amount that the budget never has is as good as another, and a cost knows no bounds."""
    if budget.unit is BudgetUnit.COUNT:
        return MICROS
    return round(offer.value.cost * MICROS) if offer.value.cost <= budget.limit else limit + 1


def _draw(of_offer: dict[str, Draw], draw: Draw) -> None:
    """Notes what an offer draws, once for each meter; the longest window decides how long it is kept."""
    known = of_offer.get(draw.meter)
    if known is not None:
        longest = 0 if 0 in (known.window_us, draw.window_us) else max(known.window_us, draw.window_us)
        draw = draw._replace(window_us=longest)
    of_offer[draw.meter] = draw
