"""The vector of variables: everything that conditions and models may read of a customer and a context.

Customer columns first, then context columns, then one NaN, where look-ups of cells that do not exist point to.
"""

from collections.abc import Mapping
from difflib import get_close_matches

import numpy as np

from server.domain.attribute import AttributeType, FloatRow, IntRow, Schema, Value
from server.domain.errors import invalid_field
from server.input.deltas import column_value
from server.input.profiles import ProfileRow


class VariableReader:
    """Lays out and fills vectors of variables for one catalog. Immutable once made."""

    def __init__(self, customer: Schema, context: Schema) -> None:
        self._context = context
        self._width = customer.width
        self._ages: IntRow = customer.age_columns
        self._size = customer.width + context.width + 1

    def read(self, profile: ProfileRow | None, context: Mapping[str, Value], now_days: float) -> FloatRow:
        """The variables of one customer in one context: float32 [customer columns + context columns + 1].

        Cost: one copy of the row, a few hundred bytes, and a look-up for each context attribute.

        Args:
            profile: The customer's row; None for a new customer, whose every attribute is missing.
            context: The context's attributes by name, `channel` among them.
            now_days: The decision's time in days since 2020; timestamps are read as ages at it.

        Raises:
            OpportuneError: INVALID_FIELD for a context attribute that is not declared or of another type.
        """
        variables = np.empty(self._size, np.float32)
        width = self._width
        variables[width:] = np.nan
        if profile is None:
            variables[:width] = np.nan
        else:
            variables[:width] = profile.values
            if len(self._ages):
                variables[self._ages] = now_days - variables[self._ages].astype(np.float64)
            if len(profile.unreadable):
                variables[profile.unreadable] = np.nan
        for name, value in context.items():
            column = self._context.columns.get(name)
            if column is None:
                raise self._unknown(name)
            variables[width + column] = self._context_value(name, value)
        return variables

    def _context_value(self, name: str, value: Value) -> float:
        attribute = self._context.by_id[name]
        if attribute.type is AttributeType.NUMBER and type(value) is float and -1e38 < value < 1e38:
            return value
        return column_value(attribute, value, self._context, f'context.attributes["{name}"]')

    def _unknown(self, name: str) -> Exception:
        near = get_close_matches(name, self._context.by_id, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return invalid_field(f'context.attributes["{name}"]', f"is not a context attribute of the catalog{hint}")
