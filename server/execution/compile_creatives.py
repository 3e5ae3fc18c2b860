"""Compiles creatives: what each offer shows on each channel in each locale."""

from collections.abc import Iterable, Iterator, Sequence

from server.domain.attribute import Schema
from server.domain.catalog import Catalog, Problem
from server.domain.channel import Channel
from server.domain.offer import Creative, Offer
from server.domain.offer_table import OfferTable
from server.execution.compiled import ChannelCreatives, CreativeTable, ReadyCreative
from server.intelligence.content import ContentNames, compile_content


def compile_creatives(
    catalog: Catalog, table: OfferTable, schemas: tuple[Schema, Schema], channels: Sequence[str]
) -> tuple[CreativeTable, list[Problem]]:
    """The creatives of these offers; `schemas` are those of customers and contexts."""
    declared = {channel.id: channel for channel in catalog.channels}
    names = ContentNames(*schemas, table.schema, catalog.content_attributes.__contains__)
    problems: list[Problem] = []
    ready = [
        list(_ready(f"offers[{place}]", offer, declared, names, problems=problems))
        for place, offer in enumerate(table.offers)
    ]
    problems += _entry_problems(catalog, table.offers, channels)
    locales = {creative.locale for offer in table.offers for creative in offer.creatives}
    columns = {
        (channel, locale): ChannelCreatives(table, _chosen(table.offers, ready, channel, locale))
        for channel in channels
        for locale in locales | {""}
    }
    return CreativeTable(frozenset(locales), columns), problems


def _ready(  # what a creative is compiled from
    path: str, offer: Offer, declared: dict[str, Channel], names: ContentNames, *, problems: list[Problem]
) -> Iterator[ReadyCreative]:
    """The creatives of an offer, each with its content compiled."""
    for place, creative in enumerate(offer.creatives):
        kind = declared.get(creative.channel, Channel(creative.channel)).kind
        content, wrong = compile_content(creative.content, offer, kind, names)
        problems += [Problem(f"{path}.creatives[{place}].content.{each.path}", each.description) for each in wrong]
        yield ReadyCreative(creative.id, content)


def _chosen(
    offers: Sequence[Offer], ready: Sequence[Sequence[ReadyCreative]], channel: str, locale: str
) -> Iterator[ReadyCreative | None]:
    for offer, creatives in zip(offers, ready, strict=True):
        creative: Creative | None = offer.creative_for(channel, locale)
        yield None if creative is None else creatives[offer.creatives.index(creative)]


def _entry_problems(catalog: Catalog, offers: Sequence[Offer], channels: Sequence[str]) -> Iterable[Problem]:
    for place, offer in enumerate(offers):
        ids = [creative.id for creative in offer.creatives]
        if len(set(ids)) < len(ids):
            yield Problem(f"offers[{place}].creatives", "two creatives have the same id")
    for place, channel in enumerate(catalog.channels):
        if channel.id not in channels:
            yield Problem(f"channels[{place}].id", f"no placement has the channel {channel.id}")
