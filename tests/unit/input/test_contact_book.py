from typing import Any

import pytest

from server.domain.attribute import Schema
from server.domain.contact import ContactKind, ContactPolicy, ContactSubject, Draw
from server.domain.journal import DecisionMade
from server.domain.outcome import Attribution, DecisionRef, Outcome
from server.input.contact_book import ContactBook
from server.input.contacts import Contacts
from server.input.profiles import ProfileTable
from tests.support.clock import NOON_US

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
HOLD_US = 15 * MINUTE_US
TAG = 99
UNIT = 1_000_000
BUDGET = Draw("budget", ContactKind.ACCEPTED, 0, UNIT)
A = ContactSubject("a", "home", "web", "discount", "", (BUDGET,))
B = ContactSubject("b", "home", "web", "discount")
A_MAILED = ContactSubject("a", "mail", "email", "discount")


class Book(ContactBook):
    """A book with decisions in a few words."""

    def __init__(self) -> None:
        super().__init__(ProfileTable(Schema()))
        self.table = self._profiles

    def show(self, number: int, *subjects: ContactSubject, at_us: int = NOON_US, **more: Any) -> None:
        """A decision."""
        made = DecisionMade(
            number, TAG, at_us, 0, more.pop("customer_id", "c:1"), more.pop("household", ""), at_us + HOLD_US, ()
        )
        self.decide(made, [self.code(subject) for subject in subjects], more.pop("received_us", at_us))
        self.written = number

    def say(self, kind: ContactKind, **more: Any) -> Attribution:
        """An outcome of the first slot of decision 1, unless more is said."""
        self.reports = getattr(self, "reports", 0) + 1
        at_us = more.pop("at_us", NOON_US)
        received_us = more.pop("received_us", at_us)
        subject = more.pop("subject", None)
        fields = {"outcome_id": f"o{self.reports}", "decision": DecisionRef(1, TAG, 0)} | more
        return self.report(Outcome(kind=kind, event_time_us=at_us, **fields), subject, received_us).attribution

    def kinds(self, customer_id: str = "c:1") -> list[int]:
        """What an identifier has been through."""
        return kinds_of(self.table.contacts, self.table.find(customer_id))

    def used(self, at_us: int = NOON_US) -> int:
        """What is used of the budget."""
        return self.meters.by_id["budget"].used(at_us, 0)


def kinds_of(contacts: Contacts, row: int) -> list[int]:
    """The kinds of a row's events."""
    events = contacts.read(row)
    return [] if events is None else events.kinds.tolist()


def test_decision_makes_its_customer_known() -> None:
    book = Book()

    book.show(1, A, B)

    assert book.kinds() == [0, 0]
    assert book.decided == 1
    assert book.row_of(DecisionRef(1, TAG, 0)) == book.table.find("c:1")
    assert book.subject_of(DecisionRef(1, TAG, 1)) == B
    assert book.subject_of(DecisionRef(1, TAG, 2)) is None
    assert book.subject_of(DecisionRef(1, TAG + 1, 0)) is None


def test_decision_for_the_far_future_is_not_kept_in_the_index_until_then() -> None:
    book = Book()
    book.policy = ContactPolicy(horizon_us=DAY_US)
    book.show(1, A, at_us=NOON_US + 1_000 * DAY_US, received_us=NOON_US)

    book.show(2 * 4_096, A, at_us=NOON_US + 2 * DAY_US)
    tomorrow = book.row_of(DecisionRef(1, TAG, 0))
    book.show(3 * 4_096, A, at_us=NOON_US + 2 * DAY_US + 1)

    assert tomorrow == book.table.find("c:1")
    assert book.row_of(DecisionRef(1, TAG, 0)) == -1


def test_subject_keeps_its_code() -> None:
    book = Book()

    assert [book.code(each) for each in (A, B, A, A_MAILED, B)] == [0, 1, 0, 2, 1]
    assert book.subjects == [A, B, A_MAILED]


def test_outcome_is_attributed_by_its_token_and_counted_once() -> None:
    book = Book()
    book.show(1, A, B)

    first = book.say(ContactKind.ACCEPTED, outcome_id="o", revenue=5.0)
    again = book.say(ContactKind.ACCEPTED, outcome_id="o", revenue=5.0)

    assert (first, again) == (Attribution.ATTRIBUTED, Attribution.REPEATED)
    assert book.kinds() == [0, 0, ContactKind.IMPRESSION, ContactKind.ACCEPTED]
    assert book.totals.of(0).revenue == 5.0
    assert book.totals.of(0).contacts[ContactKind.ACCEPTED] == 1


@pytest.mark.parametrize(
    ("later_us", "attribution"), [(HOLD_US - 1, Attribution.ATTRIBUTED), (HOLD_US, Attribution.LATE)]
)
def test_outcome_is_late_when_nothing_is_held_any_more(later_us: int, attribution: Attribution) -> None:
    book = Book()
    book.show(1, A)
    held = book.used(NOON_US + later_us)

    assert book.say(ContactKind.CLICK, at_us=NOON_US + later_us) is attribution
    assert held == (UNIT if attribution is Attribution.ATTRIBUTED else 0)
    assert book.kinds() == [0, ContactKind.IMPRESSION, ContactKind.CLICK]


