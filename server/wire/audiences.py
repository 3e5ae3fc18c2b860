"""The servicer of AudienceService: decode, one call, encode."""

from opportune.v1 import audience_service_pb2 as pb

from server.execution.audience import CountAudience
from server.wire.convert.audience import counted_to

LIMITS_BYTES: dict[str, int] = {}


class AudienceServicer:
    """Answers questions about all customers at once."""

    def __init__(self, count: CountAudience) -> None:
        self._count = count

    async def CountAudience(self, request: pb.CountAudienceRequest) -> pb.CountAudienceResponse:
        """Counts the customers for whom a condition holds."""
        return counted_to(await self._count(request.condition))
