"""What conditions read of contacts: counts within windows, and how long ago the latest was.

Of one customer it is a few numpy calls over [families, events]; of many it is the same calls over the events of all of
them, so that a customer with contacts costs a microsecond and one without nothing.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, FloatRow, IntRow
from server.domain.clock import MICROSECONDS_PER_DAY
from server.domain.contact import ContactScope, ContactSubject, HistoryVariable
from server.input.contacts import Events, Words
from server.input.identity import IdentityGraph
from server.input.pages import by_page
from server.input.profiles import ProfileTable

_NO_VARIABLE = -1


class HistoryReader:
    """Reads the history variables of one catalog. Knows the subjects that were met so far, and learns new ones.

    Cost: variables of one kind, window and scope are a family, whatever their keys. A few numpy calls over
    [families, events].
    """

    def __init__(self, variables: Sequence[HistoryVariable], subjects: Sequence[ContactSubject]) -> None:
        """`subjects` is read when contacts are about one that has not been met."""
        self._subjects = subjects
        self._size = len(variables)
        families: dict[tuple[int, int | None, ContactScope], dict[str, int]] = {}
        for place, (kind, window_days, scope, key) in enumerate(variables):
            families.setdefault((kind, window_days, scope), {})[key] = place
        self._places = list(families.values())
        self._scopes = [scope for _, _, scope in families]
        self._kinds = np.array([kind for kind, _, _ in families], np.int64)[:, None]
        windows = [1 << 62 if days is None else days * MICROSECONDS_PER_DAY for _, days, _ in families]
        self._windows_us = np.array(windows, np.int64)[:, None]
        self._ages: NDArray[np.intp] = np.array(
            [place for place, variable in enumerate(variables) if variable.window_days is None], np.intp
        )
        self._lookup = np.empty((len(families), 0), np.intp)

    def read(self, events: Events | None, now_us: int) -> FloatRow | None:
        """The variables at a time, float32 [variables]; None for a customer without contacts, and if there are none."""
        if events is None or not self._size:
            return None
        variables, counted, ages_us = self._counted(events, now_us)
        return self._read(variables, counted, ages_us, 1)[:, 0]

    def read_rows(self, profiles: ProfileTable, rows: IntRow, now_us: int) -> FloatRow:
        """The variables of many customers at a time, by any rows of theirs: float32 [variables, rows].

        Counts are 0 and days are NaN for those without contacts. A customer of several identifiers costs a walk over
        them.
        """
        identifiers, places = _identifiers(profiles.graph, rows)
        owners, events = profiles.contacts.gather(identifiers)
        if not len(owners):
            return self._nothing(len(rows))
        variables, counted, ages_us = self._counted(events, now_us)
        cells = variables * len(rows) + places[owners]
        return self._read(cells, counted, ages_us, len(rows))

    def _counted(self, events: Events, now_us: int) -> tuple[NDArray[np.intp], BoolRow, Words]:
        """Of each family and event the variable and whether the event counts for it, and how old each event is."""
        subjects = events.subjects
        if len(subjects) and int(subjects.max()) >= self._lookup.shape[1]:
            self._learn()
        ages_us = now_us - events.times_us
        variables = self._lookup.take(subjects, axis=1)
        counted = (events.kinds == self._kinds) & (ages_us < self._windows_us) & (variables >= 0)
        return variables, counted, ages_us

    def _read(self, cells: NDArray[np.intp], counted: BoolRow, ages_us: Words, rows: int) -> FloatRow:
        """The variables of so many rows from the cell of [variables, rows] that each event counts for, by family."""
        counts = np.bincount(cells[counted], minlength=self._size * rows)
        values = counts.astype(np.float32).reshape(self._size, rows)
        if len(self._ages):
            values[self._ages] = self._days_since(cells, counted, ages_us, rows)[self._ages]
        return values

    def _days_since(self, cells: NDArray[np.intp], counted: BoolRow, ages_us: Words, rows: int) -> FloatRow:
        days = np.full(self._size * rows, np.nan, np.float32)
        ages = np.broadcast_to(ages_us, counted.shape)[counted] / MICROSECONDS_PER_DAY
        np.fmin.at(days, cells[counted], ages.astype(np.float32))
        return days.reshape(self._size, rows)

    def _nothing(self, rows: int) -> FloatRow:
        """The variables of customers who have no contacts."""
        values = np.zeros((self._size, rows), np.float32)
        values[self._ages] = np.nan
        return values

    def _learn(self) -> None:
        """Looks up the variables of all subjects there are by now."""
        known = self._lookup.shape[1]
        added = np.full((len(self._places), len(self._subjects) - known), _NO_VARIABLE, np.intp)
        for place, subject in enumerate(self._subjects[known:]):
            for number, (scope, places) in enumerate(zip(self._scopes, self._places, strict=True)):
                key = subject.key(scope)
                added[number, place] = _NO_VARIABLE if key is None else places.get(key, _NO_VARIABLE)
        self._lookup = np.concatenate([self._lookup, added], axis=1)


def _identifiers(graph: IdentityGraph, rows: IntRow) -> tuple[IntRow, IntRow]:
    """The rows of all identifiers of customers, and for each of them the place of its customer among the rows."""
    several = np.zeros(len(rows), np.bool_)
    for number, mine, places in by_page(rows):
        joined = graph.joined(number)
        if joined is not None:
            members, customers = joined
            several[mine] = (members | customers)[places]
    if not several.any():
        return rows, np.arange(len(rows))
    members_of = [graph.members(row) for row in rows[several].tolist()]
    owners = np.repeat(np.flatnonzero(several), [len(members) for members in members_of])
    found = np.fromiter(chain.from_iterable(members_of), np.intp, len(owners))
    return np.concatenate([rows[~several], found]), np.concatenate([np.flatnonzero(~several), owners])
