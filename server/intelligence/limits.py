"""Limits: how much may win of what belongs together, such as an exclusion group, a capped tactic or a budget."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, IntRow
from server.domain.decision import Reason


class Limit(NamedTuple):
    """At most so much of each key may win.

    Attributes:
        keys: int [rows], which key each row counts towards: a place in `room`, or -1 for none.
        room: float64 [keys], how much more of each key may win, at least 0.
        reason: What is said of a row that lost by this limit.
        amounts: float64 [rows], how much a row uses up, at least 0; None: 1 each. Sums are exact only as far as floats
            are, so a currency is best counted in its smallest unit.
        bound: bool [rows], which rows the limit holds back; None: all that have a key. A row that is not bound still
            uses room up, and may leave less than nothing.
        even: What `room` says of every key, where it says the same of all, for rows that use up 1 each and are all
            bound: a hint that makes arbitration faster. None: no hint.
    """

    keys: IntRow
    room: NDArray[np.float64]
    reason: Reason
    amounts: NDArray[np.float64] | None = None
    bound: BoolRow | None = None
    even: int | None = None


_Columns: TypeAlias = tuple[list[int], list[float], list[float], list[bool] | None, dict[int, float]]
"""What a limit says of the rows that are looked at: keys, room, amounts, bound, and what is left of keys used so far.

Lists, which Python reads faster than arrays, in a plain tuple, which it unpacks faster than a named one.
"""


class Ledger:
    """What is left of each limit while rows win one after another.

    Room never comes back: a row that there is no room for has lost for good. Where a room or an amount is NaN, there
    is no room.
    """

    __slots__ = ("_columns", "_left", "_limits")

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = limits
        self._left: list[dict[int, float]] = [{} for _ in limits]
        self._columns: list[_Columns] = []

    def look_at(self, rows: IntRow) -> None:
        """Makes `full` and `admit` speak of places in these rows."""
        self._columns = [_columns(limit, left, rows) for limit, left in zip(self._limits, self._left, strict=True)]

    def full(self, place: int) -> int:
        """The first limit that has no room for the row at a place, as its own place; -1 if all have room."""
        for limit, (keys, room, amounts, bound, left) in enumerate(self._columns):
            key = keys[place]
            if key < 0 or (bound is not None and not bound[place]):
                continue
            # Written so that NaN is no room.
            if not left.get(key, room[place]) >= amounts[place]:
                return limit
        return -1

    def admit(self, place: int) -> bool:
        """Lets the row at a place win if every limit has room for it, and says whether."""
        # Once more what `full` says, as a call and a count would make a decision 2 us longer.
        for keys, room, amounts, bound, left in self._columns:
            key = keys[place]
            if key >= 0 and not left.get(key, room[place]) >= amounts[place] and (bound is None or bound[place]):
                return False
        for keys, room, amounts, _, left in self._columns:
            key = keys[place]
            if key >= 0:
                left[key] = left.get(key, room[place]) - amounts[place]
        return True

    def has_room(self, rows: int) -> BoolRow:
        """Which of all rows every limit has room for: bool [rows]. At about 2 ns for each row and limit."""
        has_room = np.ones(rows, np.bool_)
        for limit, left in zip(self._limits, self._left, strict=True):
            has_room &= _has_room(limit, left)
        return has_room

    def first_full(self, rows: int) -> IntRow:
        """What `full` says of all rows: int [rows]."""
        first = np.full(rows, -1, np.intp)
        for place in reversed(range(len(self._limits))):
            first[~_has_room(self._limits[place], self._left[place])] = place
        return first


def _columns(limit: Limit, left: dict[int, float], rows: IntRow) -> _Columns:
    keys = limit.keys.take(rows)
    return (
        keys.tolist(),
        _of_keys(limit.room, keys).tolist(),
        [1.0] * len(rows) if limit.amounts is None else limit.amounts.take(rows).tolist(),
        None if limit.bound is None else limit.bound.take(rows).tolist(),
        left,
    )


def _has_room(limit: Limit, left: dict[int, float]) -> BoolRow:
    """Which rows the limit has room for: bool [rows]."""
    room = limit.room.copy()
    room[list(left)] = list(left.values())
    has_room: BoolRow = _of_keys(room, limit.keys) >= (1.0 if limit.amounts is None else limit.amounts)
    has_room |= limit.keys < 0
    if limit.bound is not None:
        has_room |= ~limit.bound
    return has_room


def _of_keys(room: NDArray[np.float64], keys: IntRow) -> NDArray[np.float64]:
    # A key of -1 reads the last room, which nobody looks at; but there must be one to read.
    return room.take(keys) if len(room) else np.zeros(len(keys))
