"""A change: what one update of a delta does to one column of a row."""

import math
from enum import Enum, auto
from typing import NamedTuple

import numpy as np

from server.domain.attribute import LARGEST, FloatRow


class Operation(Enum):
    """What a change does to its column."""

    SET = auto()
    ADD = auto()
    ADD_MEMBERS = auto()
    REMOVE_MEMBERS = auto()
    LATEST = auto()
    DECAY = auto()
    BUCKET = auto()


class Change(NamedTuple):
    """One change to one column of a row; `aggregate` is the place of the decayed sum that the column belongs to."""

    column: int
    operation: Operation
    operand: float
    aggregate: int = -1


def apply_change(change: Change, values: FloatRow) -> None:
    """Applies a change that needs only the cell itself."""
    column, operation, operand, _ = change
    before = float(values[column])
    if operation is Operation.LATEST:
        values[column] = np.fmax(values[column], np.float32(operand))
        return
    if math.isnan(before):
        before = 0.0
    if operation is Operation.ADD:
        values[column] = min(max(before + operand, -LARGEST), LARGEST)
    elif operation is Operation.ADD_MEMBERS:
        values[column] = int(before) | int(operand)
    else:
        values[column] = int(before) & ~int(operand)
