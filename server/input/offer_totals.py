"""What offers have brought: how many contacts reached each stage, and the revenue and profit that were reported."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from server.domain.contact import ContactKind
from server.input.pages import Arrays, SavedPage


class OfferTotal(NamedTuple):
    """The totals of one subject; `contacts` is the number of those that reached each kind of outcome."""

    contacts: dict[ContactKind, int]
    revenue: float
    profit: float


class OfferTotals:
    """Totals by the code of the subject."""

    def __init__(self) -> None:
        self._contacts = np.zeros((0, len(ContactKind)), np.int64)
        self._money = np.zeros((0, 2), np.float64)

    def add(self, subject: int, kinds: Sequence[ContactKind], revenue: float, profit: float) -> None:
        """Adds an outcome and the stages that it is the first to reach."""
        if subject >= len(self._money):
            more = max(subject + 1, 2 * len(self._money)) - len(self._money)
            self._contacts = np.pad(self._contacts, ((0, more), (0, 0)))
            self._money = np.pad(self._money, ((0, more), (0, 0)))
        for kind in kinds:
            self._contacts[subject, kind] += 1
        self._money[subject] += (revenue, profit)

    def of(self, subject: int) -> OfferTotal:
        """The totals of a subject."""
        if subject >= len(self._money):
            return OfferTotal(dict.fromkeys(list(ContactKind)[1:], 0), 0.0, 0.0)
        counts = {kind: int(self._contacts[subject, kind]) for kind in list(ContactKind)[1:]}
        revenue, profit = self._money[subject].tolist()
        return OfferTotal(counts, revenue, profit)

    def capture(self) -> Iterator[SavedPage]:
        """A copy of the totals as they are now."""
        arrays = {"contacts": self._contacts.copy(), "money": self._money.copy()}
        return iter([SavedPage("offer_totals", 0, arrays)])

    def restore(self, pages: Iterable[Arrays]) -> None:
        """Fills empty totals with what was captured."""
        for arrays in pages:
            self._contacts, self._money = arrays["contacts"], arrays["money"]
