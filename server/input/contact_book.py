"""The contact book: everything that decisions and outcomes change. Part of the fold, as the profile table is.

A decision is entered twice: at once when it is made, so that the next one sees it, and again when the journal has it,
which changes nothing, as decisions are numbered and the book knows how far it is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from server.domain.contact import DEFAULT_CONTACT_POLICY, REACHED, ContactPolicy, ContactSubject
from server.domain.journal import DecisionMade
from server.domain.outcome import AttributedOutcome, Attribution, DecisionRef, Outcome
from server.input.contacts import SLOT_BITS, Contacts, Reached, Words, decision_words, outcome_words
from server.input.decision_index import NOBODY, DecisionIndex
from server.input.identifiers import Identifiers
from server.input.meters import FOREVER_US, Meters
from server.input.offer_totals import OfferTotals
from server.input.outcome_ids import OutcomeIds
from server.input.pages import Arrays, SavedPage
from server.input.profiles import ProfileTable


class BookHeader(NamedTuple):
    """Everything of a contact book that is not in pages."""

    decided: int
    subjects: tuple[ContactSubject, ...]
    households_end: int
    outcome_period: int
    outcome_ends: tuple[int, int]
    written: int
    holds_us: tuple[int, ...]


NO_CONTACTS = BookHeader(0, (), 0, 0, (0, 0), 0, (DEFAULT_CONTACT_POLICY.hold_us,))


class ContactBook:
    """Contacts of customers and households, what everybody has used together, and which decision was whose.

    Attributes:
        decided: The number of the last decision.
        written: The number of the last decision that the journal is known to have.
        subjects: What contacts were about, by code.
    """

    def __init__(self, profiles: ProfileTable) -> None:
        self._profiles = profiles
        self._policy = DEFAULT_CONTACT_POLICY
        # Every catalog's, as what is held was held by the catalog of its time.
        self._holds_us = {self._policy.hold_us: None}
        self.decided = self.written = 0
        self.subjects: list[ContactSubject] = []
        self.meters = Meters()
        self.households = Contacts("household_contacts")
        self.totals = OfferTotals()
        self._codes: dict[ContactSubject, int] = {}
        self._of_offer: dict[str, list[int]] = {}
        self._drawing: set[int] = set()
        self._household_names = Identifiers("households")
        self._index = DecisionIndex()
        self._outcome_ids = OutcomeIds()

    @property
    def policy(self) -> ContactPolicy:
        """How contacts are kept from now on."""
        return self._policy

    @policy.setter
    def policy(self, policy: ContactPolicy) -> None:
        self._policy = policy
        self._holds_us[policy.hold_us] = None

    def code(self, subject: ContactSubject) -> int:
        """The code of a subject, which gets one if it has none."""
        code = self._codes.get(subject)
        if code is None:
            code = self._codes[subject] = len(self.subjects)
            self.subjects.append(subject)
            if subject.draws:
                self._drawing.add(code)
            self._of_offer.setdefault(subject.offer_id, []).append(code)
        return code

    def knows(self, offer_id: str, placement_id: str = "") -> bool:
        """Whether any contact was about an offer, at a placement if one is named."""
        codes = self._of_offer.get(offer_id, ())
        return any(placement_id in ("", self.subjects[code].placement_id) for code in codes)

    def household_row(self, household: str) -> int:
        """The row of a household's contacts, or -1."""
        return self._household_names.find(household.encode()) if household else NOBODY

    def decide(self, made: DecisionMade, subjects: Sequence[int], received_us: int, row: int = NOBODY) -> None:
        """Enters the next decision; the subjects are codes, slot by slot.

        Args:
            received_us: When it was asked for, or later. Callers may decide for any time, and one far ahead must not
                make everything before it seem old.
            row: Of the customer's identifier, if it has been looked up.
        """
        now_us = min(made.time_us, received_us)
        if made.customer_id:
            row = self._profiles.ensure(made.customer_id) if row < 0 else row
            self._touch(made, row, decision_words(subjects), received_us)
        if self._drawing and not self._drawing.isdisjoint(subjects):
            self._draw(made, subjects, now_us)
        self.decided = made.number

    def report(self, outcome: Outcome, subject: ContactSubject | None, received_us: int) -> AttributedOutcome:
        """Enters an outcome: `subject` is what one without token is about."""
        if not self._outcome_ids.add(outcome.outcome_id, received_us):
            return AttributedOutcome(Attribution.REPEATED, None)
        ref = outcome.decision or self._latest(outcome, received_us)
        reached = None if ref is None else self._reach(ref, outcome, received_us)
        if ref is None or reached is None:
            self._enter_unattributed(outcome, subject, received_us)
            return AttributedOutcome(Attribution.UNATTRIBUTED, None)
        # By the time of receipt, as events may be told by a clock that is ahead.
        late = received_us >= reached.decided_us + self.policy.hold_us
        return AttributedOutcome(Attribution.LATE if late else Attribution.ATTRIBUTED, ref)

    def subject_of(self, ref: DecisionRef) -> ContactSubject | None:
        """What a decision's slot was about, None if that is not known any more."""
        row, _ = self._index.find(ref.number, ref.tag)
        found = None if row == NOBODY else self._profiles.contacts.decision(row, ref.number, ref.slot)
        if found is None:
            return None
        events, place = found
        return self.subjects[int(events.subjects[place])]

    def row_of(self, ref: DecisionRef) -> int:
        """The row of the identifier that a decision was made for, or -1."""
        return self._index.find(ref.number, ref.tag)[0]

    def part(self, rows: Iterable[int]) -> None:
        """Takes the decisions of these rows from their households, as redaction takes them from the journal.

        Call it before the rows' own contacts are forgotten.
        """
        gone: dict[int, set[int]] = {}
        for row in rows:
            events = self._profiles.contacts.read(row)
            for number in () if events is None else np.unique(events.numbers[events.numbers > 0]).tolist():
                household = self._index.household(number)
                if household != NOBODY:
                    gone.setdefault(household, set()).add(number)
        for household, numbers in gone.items():
            self.households.remove(household, numbers)
            if self.households.read(household) is None and self._household_names.name(household):
                # Decisions that still point to it find nothing there, whoever gets the number: theirs are unique.
                self._household_names.release(household)

    def capture(self) -> Iterator[SavedPage]:
        """See `Pages.capture`; the profile table has captured the customers' own contacts."""
        parts = (self.meters, self.households, self._household_names, self.totals, self._index, self._outcome_ids)
        captures = [part.capture() for part in parts]
        return (page for pages in captures for page in pages)

    def header(self) -> BookHeader:
        """What goes beside the pages."""
        ids = self._outcome_ids
        return BookHeader(
            decided=self.decided,
            subjects=tuple(self.subjects),
            households_end=self._household_names.end,
            outcome_period=ids.period,
            outcome_ends=ids.ends,
            written=self.written,
            holds_us=tuple(self._holds_us),
        )

    def restore(self, header: BookHeader, pages: Mapping[str, Iterable[Arrays]]) -> None:
        """Fills an empty book with captured pages, by name."""
        for subject in header.subjects:
            self.code(subject)
        self.decided, self.written = header.decided, header.written
        self._holds_us = dict.fromkeys(header.holds_us)
        self.meters.restore(pages.get("meters", ()))
        self.households.restore(pages)
        self._household_names.restore(pages.get("households", ()), header.households_end, ())
        self.totals.restore(pages.get("offer_totals", ()))
        self._index.restore(pages.get("decisions", ()))
        self._outcome_ids.restore(pages, header.outcome_period, header.outcome_ends)

    def _draw(self, made: DecisionMade, subjects: Sequence[int], now_us: int) -> None:
        """Has a decision hold what its offers draw from meters."""
        for slot, code in enumerate(subjects):
            draws = self.subjects[code].draws
            if draws:
                key = _key(made.number, slot)
                self.meters.decide(draws, key, time_us=made.time_us, until_us=made.until_us, now_us=now_us)

    def _touch(self, made: DecisionMade, row: int, words: Words, received_us: int) -> None:
        """Enters a decision with its customer, and with the household."""
        horizon_us = self._policy.horizon_us
        oldest_us = min(made.time_us, received_us) - horizon_us
        self._profiles.contacts.add(row, made.time_us, made.number, words, oldest_us)
        household = self._household(made.household) if made.household else NOBODY
        if household != NOBODY:
            self.households.add(household, made.time_us, made.number, words, oldest_us)
        # One decision for the far future must not keep thousands of others in the index until then.
        matters_us = min(made.time_us, received_us + horizon_us)
        self._index.add(made.number, made.tag, matters_us, row, household)
        if not made.number & 0xFFF:
            self._index.retain(oldest_us)

    def _household(self, household: str) -> int:
        name = household.encode()
        row = self._household_names.find(name)
        return self._household_names.add(name) if row < 0 else row

    def _reach(self, ref: DecisionRef, outcome: Outcome, received_us: int) -> Reached | None:
        row, household = self._index.find(ref.number, ref.tag)
        if row == NOBODY:
            return None
        happened = outcome.kind, min(outcome.event_time_us, received_us)
        oldest_us = happened[1] - self._policy.horizon_us
        reached = self._profiles.contacts.reach(row, ref.number, ref.slot, happened, oldest_us)
        if reached is None:
            return None
        if household != NOBODY:
            self.households.reach(household, ref.number, ref.slot, happened, oldest_us)
        if reached.kinds:
            self._commit(ref, reached, max(happened[1], reached.decided_us), received_us)
        self.totals.add(reached.subject, reached.kinds, outcome.revenue, outcome.profit)
        return reached

    def _commit(self, ref: DecisionRef, reached: Reached, time_us: int, received_us: int) -> None:
        """Commits what an outcome commits at a time, instead of what its decision held."""
        draws = self.subjects[reached.subject].draws
        if not draws:
            return
        for hold_us in self._holds_us:
            self.meters.release(draws, reached.kinds, _key(ref.number, ref.slot), reached.decided_us + hold_us)
        self.meters.reach(draws, reached.kinds, time_us=time_us, now_us=min(time_us, received_us))

    def _latest(self, outcome: Outcome, received_us: int) -> DecisionRef | None:
        """The latest decision for an outcome's customer and offer within the attribution window.

        It is not later than the outcome, unless all of them are: clocks differ, and callers decide for any time.
        """
        row = self._profiles.find(outcome.customer_id) if outcome.customer_id else -1
        codes = [
            code
            for code in self._of_offer.get(outcome.offer_id, ())
            if outcome.placement_id in ("", self.subjects[code].placement_id)
        ]
        if row < 0 or not codes:
            return None
        happened_us = min(outcome.event_time_us, received_us)
        since_us = happened_us - self.policy.attribution_us
        members, subjects = self._profiles.members(row), np.array(codes)
        before = self._latest_of(members, subjects, (since_us, happened_us))
        number, slot = before or self._latest_of(members, subjects, (since_us, FOREVER_US)) or (0, 0)
        tag = self._index.tag(number)
        return None if tag is None else DecisionRef(number, tag, slot)

    def _latest_of(self, rows: Iterable[int], subjects: Words, times_us: tuple[int, int]) -> tuple[int, int] | None:
        """Number and slot of the latest decision of these rows, about one of these subjects and between two times."""
        # Decisions that the journal gets behind this outcome are not found when it is read again.
        found = [self._profiles.contacts.latest(row, subjects, times_us, self.written) for row in rows]
        return max(filter(None, found), default=None)

    def _enter_unattributed(self, outcome: Outcome, subject: ContactSubject | None, received_us: int) -> None:
        """A contact that nobody decided on is one all the same; that of an erased customer is nobody's."""
        if subject is None:
            return
        code, kinds = self.code(subject), REACHED[outcome.kind]
        time_us = min(outcome.event_time_us, received_us)
        if outcome.customer_id:
            row = self._profiles.ensure(outcome.customer_id)
            words, oldest_us = outcome_words(code, 0, kinds), time_us - self._policy.horizon_us
            self._profiles.contacts.add(row, time_us, 0, words, oldest_us)
        self.meters.reach(subject.draws, kinds, time_us=time_us, now_us=time_us)
        self.totals.add(code, kinds, outcome.revenue, outcome.profit)


def _key(number: int, slot: int) -> int:
    """What a meter finds the hold of one slot of a decision by."""
    return number << SLOT_BITS | slot
