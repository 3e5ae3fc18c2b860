"""What is known of a crowd, and of the context that all of it is in: what `read_variables` reads, for many."""

from collections.abc import Mapping

import numpy as np

from server.domain.attribute import FloatRow, IntRow
from server.execution.crowd import Crowd, Occasion
from server.input.columns import CustomerColumns
from server.input.contacts import Events
from server.input.customers import customer_ids
from server.input.history import HistoryReader
from server.input.profiles import ProfileTable


class CrowdReader:
    """Reads crowds for one occasion."""

    def __init__(self, occasion: Occasion) -> None:
        """Reads the context.

        Raises:
            OpportuneError: INVALID_FIELD for a context attribute that is not declared or of another type.
        """
        catalog, snapshot = occasion.catalog, occasion.snapshot
        self._occasion = occasion
        self._profiles = snapshot.profiles
        self._columns = CustomerColumns(snapshot.profiles, np.arange(catalog.customer.width))
        # What a newcomer without contacts has in this context: only what is known of a customer differs from it.
        self._newcomer = catalog.variables.read(None, occasion.channel, occasion.context.attributes, occasion.now_days)
        self._history = len(self._newcomer) - len(catalog.history)
        policy = occasion.rules.policy
        self._asks_for_contacts = bool(catalog.history or len(policy.customer) or len(policy.household))

    def read(self, rows: IntRow) -> Crowd:
        """The crowd of these rows, with names, variables, consents and contacts."""
        occasion = self._occasion
        crowd = Crowd(occasion, rows, customer_ids(self._profiles, rows))
        crowd.granted = self._columns.consents(rows)
        crowd.variables = np.repeat(self._newcomer[:, None], len(rows), axis=1)
        crowd.variables[: occasion.catalog.customer.width] = self._columns.read(rows, occasion.now_days)
        if self._asks_for_contacts:
            crowd.events = events_of(self._profiles, rows)
        if occasion.catalog.history:
            history = crowd.variables[self._history :]
            fill_history(history, occasion.snapshot.rules.history, crowd.events, occasion.now_us)
        return crowd


def events_of(profiles: ProfileTable, rows: IntRow) -> dict[int, Events]:
    """The contacts of those customers who had any, by their places."""
    found = ((place, profiles.events(row)) for place, row in enumerate(rows.tolist()))
    return {place: events for place, events in found if events is not None}


def fill_history(history: FloatRow, reader: HistoryReader, events: Mapping[int, Events], now_us: int) -> None:
    """Puts what contacts come to in place, for those who had any: float32 [variables, customers]."""
    for place, of_customer in events.items():
        values = reader.read(of_customer, now_us)
        if values is not None:
            history[:, place] = values
