"""Offers of equal value: each decision breaks ties anew, so that none of them is always first."""

from collections import Counter

from tests.support.catalogs import catalog_document, offer_entry, placement_entry
from tests.support.service import Service, offer_ids

OFFERS = [offer_entry(name) for name in ("apple", "banana", "cherry", "date")]


def test_every_one_of_equal_offers_is_first_about_as_often() -> None:
    service = Service(catalog_document(OFFERS))

    first = Counter(offer_ids(service.rank())[0] for _ in range(400))

    # 100 each on average; the chance to be outside of these bounds is below 1e-5, and the seed does not change.
    assert sorted(first) == ["apple", "banana", "cherry", "date"]
    assert all(60 <= times <= 140 for times in first.values())


def test_ties_do_not_outweigh_the_smallest_difference() -> None:
    service = Service(catalog_document([*OFFERS, offer_entry("best", 1.0001)], [placement_entry(slots=1)]))

    assert {tuple(offer_ids(service.rank())) for _ in range(50)} == {("best",)}
