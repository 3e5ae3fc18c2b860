"""Attributes of many customers at once, as columns: what bulk loads are made of."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class LoadColumn(NamedTuple):
    """One attribute, or one cell of a keyed one, of every customer of a batch.

    Attributes:
        name: The attribute's id, or `attribute.key`.
        values: float64 [customers], NaN where there is none: numbers as they are, truth values 0 or 1, timestamps as
            microseconds since 1970, and for categories places in `texts`. For sets, places in `texts`, one customer's
            after the other's.
        texts: The distinct texts of a category or set.
        lengths: For sets int32 [customers], how many members each has, -1 where there is no set; else empty.
    """

    name: str
    values: NDArray[np.float64]
    texts: tuple[str, ...] = ()
    lengths: NDArray[np.int32] = np.empty(0, np.int32)


class ColumnBatch(NamedTuple):
    """New values of attributes; `event_times_us` is int64 [customers], in microseconds since 1970."""

    customer_ids: tuple[str, ...]
    event_times_us: NDArray[np.int64]
    columns: tuple[LoadColumn, ...]


def portions(batch: ColumnBatch, customers: int) -> Iterator[ColumnBatch]:
    """A batch in portions of so many customers; their arrays are views."""
    for start in range(0, len(batch.customer_ids), customers):
        part = slice(start, start + customers)
        columns = tuple(_portion(column, part) for column in batch.columns)
        yield ColumnBatch(batch.customer_ids[part], batch.event_times_us[part], columns)


def _portion(column: LoadColumn, part: slice) -> LoadColumn:
    if not len(column.lengths):
        return column._replace(values=column.values[part])
    # The members of all sets stand one behind the other.
    bounds = np.concatenate([[0], np.maximum(column.lengths, 0).cumsum()])
    stop = min(part.stop, len(column.lengths))
    return column._replace(values=column.values[bounds[part.start] : bounds[stop]], lengths=column.lengths[part])
