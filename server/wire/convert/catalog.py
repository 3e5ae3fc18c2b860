"""Offers and publications."""

from opportune.v1 import catalog_pb2, catalog_service_pb2

from server.domain.offer import Offer
from server.execution.catalog import Publication
from server.wire.convert.value import time_to, value_to


def offer_to(offer: Offer) -> catalog_pb2.Offer:
    """The message of an offer."""
    return catalog_pb2.Offer(
        offer_id=offer.id,
        tactic=offer.tactic,
        value=offer.value.profit,
        attributes={name: value_to(value) for name, value in offer.attributes.items()},
        eligible=offer.eligible,
        start_time=time_to(offer.start) if offer.start else None,
        end_time=time_to(offer.end) if offer.end else None,
        channels=offer.channels,
        creatives=[
            catalog_pb2.Creative(creative_id=c.id, channel=c.channel, locale=c.locale, content=c.content)
            for c in offer.creatives
        ],
    )


def published_to(published: Publication) -> catalog_service_pb2.ApplyCatalogResponse:
    """The message of a publication."""
    return catalog_service_pb2.ApplyCatalogResponse(
        catalog_version=published.version,
        etag=published.etag,
        offer_count=published.offer_count,
        placement_count=published.placement_count,
        problems=[
            catalog_pb2.CatalogProblem(path=problem.path, description=problem.description)
            for problem in published.problems
        ],
    )
