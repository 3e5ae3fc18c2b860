"""One change of one column: what is missing counts as nothing, and nothing leaves what a float32 holds."""

import math

import numpy as np
import pytest

from server.domain.attribute import LARGEST
from server.input.change import Change, Operation, apply_change


def _applied(before: float, operation: Operation, operand: float) -> float:
    values = np.array([7, before, 7], np.float32)
    apply_change(Change(1, operation, operand), values)
    assert values[0] == values[2] == 7
    return values.item(1)


@pytest.mark.parametrize(
    ("before", "operation", "operand", "after"),
    [
        (2, Operation.ADD, 3, 5),
        (math.nan, Operation.ADD, 3, 3),
        (LARGEST, Operation.ADD, LARGEST, np.float32(LARGEST)),
        (-LARGEST, Operation.ADD, -LARGEST, np.float32(-LARGEST)),
        (math.nan, Operation.LATEST, 3, 3),
        (5, Operation.LATEST, 3, 5),
        (0b101, Operation.ADD_MEMBERS, 0b011, 0b111),
        (math.nan, Operation.ADD_MEMBERS, 0b011, 0b011),
        (0b111, Operation.REMOVE_MEMBERS, 0b010, 0b101),
        (math.nan, Operation.REMOVE_MEMBERS, 0b010, 0),
    ],
)
def test_a_change_changes_its_column_alone(before: float, operation: Operation, operand: float, after: float) -> None:
    assert _applied(before, operation, operand) == after
