"""The profile table: an identifier is a row of float32 columns in a page, never an object.

One event loop owns the table. What a decision reads is the row of a customer: an identifier's own row, or, if several
identifiers are one customer, the row that theirs come to (`identity.py`, `merging.py`).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from server.domain.attribute import BoolRow, FloatRow, IntRow, Schema
from server.domain.clock import MICROSECONDS_PER_DAY, day_of
from server.input.aggregates import Aggregates
from server.input.change import Change, Operation, apply_change
from server.input.contacts import Contacts, Events, joined
from server.input.day_buckets import Amounts, DayBuckets, Keys, bucket_key
from server.input.event_times import NEVER, EventTimes
from server.input.identifiers import Identifiers
from server.input.identity import IdentityGraph
from server.input.merging import Member, MergeRules, merged_consents
from server.input.pages import PAGE_BITS, PAGE_MASK, Arrays, Pages, SavedPage
from server.input.rows import RowPage

MAX_PURPOSES = 32


class ProfileRow(NamedTuple):
    """What a decision reads of a customer: views of the row and its day buckets, the columns it may not read.

    `granted` has a bit for each purpose that the customer agreed to.
    """

    values: FloatRow
    unreadable: IntRow
    version: int
    buckets: tuple[Keys, Amounts] | None = None
    granted: int = 0


class ProfileTable:
    """Every customer's attributes, aggregates, consents and version, by identifier."""

    def __init__(self, schema: Schema) -> None:
        self.identifiers = Identifiers()
        self.graph = IdentityGraph(self._reserve, self._release)
        self.buckets = DayBuckets()
        self.contacts = Contacts()
        self.pages: Pages[RowPage] = Pages("rows", self._blank_page)
        self.times = EventTimes("times", schema.settable_width)
        self.consent_times = EventTimes("consent_times", len(schema.purposes))
        self.lay_out(schema)
        self._stale: set[int] = set()

    def __len__(self) -> int:
        """How many identifiers are known."""
        return len(self.identifiers)

    def lay_out(self, schema: Schema) -> None:
        """Reads rows by this schema from now on; see `relayout` for moving what is in them."""
        self.schema = schema
        self.aggregates = Aggregates(schema)
        self.merge_rules = MergeRules(schema, self.aggregates)
        self._unreadable: dict[int, IntRow] = {}

    def read(self, customer_id: str) -> ProfileRow | None:
        """What is known about a customer, or None. The values are a view: do not keep or change them."""
        row = self.find(customer_id)
        return None if row < 0 else self.read_row(self.graph.customer(row))

    def read_row(self, row: int) -> ProfileRow:
        """What a row holds."""
        page, place = self.pages[row >> PAGE_BITS], row & PAGE_MASK
        granted = page.granted.item(place)
        unreadable = self._unreadable_columns(granted)
        return ProfileRow(page.values[place], unreadable, page.versions_view[place], self.buckets.read(row), granted)

    def find(self, customer_id: str) -> int:
        """The row of an identifier, or -1."""
        return self.identifiers.find(customer_id.encode())

    def ensure(self, customer_id: str) -> int:
        """The row of an identifier, which becomes known if it is not."""
        name = customer_id.encode()
        row = self.identifiers.find(name)
        if row < 0:
            row = self.identifiers.add(name)
            self._make_room()
        return row

    def update(self, row: int, changes: Sequence[Change], time_us: int, version: int, received_us: int) -> None:
        """Applies compiled changes to an identifier's row: what is set, unless it was set later; everything else once.

        A missing number counts as 0, a missing set as empty; sums stop at what a float32 holds.
        """
        values = self.pages.writable(row >> PAGE_BITS).values[row & PAGE_MASK]
        sets = [change for change in changes if change.operation is Operation.SET]
        if sets:
            self._set(row, values, sets, time_us)
        if len(sets) < len(changes):
            for change in changes:
                if change.operation is Operation.BUCKET:
                    key = bucket_key(day_of(time_us), change.column)
                    self.buckets.add(row, key, change.operand, self.aggregates.windows, day_of(received_us))
                elif change.operation is Operation.DECAY:
                    # An event that is dated far ahead must not scale everything before it to nothing.
                    self.aggregates.apply_decay(change, values, min(time_us, received_us + MICROSECONDS_PER_DAY))
                elif change.operation is not Operation.SET:
                    if change.column < self.times.width and np.isnan(values[change.column]):
                        # A value that was never set must not seem to have been set with the row's others.
                        self.times.spread(row, lambda: self.settable(row))
                    apply_change(change, values)
        self._touch(row, version, time_us)

    def record_consent(self, row: int, purpose: str, granted: bool, time_us: int, version: int) -> None:
        """Records an answer for one of the schema's purposes, unless a later one is recorded.

        Of two answers at the same time the refusal holds.
        """
        bit = self.schema.purposes.index(purpose)
        page, place = self.pages.writable(row >> PAGE_BITS), row & PAGE_MASK
        mask = np.uint32(1 << bit)
        refused = bool(page.recorded[place] & mask) and not page.granted[place] & mask
        at_once = refused and self.consent_times.times(row, self._recorded(row))[bit] == time_us
        won = self.consent_times.stamp(row, (bit,), time_us, lambda: self._recorded(row))
        if won and not (granted and at_once):
            page.recorded[place] |= mask
            page.granted[place] = (page.granted[place] | mask) if granted else (page.granted[place] & ~mask)
        self._touch(row, version, time_us)

    def consents(self, row: int) -> dict[str, bool]:
        """The recorded answers of a row, by purpose."""
        page, place = self.pages[row >> PAGE_BITS], row & PAGE_MASK
        recorded, granted = page.recorded.item(place), page.granted.item(place)
        return {
            purpose: bool(granted >> bit & 1)
            for bit, purpose in enumerate(self.schema.purposes)
            if recorded >> bit & 1
        }  # fmt: skip

    def events(self, row: int) -> Events | None:
        """The contact events of all identifiers of a row's customer, None if there are none. Views: do not keep."""
        members = self.graph.members(row)
        if len(members) == 1:
            return self.contacts.read(row)
        return joined(self.contacts.read(member) for member in members)

    def update_us(self, row: int) -> int:
        """The newest event time of a row's changes, in microseconds since 1970; `NEVER` if there were none."""
        return self.pages[row >> PAGE_BITS].updates_us_view[row & PAGE_MASK]

    def link(self, left: int, right: int, ruled: bool, version: int) -> None:
        """Joins two identifiers."""
        self.graph.link(left, right, ruled)
        self._stale.add(self.graph.customer(left))
        self.refresh(version)

    def unlink(self, row: int, other: int | None, version: int) -> list[list[int]]:
        """Parts identifiers; see `IdentityGraph.unlink`."""
        parts = self.graph.unlink(row, other)
        self._stale |= {self.graph.customer(members[0]) for members in parts if len(members) > 1}
        self.refresh(version)
        return parts

    def refresh(self, version: int) -> None:
        """Works out the rows of customers whose identifiers' rows have changed."""
        for customer in self._stale:
            self._merge(customer, version)
        self._stale.clear()

    def stale(self, customer: int) -> None:
        """Has the row of a customer with several identifiers worked out again at the next `refresh`."""
        self._stale.add(customer)

    def forget(self, rows: Sequence[int]) -> None:
        """Forgets identifiers with everything that is known of them."""
        self.graph.forget(rows)
        self._stale -= set(rows)
        for row in rows:
            self._release(row)

    def members(self, row: int) -> list[int]:
        """The rows of all identifiers of a row's customer, in the order of their names."""
        return sorted(self.graph.members(row), key=self.identifiers.name)

    def name(self, row: int) -> str:
        """The identifier of a row."""
        return self.identifiers.name(row).decode()

    def capture(self) -> Iterator[SavedPage]:
        """Copies of all pages as they are now; see `Pages.capture`."""
        parts = (
            self.identifiers, self.graph, self.buckets, self.contacts, self.pages, self.times, self.consent_times,
        )  # fmt: skip
        captures = [part.capture() for part in parts]
        return (page for pages in captures for page in pages)

    def restore(
        self,
        pages: Mapping[str, Sequence[Arrays]],
        end: int,
        free: Sequence[int],
        apart: Iterable[tuple[int, int]],
    ) -> None:
        """Fills an empty table with captured pages, by name and in their order."""
        self.identifiers.restore(pages.get("identifiers", ()), end, free)
        self.graph.restore(pages, apart)
        self.buckets.restore(pages)
        self.contacts.restore(pages)
        for arrays in pages.get("rows", ()):
            self.pages.restore(RowPage(arrays))
        self.times.restore(pages)
        self.consent_times.restore(pages)

    def settable(self, row: int) -> BoolRow:
        """Which settable cells of a row have a value: bool [settable columns]."""
        values = self.pages[row >> PAGE_BITS].values[row & PAGE_MASK]
        present: BoolRow = ~np.isnan(values[: self.times.width])
        return present

    def member(self, row: int) -> Member:
        """What an identifier's row brings to a customer."""
        page, place = self.pages[row >> PAGE_BITS], row & PAGE_MASK
        return Member(
            page.values[place],
            self.times.times(row, self.settable(row)),
            page.granted.item(place),
            page.recorded.item(place),
            self.consent_times.times(row, self._recorded(row)),
        )

    def _set(self, row: int, values: FloatRow, sets: list[Change], time_us: int) -> None:
        columns = [change.column for change in sets]
        if any(math.isnan(change.operand) for change in sets):
            # A removal leaves nothing that could stand for its time, so that each cell needs one of its own.
            self.times.spread(row, lambda: self.settable(row))
        won = self.times.stamp(row, columns, time_us, lambda: self.settable(row))
        if len(won) < len(columns):
            winners = set(won)
            sets = [change for change in sets if change.column in winners]
        for change in sets:
            values[change.column] = change.operand

    def _touch(self, row: int, version: int, time_us: int) -> None:
        page, place = self.pages.writable(row >> PAGE_BITS), row & PAGE_MASK
        page.versions_view[place] = version
        page.updates_us_view[place] = max(page.updates_us_view[place], time_us)
        customer = self.graph.customer(row)
        if customer != row:
            self._stale.add(customer)

    def _merge(self, customer: int, version: int) -> None:
        rows = self.members(customer)
        members = [self.member(row) for row in rows]
        page, place = self.pages.writable(customer >> PAGE_BITS), customer & PAGE_MASK
        self.merge_rules.merge(members, page.values[place])
        page.granted[place], page.recorded[place] = merged_consents(members)
        page.versions_view[place] = version
        page.updates_us_view[place] = max(self.update_us(row) for row in rows)
        runs = [buckets for row in rows if (buckets := self.buckets.read(row)) is not None]
        if runs:
            keys, amounts = (np.concatenate(parts) for parts in zip(*runs, strict=True))
            self.buckets.assign(customer, keys, amounts)
        else:
            self.buckets.clear(customer)

    def _unreadable_columns(self, granted: int) -> IntRow:
        columns = self._unreadable.get(granted)
        if columns is None:
            purposes = frozenset(p for bit, p in enumerate(self.schema.purposes) if granted >> bit & 1)
            columns = self._unreadable[granted] = self.schema.columns_without(purposes)
        return columns

    def _recorded(self, row: int) -> BoolRow:
        recorded = self.pages[row >> PAGE_BITS].recorded[row & PAGE_MASK]
        flags: BoolRow = recorded >> np.arange(self.consent_times.width, dtype=np.uint32) & 1 == 1
        return flags

    def _reserve(self) -> int:
        row = self.identifiers.reserve()
        self._make_room()
        return row

    def _release(self, row: int) -> None:
        page, place = self.pages.writable(row >> PAGE_BITS), row & PAGE_MASK
        page.values[place] = self.aggregates.blank
        page.versions[place], page.updates_us[place] = 0, NEVER
        page.granted[place] = page.recorded[place] = 0
        self.times.clear(row)
        self.consent_times.clear(row)
        self.buckets.clear(row)
        self.contacts.clear(row)
        self._stale.discard(row)
        self.identifiers.release(row)

    def _make_room(self) -> None:
        self.pages.grow_to(self.identifiers.end)

    def _blank_page(self) -> RowPage:
        return RowPage.blank(self.aggregates.blank)
