"""Batches of bulk loads."""

from datetime import datetime

import numpy as np
from opportune.v1 import profile_service_pb2 as pb

from server.domain.clock import microseconds_of
from server.domain.load import ColumnBatch, LoadColumn
from server.execution.load import MAX_CELLS
from server.wire.convert.value import microseconds_from
from server.wire.elements import require_few

MAX_NESTED = 2 * MAX_CELLS
"""Numbers and texts of a batch at most: each value that it may have, with a text or the length of a set beside it."""


def batch_from(message: pb.LoadProfilesRequest, received: datetime) -> ColumnBatch:
    """A batch; without event times, its values were true when it was received.

    Raises:
        OpportuneError: INVALID_FIELD for an event time that is none, REQUEST_TOO_LARGE.
    """
    nested = sum(len(column.values) + len(column.texts) + len(column.lengths) for column in message.columns)
    require_few("columns", nested + len(message.event_times_us), MAX_NESTED)
    if message.event_times_us:
        times_us = np.array(message.event_times_us, np.int64)
    else:
        time_us = microseconds_of(received)
        if message.HasField("event_time"):
            time_us = microseconds_from(message.event_time, "event_time")
        times_us = np.full(len(message.customer_ids), time_us, np.int64)
    columns = tuple(
        LoadColumn(
            column.name,
            np.array(column.values, np.float64),
            tuple(column.texts),
            np.array(column.lengths, np.int32),
        )
        for column in message.columns
    )
    return ColumnBatch(tuple(message.customer_ids), times_us, columns)
