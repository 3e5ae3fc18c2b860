"""Budgets: how much a set of offers may cost, or how often it may be given away."""

from dataclasses import dataclass
from enum import StrEnum

from server.domain.contact import ContactKind

MICROS = 1_000_000
"""Amounts are kept in millionths, so that sums are exact."""


class BudgetUnit(StrEnum):
    """What a budget counts: offers, or what they cost in the catalog's currency."""

    COUNT = "count"
    CURRENCY = "currency"


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit for all customers together. `offers` is a condition over `offer.*`; a window of 0 has no beginning."""

    id: str
    offers: str
    limit: float
    window_us: int = 0
    unit: BudgetUnit = BudgetUnit.COUNT
    on: ContactKind = ContactKind.ACCEPTED
