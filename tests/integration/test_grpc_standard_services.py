"""Health and reflection over both transports."""

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.integration.connection import TIMEOUT_S, Connection, refusal

SERVICES = [
    f"opportune.v1.{name}"
    for name in ("AudienceService", "CatalogService", "DecisionService", "OutcomeService", "ProfileService")
]


def health(server: Connection) -> Any:
    return health_pb2_grpc.HealthStub(server.channel)


async def reflect(server: Connection, request: reflection_pb2.ServerReflectionRequest) -> Any:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    async for response in stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT_S):
        return response
    raise AssertionError("the server answered nothing")


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_server_and_each_service_are_serving(server: Connection, service: str) -> None:
    answer = await health(server).Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_health_of_an_unknown_service_is_not_found(server: Connection) -> None:
    request = health_pb2.HealthCheckRequest(service="opportune.v1.NoService")

    refused = await refusal(health(server).Check(request, timeout=TIMEOUT_S))

    assert refused.code == grpc.StatusCode.NOT_FOUND


async def test_watch_begins_with_the_current_state(server: Connection) -> None:
    watch = health(server).Watch(health_pb2.HealthCheckRequest(service=SERVICES[1]), timeout=TIMEOUT_S)

    first = await watch.read()
    watch.cancel()

    assert first.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_services(server: Connection) -> None:
    answer = await reflect(server, reflection_pb2.ServerReflectionRequest(list_services=""))

    names = {service.name for service in answer.list_services_response.service}
    assert names == {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.mark.parametrize("service", SERVICES)
async def test_reflection_serves_the_file_of_each_service(server: Connection, service: str) -> None:
    answer = await reflect(server, reflection_pb2.ServerReflectionRequest(file_containing_symbol=service))

    files = [FileDescriptorProto.FromString(file) for file in answer.file_descriptor_response.file_descriptor_proto]
    declared = {f"{file.package}.{declared.name}" for file in files for declared in file.service}
    assert service in declared


async def test_reflection_of_an_unknown_symbol_is_an_error_response(server: Connection) -> None:
    answer = await reflect(server, reflection_pb2.ServerReflectionRequest(file_containing_symbol="opportune.v1.No"))

    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