@pytest.mark.parametrize(
    ("received_us", "attribution"), [(MINUTE_US, Attribution.ATTRIBUTED), (HOLD_US, Attribution.LATE)]
)
def test_outcome_is_late_by_when_it_was_received(received_us: int, attribution: Attribution) -> None:
    book = Book()
    book.show(1, A)

    told_early = book.say(ContactKind.IMPRESSION, at_us=NOON_US, received_us=NOON_US + received_us)
    told_ahead = book.say(ContactKind.CLICK, at_us=NOON_US + HOUR_US, received_us=NOON_US + received_us)

    assert (told_early, told_ahead) == (attribution, attribution)


@pytest.mark.parametrize("ref", [DecisionRef(2, TAG, 0), DecisionRef(1, TAG + 1, 0), DecisionRef(1, TAG, 7)])
def test_outcome_of_a_decision_that_nobody_made_is_nobodys(ref: DecisionRef) -> None:
    book = Book()
    book.show(1, A)

    assert book.say(ContactKind.CLICK, decision=ref) is Attribution.UNATTRIBUTED
    assert book.kinds() == [0]


def test_outcome_commits_what_the_decision_held() -> None:
    book = Book()
    book.show(1, A, A)
    assert book.used() == 2 * UNIT

    book.say(ContactKind.ACCEPTED, at_us=NOON_US + MINUTE_US)

    assert book.used(NOON_US + MINUTE_US) == 2 * UNIT
    assert book.used(NOON_US + HOLD_US) == UNIT


def test_hold_is_released_by_the_catalog_of_its_time() -> None:
    book = Book()
    book.show(1, A)

    book.policy = ContactPolicy(hold_us=HOUR_US)
    book.say(ContactKind.ACCEPTED, at_us=NOON_US + MINUTE_US)

    assert book.used(NOON_US + MINUTE_US) == UNIT


def test_decision_of_an_erased_customer_still_holds_what_everybody_shares() -> None:
    book = Book()

    book.show(1, A, customer_id="")

    assert book.used() == UNIT
    assert book.decided == 1
    assert len(book.table) == 0
    assert book.say(ContactKind.ACCEPTED) is Attribution.UNATTRIBUTED


def test_household_has_the_contacts_of_its_members_at_the_time() -> None:
    book = Book()
    book.show(1, A, household="h1")
    book.show(2, B, household="h2")
    book.show(3, B, customer_id="c:2", household="h1")

    book.say(ContactKind.CLICK)

    first, second = (kinds_of(book.households, book.household_row(name)) for name in ("h1", "h2"))
    assert first == [0, 0, ContactKind.IMPRESSION, ContactKind.CLICK]
    assert second == [0]
    assert book.household_row("h3") == book.household_row("") == -1


def without_token(**more: Any) -> dict[str, Any]:
    """An outcome without token, of the offer `a` for a customer."""
    return {"decision": None, "customer_id": "c:1", "offer_id": "a"} | more


def test_outcome_without_token_is_that_of_the_latest_decision_for_customer_and_offer() -> None:
    book = Book()
    book.show(1, A)
    book.show(2, B, A_MAILED)
    book.show(3, B)

    found = book.report(Outcome("o", ContactKind.CLICK, NOON_US, **without_token()), A, NOON_US)
    at_home = book.report(Outcome("p", ContactKind.CLICK, NOON_US, **without_token(placement_id="home")), A, NOON_US)

    assert found.decision == DecisionRef(2, TAG, 1)
    assert at_home.decision == DecisionRef(1, TAG, 0)


def test_outcome_without_token_looks_at_all_identifiers_of_the_customer() -> None:
    book = Book()
    book.show(1, A)
    book.show(2, A, customer_id="c:2")
    book.table.link(book.table.find("c:1"), book.table.find("c:2"), False, 1)

    found = book.report(Outcome("o", ContactKind.CLICK, NOON_US, **without_token()), A, NOON_US)

    assert found.decision == DecisionRef(2, TAG, 0)


@pytest.mark.parametrize(
    ("later_us", "attribution"),
    [(7 * DAY_US, Attribution.LATE), (7 * DAY_US + 1, Attribution.UNATTRIBUTED)],
)
def test_outcome_without_token_is_attributed_within_a_window(later_us: int, attribution: Attribution) -> None:
    book = Book()
    book.show(1, A)

    assert book.say(ContactKind.CLICK, at_us=NOON_US + later_us, subject=A, **without_token()) is attribution


