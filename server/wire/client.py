"""The command line's own client, for `apply`, `audience` and `health`."""

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from opportune.v1 import (
    audience_service_pb2,
    audience_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
)

from server.domain.errors import ErrorReason, OpportuneError, Violation
from server.execution.audience import AudienceCount
from server.wire.target import Target, target_of


async def apply_catalog(
    server: str | Target, text: str, validate_only: bool
) -> catalog_service_pb2.ApplyCatalogResponse:
    """Publishes a catalog to a server, or only checks it there.

    Raises:
        OpportuneError: INVALID_CATALOG with the problems.
        RuntimeError: the call failed otherwise.
    """
    target = target_of(server)
    async with target.channel() as channel:
        stub = catalog_service_pb2_grpc.CatalogServiceStub(channel)  # type: ignore[no-untyped-call]
        request = catalog_service_pb2.ApplyCatalogRequest(catalog=text, validate_only=validate_only)
        try:
            response: catalog_service_pb2.ApplyCatalogResponse = await stub.ApplyCatalog(
                request, timeout=120, metadata=target.metadata
            )
        except grpc.RpcError as error:
            raise _error(error, ErrorReason.INVALID_CATALOG) from error
        return response


async def count_audience(server: str | Target, condition: str) -> AudienceCount:
    """Counts an audience in a server.

    Raises:
        OpportuneError: INVALID_FIELD for a condition that does not compile.
        RuntimeError: the call failed otherwise.
    """
    target = target_of(server)
    async with target.channel() as channel:
        stub = audience_service_pb2_grpc.AudienceServiceStub(channel)  # type: ignore[no-untyped-call]
        request = audience_service_pb2.CountAudienceRequest(condition=condition)
        try:
            response: audience_service_pb2.CountAudienceResponse = await stub.CountAudience(
                request, timeout=120, metadata=target.metadata
            )
        except grpc.RpcError as error:
            raise _error(error, ErrorReason.INVALID_FIELD) from error
        return AudienceCount(response.count, response.customers, response.profile_version)


async def check_health(server: str | Target) -> bool:
    """Whether a server says SERVING within two seconds."""
    async with target_of(server).channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError:
            return False
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


def _error(error: grpc.RpcError, reason: ErrorReason) -> Exception:
    """What to tell of a call that failed; the reason is that of one with violations."""
    bad_request = error_details_pb2.BadRequest()
    for detail in getattr(rpc_status.from_call(error), "details", ()):
        if detail.Unpack(bad_request):
            violations = [Violation(entry.field, entry.description) for entry in bad_request.field_violations]
            return OpportuneError(reason, str(error.details()), violations=violations)
    return RuntimeError(f"{error.code().name}: {error.details()}")
