"""The door of a server: built from settings, and kept up to date while it runs."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from server.domain.errors import OpportuneError
from server.securing import Door, open_audit, open_door
from server.service import SERVICES
from server.settings import Settings, SettingsError
from server.wire.call import Call
from server.wire.caller import WATCH
from server.wire.key_ring import KeyRing
from tests.support.credentials import AUDIENCE, ISSUER, SigningKey, bearer, key_set, tokens_file

RANK = "/opportune.v1.DecisionService/RankOffers"
TIMEOUT_S = 20.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks for changes all the time."""
    monkeypatch.setattr("server.securing.REFRESH_EVERY_S", 0.001)
    monkeypatch.setattr("server.wire.key_ring.FILE_CHECK_S", 0.001)
    monkeypatch.setattr("server.securing.KeyRing", partial(KeyRing, min_pause_s=0.001))


def reason(door: Door, token: str) -> str:
    """Why a ranking is refused, empty if it is not."""
    try:
        for guard in door.guards:
            guard(RANK, Call(bearer(token)))
    except OpportuneError as error:
        return error.reason.name
    return ""


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not holds():
            await asyncio.sleep(0.001)


async def test_token_whose_key_was_withdrawn_is_refused_though_it_was_remembered(tmp_path: Path) -> None:
    old, new = SigningKey("old"), SigningKey("new")
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(old))
    settings = Settings(jwks=str(path), jwt_issuer=ISSUER, jwt_audience=AUDIENCE)
    async with AsyncExitStack() as stack:
        door = await open_door(settings, SERVICES, stack)
        first, second = old.token(), new.token()
        assert (reason(door, first), reason(door, second)) == ("", "CREDENTIALS_INVALID")

        path.write_bytes(key_set(new))

        await until(lambda: reason(door, second) == "")
        assert reason(door, first) == "CREDENTIALS_INVALID"


async def test_static_token_that_was_taken_away_is_refused(tmp_path: Path) -> None:
    path = tokens_file(tmp_path, till="rank", desk="admin")
    async with AsyncExitStack() as stack:
        door = await open_door(Settings(tokens=path), SERVICES, stack)
        assert reason(door, "till-token") == ""

        tokens_file(tmp_path, desk="admin")

        await until(lambda: reason(door, "till-token") == "CREDENTIALS_INVALID")
        assert reason(door, "desk-token") == ""


async def test_open_stream_of_a_token_that_was_taken_away_is_withdrawn(tmp_path: Path) -> None:
    path = tokens_file(tmp_path, till="ingest", desk="admin")
    async with AsyncExitStack() as stack:
        door = await open_door(Settings(tokens=path), SERVICES, stack)
        for guard in door.guards:
            guard("/opportune.v1.ProfileService/StreamProfileDeltas", Call(bearer("till-token")))
        watch, withdrawn = WATCH.get(), asyncio.Event()
        assert watch is not None
        watch(withdrawn.set)

        tokens_file(tmp_path, desk="admin")

        await asyncio.wait_for(withdrawn.wait(), TIMEOUT_S)


async def test_what_keeps_the_door_up_to_date_ends_with_the_server(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        await open_door(Settings(tokens=tokens_file(tmp_path, till="rank")), SERVICES, stack)
        assert asyncio.all_tasks() > before

    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"])
async def test_loopback_may_be_open(listen: str) -> None:
    async with AsyncExitStack() as stack:
        assert (await open_door(Settings(listen=listen), SERVICES, stack)).is_open


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "127.0.0.1.example:1", "localhost.example:1"])
async def test_anything_else_may_not_unless_it_is_said(listen: str) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(SettingsError, match="--insecure"):
            await open_door(Settings(listen=listen), SERVICES, stack)

        assert (await open_door(Settings(listen=listen, insecure=True), SERVICES, stack)).is_open


async def test_certificates_alone_do_not_say_who_may_do_what(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("crt", "key", "ca")]
    for path in files:
        path.touch()
    settings = Settings(listen="0.0.0.0:1", tls_certificate=files[0], tls_key=files[1], tls_client_ca=files[2])

    async with AsyncExitStack() as stack:
        with pytest.raises(SettingsError, match="--insecure"):
            await open_door(settings, SERVICES, stack)


@pytest.mark.parametrize(
    ("settings", "folder"),
    [({}, None), ({"ephemeral": True, "data": "data"}, None), ({"data": "data"}, "data/audit"), ({"audit": "a"}, "a")],
)
async def test_audit_log_is_kept_where_anything_is(
    tmp_path: Path, settings: dict[str, Any], folder: str | None
) -> None:
    (tmp_path / "data").mkdir()
    given: dict[str, Any] = {name: value if value is True else tmp_path / value for name, value in settings.items()}

    async with AsyncExitStack() as stack:
        log = await open_audit(Settings(**given), stack)

    assert (log is not None) == (folder is not None)
    assert [str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("head")] == ([folder] if folder else [])
