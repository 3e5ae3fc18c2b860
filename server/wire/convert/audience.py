"""Audiences."""

from opportune.v1 import audience_service_pb2

from server.execution.audience import AudienceCount


def counted_to(counted: AudienceCount) -> audience_service_pb2.CountAudienceResponse:
    """The message of a count."""
    return audience_service_pb2.CountAudienceResponse(
        count=counted.count, customers=counted.customers, profile_version=counted.profile_version
    )
