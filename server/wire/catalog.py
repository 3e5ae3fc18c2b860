"""The servicer of CatalogService: decode, one call, encode."""

from opportune.v1 import catalog_service_pb2 as pb

from server.execution.catalog import ListOffers, PublishCatalog
from server.wire.convert.catalog import offer_to, published_to

LIMITS_BYTES = {"ApplyCatalog": 64 * 1024 * 1024}


class CatalogServicer:
    """Publishes the catalog and lists its offers."""

    def __init__(self, publish: PublishCatalog, list_offers: ListOffers) -> None:
        self._publish = publish
        self._list_offers = list_offers

    async def ApplyCatalog(self, request: pb.ApplyCatalogRequest) -> pb.ApplyCatalogResponse:
        """Replaces the catalog."""
        return published_to(
            await self._publish(
                request.catalog,
                validate_only=request.validate_only,
                etag=request.etag,
                request_id=request.request_id,
            )
        )

    def ListOffers(self, request: pb.ListOffersRequest) -> pb.ListOffersResponse:
        """Lists a page of offers."""
        offers, token, version = self._list_offers(request.page_size, request.page_token, request.filter)
        return pb.ListOffersResponse(
            offers=[offer_to(offer) for offer in offers], next_page_token=token, catalog_version=version
        )
