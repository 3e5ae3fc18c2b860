"""The history of many customers is bit by bit what reading one customer after the other gives."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.domain.contact import ContactKind, ContactScope, ContactSubject, HistoryVariable
from server.domain.journal import DecisionMade, DecisionsMade, Entry, OutcomesReported
from server.domain.outcome import Outcome
from server.execution.facts import Facts
from server.input.history import HistoryReader
from tests.properties.histories import CUSTOMERS, FIRST, known, links, unlinks
from tests.support.clock import NOON_US
from tests.support.folds import captured, folded, restored

SUBJECTS = (
    ContactSubject("a", "home", "web", "discount", "group"),
    ContactSubject("b", "home", "web", "discount", ""),
    ContactSubject("c", "home", "web", "trial", "group"),
)
SCOPES = {
    ContactScope.ALL: ("",),
    ContactScope.OFFER: ("a", "b", "nobody"),
    ContactScope.EXCLUSION_GROUP: ("group",),
    ContactScope.TACTIC: ("discount", "trial"),
}
VARIABLES = [
    HistoryVariable(kind, days, scope, key)
    for kind in ContactKind
    for days in (None, 1, 30)
    for scope, keys in SCOPES.items()
    for key in keys
]

times = st.one_of(
    st.integers(0, 60 * 24).map(lambda hours: NOON_US - hours * 3_600_000_000), st.just(0), st.just(NOON_US + 5)
)
shown = st.lists(st.integers(0, len(SUBJECTS) - 1), min_size=1, max_size=20).map(tuple)
people = st.sampled_from(CUSTOMERS)
variables = st.lists(st.sampled_from(VARIABLES), unique=True, min_size=1, max_size=8)


def _decided(customer_id: str, time_us: int, places: tuple[int, ...]) -> DecisionsMade:
    # Numbers only have to grow, whatever the order in which entries are drawn; `renumbered` sees to that.
    made = DecisionMade(0, 7, time_us, 0, customer_id, "", time_us, places)
    return DecisionsMade(NOON_US, SUBJECTS, (made,))


def _reported(kind: ContactKind, time_us: int, customer_id: str, place: int, name: int) -> OutcomesReported:
    subject = SUBJECTS[place]
    outcome = Outcome(f"outcome-{name}", kind, time_us, None, customer_id, subject.offer_id)
    return OutcomesReported(NOON_US, (outcome,), (subject,))


decisions = st.builds(_decided, people, times, shown)
outcomes = st.builds(
    _reported, st.sampled_from(list(ContactKind)[1:]), times, people, st.integers(0, 2), st.integers(0, 99)
)
contacts: st.SearchStrategy[Entry] = st.one_of(decisions, decisions, outcomes, outcomes, links, unlinks)


def facts_of(history: list[Entry]) -> Facts:
    """The facts of entries whose decisions are numbered in their order."""
    count = itertools.count(1)
    entries = [
        entry._replace(decisions=tuple(made._replace(number=next(count)) for made in entry.decisions))
        if isinstance(entry, DecisionsMade)
        else entry
        for entry in history
    ]
    return folded([FIRST, known(CUSTOMERS[:3]), *entries])


def assert_agree(facts: Facts, asked: list[HistoryVariable], rows: list[int]) -> None:
    profiles = facts.profiles
    reader = HistoryReader(asked, facts.contacts.subjects)
    nothing = np.array([np.nan if each.window_days is None else 0 for each in asked], np.float32)
    expected = [reader.read(profiles.events(row), NOON_US) for row in rows]

    many = HistoryReader(asked, facts.contacts.subjects).read_rows(profiles, np.array(rows, np.intp), NOON_US)

    assert many.shape == (len(asked), len(rows))
    assert many.dtype == np.float32
    one_by_one = [nothing if values is None else values for values in expected]
    np.testing.assert_array_equal(many, np.array(one_by_one, np.float32).reshape(len(rows), len(asked)).T)


def customers(facts: Facts) -> list[int]:
    """The rows of all customers."""
    rows = [facts.profiles.find(customer_id) for customer_id in CUSTOMERS]
    return sorted({facts.profiles.graph.customer(row) for row in rows if row >= 0})


@given(st.lists(contacts, max_size=25), variables)
def test_history_of_many_is_that_of_each(history: list[Entry], asked: list[HistoryVariable]) -> None:
    facts = facts_of(history)

    assert_agree(facts, asked, customers(facts))


@given(st.lists(contacts, max_size=25), variables, st.lists(people, max_size=8))
def test_history_of_any_identifiers_in_any_order_is_that_of_each(
    history: list[Entry], asked: list[HistoryVariable], ids: list[str]
) -> None:
    facts = facts_of(history)
    rows = [row for customer_id in ids if (row := facts.profiles.find(customer_id)) >= 0]

    assert_agree(facts, asked, rows)


@given(st.lists(contacts, max_size=25), variables)
def test_history_of_many_is_the_same_after_a_snapshot(history: list[Entry], asked: list[HistoryVariable]) -> None:
    facts = restored(captured(facts_of(history)))

    assert_agree(facts, asked, customers(facts))
