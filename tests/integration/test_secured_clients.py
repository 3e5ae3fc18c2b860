"""The command line and the publisher, with a server behind TLS that asks who calls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
import trustme
from opportune.client import Publisher, PublishError

from server.app import start
from server.settings import Settings
from tests.integration.catalogs import stall, text_of
from tests.integration.commands import run
from tests.integration.connection import TIMEOUT_S
from tests.integration.delta_streams import visit
from tests.support.certificates import issued
from tests.support.credentials import AUDIENCE, ISSUER, SigningKey, key_set, tokens_file

KEY = SigningKey("key")


class Secured(NamedTuple):
    """A server, and the file of who signed its certificate."""

    address: str
    ca: Path


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def secured(tmp_path_factory: pytest.TempPathFactory, market_file: Path) -> AsyncIterator[Secured]:
    """A server that takes signed tokens, and the static ones of `publisher` (catalog) and `crm` (ingest)."""
    folder = tmp_path_factory.mktemp("secured")
    authority = trustme.CA()
    certificate, key, ca, keys = (folder / name for name in ("tls.crt", "tls.key", "ca.crt", "keys.json"))
    pair = issued(authority, "opportune.example")
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    ca.write_bytes(authority.cert_pem.bytes())
    keys.write_bytes(key_set(KEY))
    settings = Settings(
        listen="127.0.0.1:0",
        catalog=market_file,
        tls_certificate=certificate,
        tls_key=key,
        tokens=tokens_file(folder, publisher="catalog", crm="ingest"),
        jwks=str(keys),
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
        jwt_leeway_s=0,
    )
    async with AsyncExitStack() as stack:
        app = await start(settings, stack)
        yield Secured(f"127.0.0.1:{app.port}", ca)


async def test_health_needs_trust_in_the_certificate_and_no_token(secured: Secured) -> None:
    named = ("--tls-ca", secured.ca, "--tls-name", "opportune.example")

    assert (await run("health", "--address", secured.address, *named)).code == 0
    assert (await run("health", "--address", secured.address, *named[:2])).code == 1
    assert (await run("health", "--address", secured.address)).code == 1


async def test_catalog_is_applied_with_a_token_from_the_environment_or_a_file(secured: Secured, tmp_path: Path) -> None:
    catalog, token = tmp_path / "stall.json", tmp_path / "token"
    catalog.write_text(text_of(stall()))
    token.write_text("publisher-token\n")
    apply: list[str | Path] = ["apply", catalog, "--validate-only", "--address", secured.address]
    apply += ["--tls-ca", secured.ca, "--tls-name", "opportune.example"]

    by_file = await run(*apply, "--token-file", token)
    by_environment = await run(*apply, environment={"OPPORTUNE_TOKEN": "publisher-token"})
    without = await run(*apply)
    wrong = await run(*apply, environment={"OPPORTUNE_TOKEN": "crm-token"})

    assert (by_file.code, by_environment.code) == (0, 0), by_file.errors
    assert "UNAUTHENTICATED" in without.errors
    assert "PERMISSION_DENIED" in wrong.errors
    assert "token" not in wrong.errors + without.errors


async def test_audience_is_counted_with_a_token(secured: Secured) -> None:
    counted = await run(
        "audience", "true", "--to", secured.address, "--tls-ca", secured.ca, "--tls-name", "opportune.example",
        environment={"OPPORTUNE_TOKEN": "publisher-token"},
    )  # fmt: skip

    assert counted.code == 0, counted.errors


async def test_token_that_cannot_be_one_is_not_shown(secured: Secured) -> None:
    refused = await run("health", "--address", secured.address, environment={"OPPORTUNE_TOKEN": "se\x07cret"})

    assert refused.code == 1
    assert "cret" not in refused.errors


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has publishers expect the name in the server's certificate."""
    name = ("grpc.ssl_target_name_override", "opportune.example")
    monkeypatch.setattr("opportune.client.channel.CHANNEL_OPTIONS", (name,))


@pytest.mark.usefixtures("named")
async def test_publisher_publishes_with_its_token(secured: Secured) -> None:
    async with (
        asyncio.timeout(TIMEOUT_S),
        Publisher(secured.address, source="crm", token="crm-token", tls_ca=secured.ca.read_bytes()) as publisher,
    ):
        acknowledgement = await (await publisher.publish([visit("secured:1")]))

    assert acknowledgement.sequence == 1


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(("token", "reason"), [(None, "MISSING"), ("x", "INVALID"), ("publisher-token", "ROLE_")])
async def test_publisher_with_bad_credentials_stops(secured: Secured, token: str | None, reason: str) -> None:
    with pytest.raises(PublishError, match=reason):
        async with (
            asyncio.timeout(TIMEOUT_S),
            Publisher(secured.address, source="bad", token=token, tls_ca=secured.ca.read_bytes()),
        ):
            pass


@pytest.mark.usefixtures("named")
async def test_publisher_replaces_a_token_that_expires_and_goes_on(secured: Secured) -> None:
    given: list[str] = []

    def token() -> str:
        import time

        # The first is good for a second and a half, those after it for longer.
        given.append(KEY.token(roles=["ingest"], exp=time.time() + (1.5 if not given else 600)))
        return given[-1]

    async with (
        asyncio.timeout(TIMEOUT_S),
        Publisher(secured.address, source="renewing", token=token, tls_ca=secured.ca.read_bytes()) as publisher,
    ):
        sequence = 0
        while len(given) < 2:
            sequence = (await (await publisher.publish([visit("secured:2")]))).sequence
            await asyncio.sleep(0.05)
        last = await (await publisher.publish([visit("secured:2")]))

    assert last.sequence == sequence + 1


def test_publisher_takes_no_tls_for_a_channel_of_the_callers_own() -> None:
    with pytest.raises(ValueError, match="has its own TLS"):
        Publisher(object(), source="crm", tls_ca=b"")
