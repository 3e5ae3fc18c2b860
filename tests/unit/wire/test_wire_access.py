from typing import Any

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from opportune.v1 import access_pb2

from server.domain.caller import Role
from server.service import SERVICES
from server.wire.access import UndeclaredAccessError, access_of, streams_of

_ACCESS: Any = access_pb2.access


def service(role: int | None) -> ServiceDescriptor:
    """A service with a method that declares a role, and one that declares this one, or none."""
    file = FileDescriptorProto(name=f"probe{role}.proto", package="probe")
    file.message_type.add(name="Nothing")
    added = file.service.add(name="Probe")
    for name, declared in (("Known", access_pb2.ROLE_RANK), ("Other", role)):
        method = added.method.add(name=name, input_type=".probe.Nothing", output_type=".probe.Nothing")
        if declared is not None:
            method.options.Extensions[_ACCESS] = declared
    pool = DescriptorPool()
    pool.Add(file)
    return pool.FindServiceByName("probe.Probe")


def test_roles_are_those_of_the_protos() -> None:
    declared = {name.removeprefix("ROLE_") for name in access_pb2.Role.DESCRIPTOR.values_by_name}

    assert declared == {"UNSPECIFIED", *(role.name for role in Role)}


def test_calls_that_last_as_long_as_callers_like_are_known() -> None:
    assert streams_of(SERVICES) == {
        f"/opportune.v1.ProfileService/{name}" for name in ("LoadProfiles", "StreamProfileDeltas")
    }


def test_each_method_has_the_role_that_it_declares() -> None:
    found = access_of([service(access_pb2.ROLE_PRIVACY)])

    assert found == {"/probe.Probe/Known": Role.RANK, "/probe.Probe/Other": Role.PRIVACY}


@pytest.mark.parametrize("role", [None, access_pb2.ROLE_UNSPECIFIED])
def test_method_that_declares_no_role_is_named_and_keeps_the_server_from_starting(role: int | None) -> None:
    with pytest.raises(UndeclaredAccessError, match=r": /probe\.Probe/Other$"):
        access_of([service(role)])


def test_every_method_that_is_served_declares_a_role() -> None:
    found = access_of(SERVICES)

    assert len(found) == sum(len(each.methods) for each in SERVICES)
    assert found["/opportune.v1.DecisionService/RankOffers"] is Role.RANK
    assert found["/opportune.v1.ProfileService/EraseProfile"] is Role.PRIVACY
