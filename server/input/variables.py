"""The vector of variables: everything that conditions and models may read of a customer and a context.

Customer columns first, then context columns, then one NaN, where look-ups of cells that do not exist point to, then
what the catalog's conditions ask of the history of contacts.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np

from server.domain.attribute import AttributeType, FloatRow, IntRow, Schema, Value
from server.domain.contact import HistoryVariable
from server.domain.errors import invalid_field
from server.domain.identifier import shown_name
from server.input.aggregates import Aggregates
from server.input.deltas import column_value
from server.input.profiles import ProfileRow

CHANNEL = "channel"
"""The context attribute that every catalog has: the channel of the answer."""


class VariableReader:
    """Lays out and fills vectors of variables for one catalog. Immutable once made."""

    def __init__(self, customer: Schema, context: Schema, history: Sequence[HistoryVariable] = ()) -> None:
        self._context = context
        self._width = customer.width
        self._ages: IntRow = customer.age_columns
        self._aggregates = Aggregates(customer)
        # A new customer has bought nothing; of the rest, and without any consent, nothing is known.
        self._newcomer = self._aggregates.blank.copy()
        self._newcomer[customer.columns_without(frozenset())] = np.nan
        self._history = customer.width + context.width + 1
        self._size = self._history + len(history)
        # Whoever has no contacts has had none in any window, and there is no latest one.
        self._no_contacts = np.array([np.nan if each.window_days is None else 0 for each in history], np.float32)
        self._slots = {
            attribute.id: (customer.width + context.columns[attribute.id], attribute.type, context.codes[attribute.id])
            for attribute in context.attributes
            if attribute.id in context.columns
        }
        self._channel = customer.width + context.columns[CHANNEL]
        self._channel_codes = context.codes[CHANNEL]

    def read(
        self,
        profile: ProfileRow | None,
        channel: str,
        attributes: Mapping[str, Value],
        now_days: float,
        *,
        history: FloatRow | None = None,
    ) -> FloatRow:
        """The variables of one customer in one context: float32 [customer columns + context columns + 1 + history].

        Cost: one copy of the row, a few hundred bytes, and a look-up for each context attribute.

        Args:
            profile: The customer's row; None for a new customer, whose every attribute is missing, and who has no
                events: counts and sums are 0.
            channel: One of the catalog's channels.
            attributes: The context's attributes by name.
            now_days: The decision's time in days since 2020; timestamps are read as ages at it.
            history: float32 [history], in the order of the catalog's history variables; None: there are no contacts.

        Raises:
            OpportuneError: INVALID_FIELD for a context attribute that is not declared or of another type.
        """
        variables = np.empty(self._size, np.float32)
        width = self._width
        variables[width : self._history] = np.nan
        if len(self._no_contacts):
            variables[self._history :] = self._no_contacts if history is None else history
        if profile is None:
            variables[:width] = self._newcomer
        else:
            variables[:width] = profile.values
            self._aggregates.read(variables, profile.buckets, now_days)
            if len(self._ages):
                variables[self._ages] = now_days - variables[self._ages].astype(np.float64)
            if len(profile.unreadable):
                variables[profile.unreadable] = np.nan
        variables[self._channel] = self._channel_codes[channel]
        for name, value in attributes.items():
            slot = self._slots.get(name)
            if slot is None or name == CHANNEL:
                raise self._unknown(name)
            column, type_, codes = slot
            # What is plainly right is taken as it is; everything else goes the thorough way.
            if type_ is AttributeType.NUMBER and type(value) is float and -1e30 < value < 1e30:
                variables[column] = value
            elif type_ is AttributeType.CATEGORY and type(value) is str and value in codes:
                variables[column] = codes[value]
            elif type_ is AttributeType.BOOLEAN and type(value) is bool:
                variables[column] = value
            else:
                variables[column] = self._thorough(name, value, now_days)
        return variables

    def on_channel(self, variables: FloatRow, channel: str) -> FloatRow:
        """The same customer in the same context on another channel of the catalog."""
        other = variables.copy()
        other[self._channel] = self._channel_codes[channel]
        return other

    def _thorough(self, name: str, value: Value, now_days: float) -> float:
        attribute = self._context.by_id[name]
        number = column_value(attribute, value, self._context, f'context.attributes["{name}"]')
        return now_days - number if attribute.type is AttributeType.TIMESTAMP_AGE else number

    def _unknown(self, name: str) -> Exception:
        near = get_close_matches(name, self._slots, n=1)
        hint = f"; did you mean {near[0]}?" if near and near[0] != CHANNEL else ""
        return invalid_field(
            f'context.attributes["{shown_name(name)}"]', f"is not a context attribute of the catalog{hint}"
        )
