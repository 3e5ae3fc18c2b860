"""The contact rules of a catalog at work: its policy, bound to what is known of contacts and meters."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.contact import ContactSubject, HistoryVariable
from server.execution.compiled import CompiledCatalog
from server.execution.meter_room import MeterRoom
from server.execution.policy import ChannelPolicy
from server.input.contact_book import ContactBook
from server.input.contacts import Events, joined
from server.input.history import HistoryReader
from server.intelligence.caps import CapCounter, ContactColumns

_UNKNOWN = -1


class ChannelRules(NamedTuple):
    """What holds offers back on one channel."""

    policy: ChannelPolicy
    customer: CapCounter
    household: CapCounter
    meters: MeterRoom

    def words(self, code: int) -> str:
        """What held an offer back, in words, by its place: customer's caps first, then the household's, then meters."""
        policy = self.policy
        for families in (policy.customer, policy.household):
            if code < len(families):
                return f"cap: {families.families[code].cap}"
            code -= len(families)
        return policy.meters.limits[code].text

    @property
    def first_household(self) -> int:
        """The place of the first of the household's caps."""
        return len(self.policy.customer)

    @property
    def first_meter(self) -> int:
        """The place of the first meter."""
        return len(self.policy.customer) + len(self.policy.household)


class ContactRules:
    """The rules of one catalog over the contacts of everybody."""

    def __init__(self, catalog: CompiledCatalog, book: ContactBook) -> None:
        self._catalog = catalog
        self._book = book
        hold_us = catalog.contacts.hold_us
        self._channels = {
            channel: ChannelRules(
                policy,
                CapCounter(policy.customer, book.subjects, hold_us),
                CapCounter(policy.household, book.subjects, hold_us),
                MeterRoom(policy.meters, book.meters),
            )
            for channel, policy in catalog.policy.channels.items()
        }
        self.history = HistoryReader(catalog.history, book.subjects)
        self._codes: dict[tuple[str, str], NDArray[np.int64]] = {}
        # Each its own place among the changes: rules that a catalog has replaced may still explain a decision.
        self._changes = book.meters.changes

    def channel(self, channel: str) -> ChannelRules:
        """The rules of a channel, up to date with the meters."""
        meters = self._book.meters
        if meters.changes != self._changes:
            changed = meters.changed_since(self._changes)
            for rules in self._channels.values():
                rules.meters.forget(changed)
            self._changes = meters.changes
        return self._channels[channel]

    def history_reader(self, variables: Sequence[HistoryVariable]) -> HistoryReader:
        """A reader of other numbers of the history than the catalog's."""
        return HistoryReader(variables, self._book.subjects)

    def household_events(self, household: str) -> Events | None:
        """The contacts of a household, None if there are none."""
        row = self._book.household_row(household)
        return None if row < 0 else self._book.households.read(row)

    def subjects(self, placement_id: str, channel: str, offers: NDArray[np.intp]) -> list[int]:
        """The codes of what is shown at a placement on a channel, for offers by index."""
        codes = self._codes.get((placement_id, channel))
        if codes is None:
            codes = np.full(len(self._catalog.offers), _UNKNOWN, np.int64)
            self._codes[placement_id, channel] = codes
        found: list[int] = codes.take(offers).tolist()
        if _UNKNOWN in found:
            for place, offer in enumerate(offers.tolist()):
                if found[place] == _UNKNOWN:
                    found[place] = self._book.code(self._subject(placement_id, channel, offer))
                    codes[offer] = found[place]
        return found

    def _subject(self, placement_id: str, channel: str, place: int) -> ContactSubject:
        offer = self._catalog.offers.offers[place]
        draws = self._catalog.policy.channels[channel].meters.draws.get(place, ())
        return ContactSubject(offer.id, placement_id, channel, offer.tactic, offer.exclusion_group, draws)


def contact_columns(events: Events | None) -> ContactColumns | None:
    """Events as caps read them."""
    return None if events is None else ContactColumns(events.times_us, events.states, events.subjects)


def with_household(shared: Events | None, own: Events | None) -> Events | None:
    """The contacts of a household, with those of a member from before anybody knew of it; either may be missing."""
    if shared is None or own is None:
        return own if shared is None else shared
    earlier = ~np.isin(own.numbers, shared.numbers)
    return joined([shared, Events(*(column[earlier] for column in own))])
