"""Rows: what is kept of each identifier and each customer, beside names, event times and day buckets."""

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import FloatRow
from server.input.event_times import NEVER
from server.input.pages import PAGE_ROWS, Arrays, view


class RowPage:
    """512 rows: float32 [rows, columns], and for each row version, newest event time and consent bits."""

    __slots__ = ("granted", "recorded", "updates_us", "updates_us_view", "values", "versions", "versions_view")

    def __init__(self, arrays: Arrays) -> None:
        self.values: FloatRow = arrays["values"]
        self.versions: NDArray[np.int64] = arrays["versions"]
        self.updates_us: NDArray[np.int64] = arrays["updates_us"]
        self.granted: NDArray[np.uint32] = arrays["granted"]
        self.recorded: NDArray[np.uint32] = arrays["recorded"]
        self.versions_view, self.updates_us_view = view(self.versions), view(self.updates_us)

    @classmethod
    def blank(cls, row: FloatRow) -> "RowPage":
        """A page of rows that nothing is known of."""
        return cls({
            "values": np.tile(row, (PAGE_ROWS, 1)),
            "versions": np.zeros(PAGE_ROWS, np.int64),
            "updates_us": np.full(PAGE_ROWS, NEVER, np.int64),
            "granted": np.zeros(PAGE_ROWS, np.uint32),
            "recorded": np.zeros(PAGE_ROWS, np.uint32),
        })  # fmt: skip

    def arrays(self) -> Arrays:
        """The columns by name."""
        return {
            "values": self.values,
            "versions": self.versions,
            "updates_us": self.updates_us,
            "granted": self.granted,
            "recorded": self.recorded,
        }
