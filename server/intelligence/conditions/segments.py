"""Joins truth values in groups: each clause the OR of its literals, each comparison the AND of what it needs."""

from collections.abc import Sequence

import numpy as np

from server.domain.attribute import BoolRow, IntRow


class Segments:
    """Groups of places in a vector of truth values; each group has at least one. Immutable once made."""

    def __init__(self, groups: Sequence[Sequence[int]], join: np.ufunc) -> None:
        """Takes the places of each group, and `np.logical_or` or `np.logical_and`."""
        self._join = join
        self._size = len(groups)
        self._places = np.array([place for group in groups for place in group], np.intp)
        self._starts = np.cumsum([0, *(len(group) for group in groups)])[:-1].astype(np.intp)
        self._first = np.array([group[0] for group in groups], np.intp)
        # Most groups are of one; then nothing is joined.
        self._several: tuple[tuple[int, IntRow], ...] = tuple(
            (number, np.array(group, np.intp)) for number, group in enumerate(groups) if len(group) > 1
        )

    def __len__(self) -> int:
        return self._size

    def of(self, held: BoolRow) -> BoolRow:
        """The joined truth of each group: bool [groups] from bool [places], or [groups, rows] from [places, rows]."""
        if not self._several:
            return held.take(self._first, axis=0)
        if held.ndim == 1:
            joined: BoolRow = self._join.reduceat(held.take(self._places), self._starts)
            return joined
        # Over rows `reduceat` goes element by element, which costs more than a call for each group of several.
        joined = held.take(self._first, axis=0)
        for number, places in self._several:
            self._join.reduce(held.take(places, axis=0), axis=0, out=joined[number])
        return joined
