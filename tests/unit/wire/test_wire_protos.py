"""Every element of the protos is explained, and every RPC is served."""

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from opportune.v1 import audience_service_pb2, catalog_service_pb2, decision_service_pb2, profile_service_pb2

from server.wire import audiences, catalog, decisions, profiles
from server.wire.audiences import AudienceServicer
from server.wire.catalog import CatalogServicer
from server.wire.decisions import DecisionServicer
from server.wire.endpoint import DEFAULT_LIMIT_BYTES
from server.wire.profiles import ProfileServicer
from tests.unit.wire.proto_sources import compiled, elements

FILES = compiled()
SERVICERS: list[tuple[ServiceDescriptor, type, dict[str, int]]] = [
    (decision_service_pb2.DESCRIPTOR.services_by_name["DecisionService"], DecisionServicer, decisions.LIMITS_BYTES),
    (profile_service_pb2.DESCRIPTOR.services_by_name["ProfileService"], ProfileServicer, profiles.LIMITS_BYTES),
    (catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"], CatalogServicer, catalog.LIMITS_BYTES),
    (audience_service_pb2.DESCRIPTOR.services_by_name["AudienceService"], AudienceServicer, audiences.LIMITS_BYTES),
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_element_of_a_proto_has_a_comment(file: FileDescriptorProto) -> None:
    commented = {tuple(place.path) for place in file.source_code_info.location if place.leading_comments.strip()}

    found = dict(elements(file))

    assert found
    assert [name for name, path in found.items() if path not in commented] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_proto_says_what_it_is_for(file: FileDescriptorProto) -> None:
    syntax = next(place for place in file.source_code_info.location if list(place.path) == [12])

    assert syntax.leading_comments.strip()


def test_every_service_of_the_protos_has_a_servicer() -> None:
    declared = {f"{file.package}.{service.name}" for file in FILES for service in file.service}

    assert {service.full_name for service, _, _ in SERVICERS} == declared


@pytest.mark.parametrize(("service", "servicer", "limits"), SERVICERS)
def test_every_rpc_has_a_method_of_its_name_and_every_limit_a_rpc(
    service: ServiceDescriptor, servicer: type, limits: dict[str, int]
) -> None:
    names = {method.name for method in service.methods}

    assert [name for name in names if not callable(getattr(servicer, name, None))] == []
    assert set(limits) <= names
    assert all(limit > DEFAULT_LIMIT_BYTES for limit in limits.values())
