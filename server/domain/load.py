"""Attributes of many customers at once, as columns: what bulk loads are made of."""

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
