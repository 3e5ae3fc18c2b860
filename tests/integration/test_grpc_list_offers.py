"""ListOffers over both transports."""

from typing import Any

import grpc
import pytest
from opportune.v1.catalog_pb2 import Offer

from tests.integration.catalogs import OFFER_IDS
from tests.integration.connection import Connection, refusal


async def test_offers_are_listed_whole_and_ordered_by_id(server: Connection) -> None:
    page = await server.list_offers()

    assert [offer.offer_id for offer in page.offers] == sorted(OFFER_IDS)
    assert page.next_page_token == ""
    assert page.catalog_version == 1


async def test_offer_is_read_back_as_the_catalog_has_it(server: Connection) -> None:
    offers = {offer.offer_id: offer for offer in (await server.list_offers()).offers}

    welcome, gold, expired = offers["welcome"], offers["gold-only"], offers["expired"]
    assert (welcome.tactic, welcome.value) == ("discount", 5.0)
    assert welcome.attributes["department"].string_value == "grocery"
    assert welcome.attributes["level"].number_value == 0.2
    assert [(c.creative_id, c.channel, c.locale, dict(c.content)) for c in welcome.creatives] == [
        ("welcome-web", "web", "", {"title": "Hello"}),
        ("welcome-web-de", "web", "de", {"title": "Grüß Gott"}),
        ("welcome-mail", "email", "", {"title": "Hello"}),
    ]
    assert gold.eligible == 'customer.tier == "gold" && customer.visits > 1.0'
    assert (welcome.HasField("start_time"), welcome.HasField("end_time")) == (False, False)
    assert expired.end_time.ToJsonString() == "2020-01-01T00:00:00Z"


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 8])
async def test_pages_lead_to_every_offer_once(server: Connection, page_size: int) -> None:
    found: list[Offer] = []
    token = ""
    while True:
        page = await server.list_offers(page_size=page_size, page_token=token)
        assert 1 <= len(page.offers) <= page_size
        found += page.offers
        token = page.next_page_token
        if not token:
            break

    assert [offer.offer_id for offer in found] == sorted(OFFER_IDS)


async def test_filter_leaves_out_offers_on_every_page(server: Connection) -> None:
    condition = 'offer.department == "toys" && offer.level > 0.2'

    first = await server.list_offers(filter=condition, page_size=1)
    second = await server.list_offers(filter=condition, page_size=1, page_token=first.next_page_token)

    assert [offer.offer_id for offer in (*first.offers, *second.offers)] == ["expired", "gold-only"]
    assert second.next_page_token == ""


async def test_page_size_beyond_the_maximum_is_coerced_down(server: Connection) -> None:
    page = await server.list_offers(page_size=2_147_483_647)

    assert len(page.offers) == len(OFFER_IDS)


BAD_PAGES: dict[str, tuple[dict[str, Any], str]] = {
    "negative size": ({"page_size": -1}, "page_size"),
    "token that is not base64": ({"page_token": "abc"}, "page_token"),
    "token that is not text": ({"page_token": "_w=="}, "page_token"),
    "filter that does not compile": ({"filter": "offer.level >"}, "filter"),
    "filter over customers": ({"filter": "customer.visits > 1.0"}, "filter"),
    "filter that is too long": ({"filter": "x" * 4_097}, "filter"),
    "filter of too many bytes": ({"filter": 'offer.department == "' + "é" * 2_040 + '"'}, "filter"),
}


@pytest.mark.parametrize("problem", BAD_PAGES)
async def test_bad_page_is_refused_with_its_field(server: Connection, problem: str) -> None:
    fields, field = BAD_PAGES[problem]

    refused = await refusal(server.list_offers(**fields))

    assert (refused.code, refused.reason, refused.domain) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "opportune",
    )
    assert list(refused.violations) == [field]


@pytest.mark.parametrize("token", ["!!!!", "\n", "Zm9v!", "Zm 9v", "é"])
async def test_token_with_foreign_characters_is_refused(server: Connection, token: str) -> None:
    refused = await refusal(server.list_offers(page_token=token))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert list(refused.violations) == ["page_token"]
