"""Which role each method asks for, as the protos declare it. What declares none is not served."""

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from opportune.v1 import access_pb2

from server.domain.caller import Role

_ACCESS: Any = access_pb2.access
"""The generated stubs have no type for it that fits its use."""


class UndeclaredAccessError(RuntimeError):
    """Methods without the option `opportune.v1.access`; the message names them."""


def access_of(services: Iterable[ServiceDescriptor]) -> dict[str, Role]:
    """The role of each method by its path, `/opportune.v1.DecisionService/RankOffers`.

    Raises:
        UndeclaredAccessError: a method declares none.
    """
    declared = {
        f"/{service.full_name}/{method.name}": _role_of(method) for service in services for method in service.methods
    }
    undeclared = [path for path, role in declared.items() if role is None]
    if undeclared:
        raise UndeclaredAccessError(f"without the option opportune.v1.access: {', '.join(undeclared)}")
    return {path: role for path, role in declared.items() if role is not None}


def streams_of(services: Iterable[ServiceDescriptor]) -> frozenset[str]:
    """The paths of the methods whose calls last as long as their callers like."""
    return frozenset(
        f"/{service.full_name}/{method.name}"
        for service in services
        for method in service.methods
        if method.client_streaming
    )


def _role_of(method: MethodDescriptor) -> Role | None:
    name = access_pb2.Role.Name(method.GetOptions().Extensions[_ACCESS])
    return None if name == "ROLE_UNSPECIFIED" else Role[name.removeprefix("ROLE_")]
