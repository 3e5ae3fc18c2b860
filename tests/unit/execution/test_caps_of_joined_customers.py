"""What one identifier was shown counts for all identifiers of the customer."""

from server.domain.journal import IdentifiersLinked
from tests.support.catalogs import catalog_document, offer_entry, placement_entry
from tests.support.clock import NOON_US
from tests.support.service import Service, offer_ids

ONCE = [{"count": 1, "window": "30d", "on": "decision"}]


def test_cap_holds_for_every_identifier_of_a_customer_who_was_joined_later() -> None:
    offers = [offer_entry("capped", 2.0, caps=ONCE), offer_entry("other", 1.0)]
    service = Service(catalog_document(offers, [placement_entry(slots=1)]))
    first = service.rank("cookie:1")

    service.writer.write(IdentifiersLinked(NOON_US, "cookie:1", "loyalty:1"))

    assert offer_ids(first) == ["capped"]
    assert offer_ids(service.rank("cookie:1", validate_only=True)) == ["other"]
    assert offer_ids(service.rank("loyalty:1", validate_only=True)) == ["other"]


def test_history_is_that_of_all_identifiers() -> None:
    offers = [offer_entry("again", 2.0, eligible="history.decisions_7d >= 2"), offer_entry("first", 1.0)]
    service = Service(catalog_document(offers, [placement_entry(slots=1)]))
    service.rank("cookie:1")
    service.rank("loyalty:1")

    service.writer.write(IdentifiersLinked(NOON_US, "cookie:1", "loyalty:1"))

    assert offer_ids(service.rank("cookie:1", validate_only=True)) == ["again"]
