"""What conditions read of a customer's contacts: counts within windows, and how long ago the latest was."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import FloatRow
from server.domain.clock import MICROSECONDS_PER_DAY
from server.domain.contact import ContactScope, ContactSubject, HistoryVariable
from server.input.contacts import Events, Words

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
        subjects = events.subjects
        if len(subjects) and int(subjects.max()) >= self._lookup.shape[1]:
            self._learn()
        ages_us = now_us - events.times_us
        places = self._lookup.take(subjects, axis=1)
        counted = (events.kinds == self._kinds) & (ages_us < self._windows_us) & (places >= 0)
        values = np.bincount(places[counted], minlength=self._size).astype(np.float32)
        if len(self._ages):
            values[self._ages] = self._days_since(places, counted, ages_us)[self._ages]
        return values

    def _days_since(self, places: NDArray[np.intp], counted: NDArray[np.bool_], ages_us: Words) -> FloatRow:
        days = np.full(self._size, np.nan, np.float32)
        ages = np.broadcast_to(ages_us, counted.shape)[counted] / MICROSECONDS_PER_DAY
        np.fmin.at(days, places[counted], ages.astype(np.float32))
        return days

    def _learn(self) -> None:
        """Looks up the variables of all subjects there are by now."""
        known = self._lookup.shape[1]
        added = np.full((len(self._places), len(self._subjects) - known), _NO_VARIABLE, np.intp)
        for place, subject in enumerate(self._subjects[known:]):
            for number, (scope, places) in enumerate(zip(self._scopes, self._places, strict=True)):
                key = subject.key(scope)
                added[number, place] = _NO_VARIABLE if key is None else places.get(key, _NO_VARIABLE)
        self._lookup = np.concatenate([self._lookup, added], axis=1)
