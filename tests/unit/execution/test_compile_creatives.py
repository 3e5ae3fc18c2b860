from tests.support.catalogs import (
    Document,
    catalog_document,
    compiled_catalog,
    offer_entry,
    placement_entry,
    problems_of,
)
from tests.support.service import Service


def creative(creative_id: str, channel: str = "web", **more: object) -> Document:
    """A creative."""
    return {"id": creative_id, "channel": channel, **more}


OFFERS = [
    offer_entry("a", creatives=[creative("a-web"), creative("a-de", locale="de"), creative("a-mail", "email")]),
    offer_entry("b", creatives=[creative("b-mail", "email")]),
]
PLACEMENTS = [placement_entry("home", channel=["web", "email"])]


def test_each_channel_and_locale_shows_its_own_creative() -> None:
    table = compiled_catalog(catalog_document(OFFERS, PLACEMENTS)).creatives

    shown = {
        (channel, locale): [each.creative_id for each in table.column(channel, locale).shown]
        for channel, locale in [("web", ""), ("web", "de"), ("web", "de-AT"), ("web", "fr"), ("email", "de")]
    }

    assert shown == {
        ("web", ""): ["a-web", ""],
        ("web", "de"): ["a-de", ""],
        ("web", "de-AT"): ["a-de", ""],
        ("web", "fr"): ["a-web", ""],
        ("email", "de"): ["a-mail", "b-mail"],
    }
    assert table.column("web", "").available.tolist() == [True, False]


def test_content_is_written_for_the_kind_of_its_channel() -> None:
    content = {"title": "{{customer.tier|nobody}}"}
    creatives = [creative("w", content=content), creative("m", "email", content=content)]
    attributes = [{"id": "tier", "type": "category", "values": ["a<b"], "content": True}]
    document = catalog_document(
        [offer_entry("a", creatives=creatives)],
        PLACEMENTS,
        channels=[{"id": "email", "content": "text"}],
        attributes=attributes,
    )
    service = Service(document)
    service.set(tier="a<b")

    shown = [service.rank(channel=channel, include_content=True).offers[0].content for channel in ("web", "email")]

    assert shown == [{"title": "a&lt;b"}, {"title": "a<b"}]


def test_what_is_wrong_is_told_with_its_place() -> None:
    offers = [
        offer_entry("a", creatives=[creative("same"), creative("same", "email")]),
        offer_entry("b", creatives=[creative("w", content={"title": "Hi {{customer.nothing}}"})]),
    ]

    found = problems_of(catalog_document(offers, PLACEMENTS, channels=[{"id": "sms"}]))

    assert set(found) == {"offers[0].creatives", "offers[1].creatives[0].content.title", "channels[0].id"}


def test_empty_catalog_has_columns_for_its_channels() -> None:
    table = compiled_catalog(catalog_document()).creatives

    assert table.column("web", "de").shown == ()
    assert len(table.column("web", "").standing(1.0)) == 0
