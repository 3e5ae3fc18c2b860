import numpy as np

from server.domain.contact import ContactKind, Draw
from server.domain.journal import DecisionMade
from server.execution.contact_rules import ContactRules, contact_columns
from server.execution.facts import Facts
from tests.support.catalogs import catalog_document, compiled_catalog, offer_entry, placement_entry
from tests.support.clock import NOON_US

CAPS = [
    {"count": 1, "window": "1d"},
    {"count": 2, "window": "1d", "per": "household"},
    {"count": 3, "window": "1d", "per": "global"},
]  # fmt: skip
CATALOG = compiled_catalog(
    catalog_document(
        [offer_entry("a", caps=CAPS, exclusion_group="drinks"), offer_entry("b")],
        [placement_entry("home"), placement_entry("mail", channel="email")],
        attributes=[{"id": "family", "type": "key"}],
        contacts={"household": "family"},
        budgets=[{"id": "all", "limit": 5.0}],
    )
)


def rules() -> tuple[ContactRules, Facts]:
    """The rules of the catalog over nobody's contacts."""
    facts = Facts()
    return ContactRules(CATALOG, facts.contacts), facts


def test_place_of_a_rule_says_what_it_is() -> None:
    channel = rules()[0].channel("web")

    assert [channel.words(code) for code in range(4)] == [
        "cap: 1 impression in 1 d",
        "cap: 2 impression in 1 d per household",
        "budget all: 5 count",
        "cap 3 impression in 1 d of everybody",
    ]
    assert (channel.first_household, channel.first_meter) == (1, 2)


def test_subject_is_what_is_shown_where_with_all_that_it_takes() -> None:
    of_catalog, facts = rules()

    codes = of_catalog.subjects("home", "web", np.array([1, 0]))
    again = of_catalog.subjects("home", "web", np.array([0, 1]))
    elsewhere = of_catalog.subjects("mail", "email", np.array([0]))

    assert again == codes[::-1]
    assert elsewhere == [2]
    subject = facts.contacts.subjects[codes[1]]
    assert (subject.offer_id, subject.placement_id, subject.channel) == ("a", "home", "web")
    assert subject.exclusion_group == "drinks"
    assert subject.draws == (
        Draw("budget:all", ContactKind.ACCEPTED, 0, 1_000_000),
        Draw("cap:offer:a:impression", ContactKind.IMPRESSION, 86_400_000_000, 1_000_000),
    )


def test_another_catalog_that_says_the_same_has_the_same_subjects() -> None:
    of_catalog, facts = rules()
    first = of_catalog.subjects("home", "web", np.array([0, 1]))

    second = ContactRules(CATALOG, facts.contacts).subjects("home", "web", np.array([0, 1]))

    assert second == first
    assert len(facts.contacts.subjects) == 2


def test_household_has_contacts_once_it_had_some() -> None:
    of_catalog, facts = rules()
    assert of_catalog.household_events("h1") is None

    codes = of_catalog.subjects("home", "web", np.array([0]))
    facts.contacts.decide(DecisionMade(1, 2, NOON_US, 0, "c:1", "h1", NOON_US + 1, ()), codes, NOON_US)

    events = of_catalog.household_events("h1")
    columns = contact_columns(events)
    assert columns is not None
    assert columns.subjects.tolist() == codes
    assert columns.states.tolist() == [ContactKind.DECISION]
    assert contact_columns(None) is None


def test_meters_that_changed_are_looked_at_anew_on_every_channel() -> None:
    of_catalog, facts = rules()
    left = [of_catalog.channel(channel).meters.short(NOON_US, 9).limits for channel in ("web", "email")]
    assert left == [(), ()]

    codes = of_catalog.subjects("home", "web", np.array([0] * 5))
    facts.contacts.decide(DecisionMade(1, 2, NOON_US, 0, "c:1", "", NOON_US + 1, ()), codes, NOON_US)

    for channel in ("web", "email"):
        (short,) = of_catalog.channel(channel).meters.short(NOON_US, 9).limits
        assert (short.limit.meter, short.left) == ("budget:all", 0)


def test_rules_of_an_earlier_catalog_take_no_change_from_those_of_now() -> None:
    earlier, facts = rules()
    now = ContactRules(CATALOG, facts.contacts)
    for each in (earlier, now):
        assert each.channel("web").meters.short(NOON_US, 9).limits == ()

    codes = now.subjects("home", "web", np.array([0] * 5))
    facts.contacts.decide(DecisionMade(1, 2, NOON_US, 0, "c:1", "", NOON_US + 1, ()), codes, NOON_US)

    for each in (earlier, now):
        (short,) = each.channel("web").meters.short(NOON_US, 9).limits
        assert (short.limit.meter, short.left) == ("budget:all", 0)
