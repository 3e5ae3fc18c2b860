"""Who may call what: every method with every role, over both transports, as the protos declare it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opportune.v1 import access_pb2

from server.app import start
from server.domain.caller import Role
from server.settings import Settings
from tests.integration.connection import TIMEOUT_S, Connection, connected, refusal, refusal_of
from tests.support.credentials import bearer, tokens_file
from tests.unit.wire.proto_sources import compiled

REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_ACCESS: Any = access_pb2.access
ROLES = [role.value for role in Role]
CALLERS = [None, "stranger", *ROLES]


def methods() -> dict[str, tuple[str, bool]]:
    """The role and whether it streams of every method by its path, from the protos as they are written."""
    found = {}
    for file in compiled():
        for service in file.service:
            for method in service.method:
                role = access_pb2.Role.Name(method.options.Extensions[_ACCESS])
                streams = method.client_streaming or method.server_streaming
                path = f"/{file.package}.{service.name}/{method.name}"
                found[path] = (role.removeprefix("ROLE_").lower(), streams)
    return found


METHODS = methods()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(
    transport: Any, models: Path, shop_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Connection]:
    """A connection to a server that knows a caller for each role, and one with two."""
    words = {**{role: role for role in ROLES}, "both": "rank,catalog"}
    tokens = tokens_file(tmp_path_factory.mktemp("tokens"), **words)
    async with AsyncExitStack() as stack:
        settings = Settings(listen="127.0.0.1:0", transport=transport, models=models, catalog=shop_file, tokens=tokens)
        app = await start(settings, stack)
        yield await stack.enter_async_context(connected(app.port))


async def code_of(server: Connection, path: str, caller: str | None) -> grpc.StatusCode:
    """How an empty request ends."""
    metadata = bearer(f"{caller}-token") if caller else ()
    if METHODS[path][1]:
        call: Any = server.channel.stream_stream(path)(timeout=TIMEOUT_S, metadata=metadata)
        try:
            await call.write(b"")
            await call.done_writing()
            while await call.read() is not aio.EOF:
                pass
        except (aio.AioRpcError, asyncio.InvalidStateError):
            pass
    else:
        call = server.channel.unary_unary(path)(b"", timeout=TIMEOUT_S, metadata=metadata)
    found: grpc.StatusCode = await call.code()
    return found


def expected(path: str, caller: str | None) -> grpc.StatusCode | None:
    """The refusal of a caller, None if there is none."""
    if caller not in ROLES:
        return grpc.StatusCode.UNAUTHENTICATED
    return None if caller in (METHODS[path][0], "admin") else grpc.StatusCode.PERMISSION_DENIED


def test_every_method_declares_a_role() -> None:
    assert METHODS
    assert {role for role, _ in METHODS.values()} <= {*ROLES}


@pytest.mark.parametrize("caller", CALLERS)
async def test_each_method_takes_those_with_its_role_and_nobody_else(guarded: Connection, caller: str | None) -> None:
    found = {path: await code_of(guarded, path, caller) for path in METHODS}

    refused = {path: code if code in REFUSALS else None for path, code in found.items()}
    assert refused == {path: expected(path, caller) for path in METHODS}
    assert grpc.StatusCode.UNIMPLEMENTED not in found.values()


async def test_caller_with_several_roles_has_each(guarded: Connection) -> None:
    found = {path for path in METHODS if await code_of(guarded, path, "both") not in REFUSALS}

    assert found == {path for path, (role, _) in METHODS.items() if role in ("rank", "catalog")}


async def test_refusals_say_why_and_nothing_of_the_token(guarded: Connection) -> None:
    path = "/opportune.v1.ProfileService/EraseProfile"
    refused = []
    for metadata in ((), bearer("stranger-token"), bearer("rank-token")):
        with pytest.raises(aio.AioRpcError) as caught:
            await guarded.channel.unary_unary(path)(b"", timeout=TIMEOUT_S, metadata=metadata)
        refused.append(refusal_of(caught.value))

    assert [each.reason for each in refused] == ["CREDENTIALS_MISSING", "CREDENTIALS_INVALID", "ROLE_MISSING"]
    assert refused[2].metadata == {"role": "privacy"}
    assert not any("token" in each.everything for each in refused)


async def test_health_is_open_and_reflection_is_not(guarded: Connection) -> None:
    health: Any = health_pb2_grpc.HealthStub(guarded.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(guarded.channel)

    call = reflection.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")]),
        timeout=TIMEOUT_S,
        metadata=bearer("admin-token"),
    )

    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert (await refusal(call.read())).code is grpc.StatusCode.UNIMPLEMENTED
