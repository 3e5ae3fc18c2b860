"""Signed tokens over both transports: what passes, what does not, and what becomes of streams.

What is counted of it, and what becomes of lost issuers: `test_grpc_refusals_are_counted.py`.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc import aio
from opportune.v1 import profile_service_pb2 as pb
from opportune.v1.decision_service_pb2 import RankOffersRequest

from server.app import start
from server.settings import Settings, SettingsError
from tests.integration.connection import TIMEOUT_S, Connection, connected, refusal_of
from tests.integration.delta_streams import visit
from tests.support.credentials import AUDIENCE, ISSUER, SigningKey, bearer, key_set, tokens_file

KEY = SigningKey("first")
RANK = "/opportune.v1.DecisionService/RankOffers"
PAYLOAD = RankOffersRequest(customer_id="tokens:1", placement_id="home").SerializeToString()


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_bytes(key_set(KEY))
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def signed(transport: Any, models: Path, shop_file: Path, keys_file: Path) -> AsyncIterator[Connection]:
    """A connection to a server that takes tokens signed with KEY."""
    async with AsyncExitStack() as stack:
        settings = Settings(
            listen="127.0.0.1:0",
            transport=transport,
            models=models,
            catalog=shop_file,
            jwks=str(keys_file),
            jwt_issuer=ISSUER,
            jwt_audience=AUDIENCE,
            jwt_leeway_s=0,
        )
        app = await start(settings, stack)
        yield await stack.enter_async_context(connected(app.port))


async def rank(server: Connection, *tokens: str) -> str:
    """The reason for which a ranking with tokens is refused, empty if it is not."""
    metadata = tuple(entry for token in tokens for entry in bearer(token))
    try:
        await server.channel.unary_unary(RANK)(PAYLOAD, timeout=TIMEOUT_S, metadata=metadata)
    except aio.AioRpcError as error:
        refused = refusal_of(error)
        assert not any(token in refused.everything for token in tokens if token)
        return refused.reason
    return ""


async def test_good_token_ranks_again_and_again(signed: Connection) -> None:
    token = KEY.token()

    assert [await rank(signed, token) for _ in range(3)] == ["", "", ""]


async def test_bad_tokens_are_refused(signed: Connection) -> None:
    stranger = SigningKey("first")
    tokens = {
        "expired": KEY.token(exp=int(time.time()) - 1),
        "another audience": KEY.token(aud="another"),
        "another issuer": KEY.token(iss="another"),
        "unsigned": "eyJhbGciOiJub25lIn0." + KEY.token().split(".")[1] + ".",
        "another key": stranger.token(),
        "no token": "",
        "long": "x" * 8_000,
    }

    found = {what: await rank(signed, token) for what, token in tokens.items()}

    assert found == dict.fromkeys(tokens, "CREDENTIALS_INVALID") | {"expired": "CREDENTIALS_EXPIRED"}


async def test_no_token_is_in_any_log(signed: Connection, caplog: pytest.LogCaptureFixture) -> None:
    tokens = [KEY.token(), KEY.token(roles=[]), KEY.token(aud="x"), KEY.token(exp=1), "planted-0x7f", "x.planted.y"]

    with caplog.at_level(logging.DEBUG):
        for token in tokens:
            await rank(signed, token)
            call: Any = signed.profiles.StreamProfileDeltas(timeout=TIMEOUT_S, metadata=bearer(token))
            with pytest.raises(aio.AioRpcError):
                await call.read()

    parts = [part for token in tokens for part in token.split(".") if len(part) > 6]
    assert not [part for part in parts if part in caplog.text]


async def test_roles_are_those_of_the_token(signed: Connection) -> None:
    assert await rank(signed, KEY.token(roles=["ingest", "privacy"])) == "ROLE_MISSING"
    assert await rank(signed, KEY.token(roles=[])) == "ROLE_MISSING"
    assert await rank(signed, KEY.token(roles=["admin"])) == ""


async def test_stream_ends_with_its_token_behind_what_was_acknowledged(signed: Connection) -> None:
    token = KEY.token(roles=["ingest"], exp=time.time() + 1.5)
    call: Any = signed.profiles.StreamProfileDeltas(timeout=TIMEOUT_S, metadata=bearer(token))

    await call.write(pb.StreamProfileDeltasRequest(source="expiring", sequence=1, deltas=[visit("tokens:2")]))
    acknowledged = await call.read()
    with pytest.raises(aio.AioRpcError) as ended:
        await call.read()

    assert acknowledged.acknowledged_sequence == 1
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refusal_of(ended.value).reason == "CREDENTIALS_EXPIRED"
    assert await rank(signed, KEY.token()) == ""


async def test_stream_of_a_caller_without_the_role_does_not_begin(signed: Connection) -> None:
    call: Any = signed.profiles.StreamProfileDeltas(timeout=TIMEOUT_S, metadata=bearer(KEY.token()))

    with pytest.raises(aio.AioRpcError) as ended:
        await call.read()

    assert refusal_of(ended.value).reason == "ROLE_MISSING"


async def test_server_does_not_start_without_the_keys_of_its_issuer(transport: Any, tmp_path: Path) -> None:
    missing = [f"http://127.0.0.1:1/{tmp_path.name}", str(tmp_path / "nothing.json")]
    for location in missing:
        settings = Settings(
            listen="127.0.0.1:0", transport=transport, jwks=location, jwt_issuer=ISSUER, jwt_audience=AUDIENCE
        )

        async with AsyncExitStack() as stack:
            with pytest.raises(RuntimeError, match="cannot be had"):
                await start(settings, stack)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "db.example:0"])
async def test_server_is_open_to_a_network_only_on_purpose(listen: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(SettingsError, match="--insecure"):
            await start(Settings(listen=listen), stack)


async def test_server_that_knows_its_callers_or_is_open_on_purpose_listens_on_a_network(
    transport: Any, tmp_path: Path
) -> None:
    tokens = tokens_file(tmp_path, till="rank")
    for more in ({"tokens": tokens}, {"insecure": True}):
        async with AsyncExitStack() as stack:
            app = await start(Settings(listen="0.0.0.0:0", transport=transport, **more), stack)
            assert app.port


async def test_file_of_tokens_that_is_wrong_keeps_the_server_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("till rank secret-in-clear\n")

    async with AsyncExitStack() as stack:
        with pytest.raises(SettingsError, match="line 1") as refused:
            await start(Settings(listen="127.0.0.1:0", tokens=path), stack)

    assert "secret-in-clear" not in str(refused.value)


async def test_caller_of_a_call_is_known_to_its_own_tasks_only(signed: Connection, monkeypatch: Any) -> None:
    seen: list[str] = []

    def note(use: Any, customer_id: str) -> Any:
        from server.wire.caller import calling

        caller = calling()
        seen.append(f"{customer_id} {caller.name if caller else None}")
        raise ValueError

    monkeypatch.setattr("server.execution.profiles.GetProfile.__call__", note)
    calls = [
        signed.profiles.GetProfile(
            pb.GetProfileRequest(customer_id=f"c{number}"),
            timeout=TIMEOUT_S,
            metadata=bearer(KEY.token(sub=f"caller-{number}", roles=["privacy"])),
        )
        for number in range(20)
    ]
    await asyncio.gather(*calls, return_exceptions=True)

    assert sorted(seen) == sorted(f"c{number} caller-{number}" for number in range(20))