def test_outcome_without_token_is_that_of_the_latest_decision_before_it() -> None:
    book = Book()
    book.show(1, A)
    book.show(2, A, at_us=NOON_US + MINUTE_US, customer_id="c:2")
    book.show(3, A, at_us=NOON_US + HOUR_US)
    book.table.link(book.table.find("c:1"), book.table.find("c:2"), False, 1)

    found = [
        book.report(Outcome(f"o{at_us}", ContactKind.CLICK, at_us, **without_token()), A, NOON_US + HOUR_US).decision
        for at_us in (NOON_US, NOON_US + MINUTE_US, NOON_US + HOUR_US - 1, NOON_US + HOUR_US)
    ]

    assert found == [DecisionRef(number, TAG, 0) for number in (1, 2, 2, 3)]


def test_outcome_without_token_from_before_all_decisions_is_that_of_the_latest() -> None:
    book = Book()
    book.show(1, A)
    book.show(2, A, at_us=NOON_US + 1)

    found = book.report(Outcome("o", ContactKind.CLICK, NOON_US - 1, **without_token()), A, NOON_US + 1)

    assert found.decision == DecisionRef(2, TAG, 0)


def test_outcome_without_token_from_a_clock_that_is_ahead_has_happened_when_it_was_received() -> None:
    book = Book()
    book.show(1, A)
    book.show(2, A, at_us=NOON_US + DAY_US, received_us=NOON_US)

    found = book.report(Outcome("o", ContactKind.CLICK, NOON_US + 9 * DAY_US, **without_token()), A, NOON_US)

    assert found.decision == DecisionRef(1, TAG, 0)


def test_decision_that_is_not_written_yet_is_not_found_without_its_token() -> None:
    book = Book()
    book.show(1, A)
    book.show(2, A)
    book.written = 1

    found = book.report(Outcome("o", ContactKind.CLICK, NOON_US, **without_token()), A, NOON_US)

    assert found.decision == DecisionRef(1, TAG, 0)


def test_outcome_that_nobody_decided_on_is_a_contact_all_the_same() -> None:
    book = Book()

    assert book.say(ContactKind.ACCEPTED, subject=A, revenue=3.0, **without_token()) is Attribution.UNATTRIBUTED

    assert book.kinds() == [ContactKind.IMPRESSION, ContactKind.ACCEPTED]
    assert book.used() == UNIT
    assert book.totals.of(0).revenue == 3.0


def test_outcome_of_nobody_known_is_only_remembered() -> None:
    book = Book()

    assert book.say(ContactKind.CLICK, subject=A, **without_token(customer_id="")) is Attribution.UNATTRIBUTED
    assert len(book.table) == 0


def test_old_decision_whose_customer_is_not_known_any_more_is_not_stumbled_over() -> None:
    book = Book()
    book.policy = ContactPolicy(horizon_us=7 * DAY_US)
    book.show(1, A)
    book.show(4_096 * 2, B, customer_id="c:2", at_us=NOON_US + 9 * DAY_US)

    # The event is of a time at which the decision was young, and its report comes late.
    attribution = book.say(
        ContactKind.CLICK, at_us=NOON_US + DAY_US, received_us=NOON_US + 9 * DAY_US, subject=A, **without_token()
    )

    assert attribution is Attribution.UNATTRIBUTED


def test_decision_for_a_time_far_ahead_lets_nothing_go() -> None:
    book = Book()
    for number in range(1, 9):
        book.show(number, A)

    book.show(4_096 * 2, A, at_us=NOON_US + 5_000 * DAY_US, received_us=NOON_US)

    assert len(book.kinds()) == 9
    assert book.used() == 9 * UNIT
    assert book.say(ContactKind.ACCEPTED) is Attribution.ATTRIBUTED


def test_slots_of_one_decision_are_told_apart_up_to_the_last() -> None:
    book = Book()
    book.show(1, *[A] * 1_600)

    book.say(ContactKind.ACCEPTED, decision=DecisionRef(1, TAG, 1_599))
    book.say(ContactKind.ACCEPTED, decision=DecisionRef(1, TAG, 1_599 - 1_024))

    assert book.used() == 1_600 * UNIT
    assert book.used(NOON_US + HOLD_US) == 2 * UNIT


def test_book_comes_back_with_everything() -> None:
    book = Book()
    book.policy = ContactPolicy(hold_us=HOUR_US)
    book.show(1, A, household="h1")
    book.say(ContactKind.CLICK, outcome_id="o")
    header = book.header()
    pages: dict[str, list[Any]] = {}
    for page in [*book.capture(), *book.table.capture()]:
        pages.setdefault(page.name, []).append(dict(page.arrays))

    again = Book()
    again.table.restore(pages, book.table.identifiers.end, (), ())
    again.restore(header, pages)

    assert (again.decided, again.written, again.subjects) == (1, 1, book.subjects)
    assert again.kinds() == book.kinds()
    assert kinds_of(again.households, again.household_row("h1")) == [0, 1, 2]
    assert again.used() == UNIT
    assert again.totals.of(0) == book.totals.of(0)
    assert again.say(ContactKind.CLICK, outcome_id="o") is Attribution.REPEATED
    assert again.say(ContactKind.ACCEPTED, outcome_id="p") is Attribution.ATTRIBUTED
    # The hold was one of 15 minutes, whatever the policies were since.
    assert again.used() == UNIT
