import numpy as np
import pytest

from server.domain.contact import ContactKind, ContactScope, ContactSubject, HistoryVariable
from server.input.contacts import Contacts, Events, decision_words, outcome_words
from server.input.history import HistoryReader
from tests.support.clock import NOON_US

DAY_US = 86_400_000_000
SUBJECTS = [
    ContactSubject("a", "home", "web", "discount", "drinks"),
    ContactSubject("b", "home", "web", "discount"),
    ContactSubject("c", "mail", "email", "points", "drinks"),
]


def history(*events: tuple[int, ContactKind, float]) -> Events:
    """Events by subject, kind, and how many days ago."""
    contacts = Contacts()
    for subject, kind, days in events:
        words = decision_words([subject]) if kind is ContactKind.DECISION else outcome_words(subject, 0, (kind,))
        contacts.add(0, NOON_US - int(days * DAY_US), 0, words, 0)
    found = contacts.read(0)
    assert found is not None
    return found


EVENTS = history(
    (0, ContactKind.DECISION, 0.0),
    (0, ContactKind.IMPRESSION, 0.5),
    (1, ContactKind.IMPRESSION, 2.0),
    (2, ContactKind.IMPRESSION, 6.9999),
    (2, ContactKind.IMPRESSION, 7.0),
    (2, ContactKind.CLICK, 30.0),
)
IMPRESSION, CLICK = ContactKind.IMPRESSION, ContactKind.CLICK


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (HistoryVariable(IMPRESSION, 7), 3.0),
        (HistoryVariable(IMPRESSION, 8), 4.0),
        (HistoryVariable(IMPRESSION, 1), 1.0),
        (HistoryVariable(ContactKind.DECISION, 1), 1.0),
        (HistoryVariable(ContactKind.CONVERTED, 400), 0.0),
        (HistoryVariable(IMPRESSION, 7, ContactScope.OFFER, "b"), 1.0),
        (HistoryVariable(IMPRESSION, 7, ContactScope.OFFER, "unknown"), 0.0),
        (HistoryVariable(IMPRESSION, 7, ContactScope.TACTIC, "discount"), 2.0),
        (HistoryVariable(IMPRESSION, 8, ContactScope.EXCLUSION_GROUP, "drinks"), 3.0),
        (HistoryVariable(IMPRESSION, None), 0.5),
        (HistoryVariable(CLICK, None), 30.0),
        (HistoryVariable(CLICK, None, ContactScope.OFFER, "a"), np.nan),
        (HistoryVariable(IMPRESSION, None, ContactScope.OFFER, "c"), 6.9999),
    ],
)
def test_variable_counts_its_contacts_or_says_how_long_ago_the_latest_was(
    variable: HistoryVariable, expected: float
) -> None:
    alone = HistoryReader([variable], SUBJECTS).read(EVENTS, NOON_US)
    among_others = HistoryReader(
        [HistoryVariable(CLICK, 3), variable, HistoryVariable(ContactKind.DECISION, None)], SUBJECTS
    )

    assert alone is not None
    np.testing.assert_allclose(alone, [expected], rtol=1e-6)
    together = among_others.read(EVENTS, NOON_US)
    assert together is not None
    np.testing.assert_allclose(together, [0.0, expected, 0.0], rtol=1e-6)


def test_contact_to_come_counts_and_its_age_is_negative() -> None:
    reader = HistoryReader([HistoryVariable(IMPRESSION, 1), HistoryVariable(IMPRESSION, None)], SUBJECTS)

    values = reader.read(history((0, IMPRESSION, -1.0)), NOON_US)

    assert values is not None
    assert values.tolist() == [1.0, -1.0]


def test_nobody_has_no_history_and_no_catalog_asks_for_none() -> None:
    assert HistoryReader([HistoryVariable(IMPRESSION, 1)], SUBJECTS).read(None, NOON_US) is None
    assert HistoryReader([], SUBJECTS).read(EVENTS, NOON_US) is None


def test_subjects_that_come_later_are_learned() -> None:
    subjects = SUBJECTS[:1]
    reader = HistoryReader([HistoryVariable(IMPRESSION, 400, ContactScope.OFFER, "c")], subjects)
    first = reader.read(history((0, IMPRESSION, 1.0)), NOON_US)

    subjects += SUBJECTS[1:]
    second = reader.read(history((0, IMPRESSION, 1.0), (2, IMPRESSION, 1.0)), NOON_US)

    assert first is not None
    assert second is not None
    assert (first.tolist(), second.tolist()) == ([0.0], [1.0])


def test_an_offer_without_group_does_not_count_for_a_group_without_name() -> None:
    reader = HistoryReader([HistoryVariable(IMPRESSION, 400, ContactScope.EXCLUSION_GROUP, "")], SUBJECTS)

    values = reader.read(history((1, IMPRESSION, 1.0)), NOON_US)

    assert values is not None
    assert values.tolist() == [0.0]
