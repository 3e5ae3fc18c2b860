"""The last ranking of each customer at each placement, for decisions that have no time to make a new one.

What is repeated was scored with the same catalog and the same model, a while ago. Who repeats it checks eligibility and
caps anew. In memory only: a server that starts has none.
"""

from typing import Any, NamedTuple

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from server.domain.attribute import IntRow
from server.execution.ladder import shortlist

REMEMBERED = 50_000
REMEMBERED_S = 300.0
PLACES = 16
"""How many rankings of one customer are kept before all but the newest go: locales come from callers."""

BEST = 64
"""How many offers of a ranking are kept: enough that some are still eligible."""


class Where(NamedTuple):
    """Where a ranking was shown."""

    placement_id: str
    channel: str
    locale: str


class CachedRanking(NamedTuple):
    """The best offers of a ranking and their propensities: int32 and float64 [at most 64], in no particular order.

    Attributes:
        offers: Indices into the offers of the catalog.
        time_us: When they were asked for, in microseconds since 1970: callers decide for any time, and this is not it.
    """

    catalog_version: int
    model_id: str
    offers: NDArray[np.int32]
    propensities: NDArray[np.float64]
    time_us: int

    @classmethod
    def of(
        cls,
        scored: tuple[IntRow, NDArray[np.float64], NDArray[np.float64]],
        *,
        catalog_version: int,
        model_id: str,
        time_us: int,
    ) -> "CachedRanking":
        """The best of what was scored: the offers' indices, their propensities, and what they were ranked by."""
        offers, propensities, keys = scored
        if len(offers) > BEST:
            places = shortlist(keys, BEST)
            offers, propensities = offers.take(places), propensities.take(places)
        return cls(catalog_version, model_id, offers.astype(np.int32), propensities, time_us)


class CachedRankings:
    """The rankings of at most so many customers, each good for so many seconds. One ranking takes 1.2 KB.

    Together for each customer, so that who is erased is forgotten at once. When there are more customers, those who
    were ranked least lately are forgotten.

    Kept as bare tuples, which the garbage collector leaves alone once it has seen that they hold no containers. Were it
    to walk several objects for each customer, a full collection would hold up everybody for 100 ms.
    """

    def __init__(self, most: int = REMEMBERED, seconds: float = REMEMBERED_S) -> None:
        """Starts with none."""
        self._good_for_us = seconds * 1e6
        self._customers: LRUCache[str, dict[tuple[str, ...], tuple[Any, ...]]] = LRUCache(most)

    def find(
        self, customer: str, where: tuple[str, str, str], *, catalog_version: int, model_id: str, now_us: int
    ) -> CachedRanking | None:
        """The customer's last ranking there, if it was made with the current catalog and model and is not too old.

        Args:
            customer: The identity that the profile row has.
            where: The fields of a `Where`.
        """
        rankings = self._customers.get(customer)
        kept = rankings.get(where) if rankings else None
        if kept is None:
            return None
        ranking = CachedRanking._make(kept)
        if ranking.catalog_version != catalog_version or ranking.model_id != model_id:
            return None
        return ranking if now_us - ranking.time_us < self._good_for_us else None

    def remember(self, customer: str, where: tuple[str, str, str], ranking: CachedRanking) -> None:
        """Keeps a ranking instead of the one before."""
        rankings = self._customers.get(customer)
        if rankings is None or len(rankings) >= PLACES:
            rankings = {}
        rankings[tuple(where)] = tuple(ranking)
        # Writing the same dict again makes the customer one of the latest.
        self._customers[customer] = rankings

    def forget(self, customer: str) -> None:
        """Drops everything of a customer, who is being erased."""
        self._customers.pop(customer, None)
