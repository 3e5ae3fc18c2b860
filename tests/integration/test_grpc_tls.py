"""TLS on the stock transport: certificates, those of callers, and their replacement while the server runs."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from cryptography import x509
from grpc import aio
from opportune.v1.decision_service_pb2 import RankOffersRequest

from server.app import start
from server.settings import Settings, SettingsError
from tests.integration.connection import refusal_of
from tests.support.certificates import issued
from tests.support.credentials import bearer, tokens_file

RANK = "/opportune.v1.DecisionService/RankOffers"
PAYLOAD = RankOffersRequest(customer_id="tls:1", placement_id="home").SerializeToString()
WAIT_S = 10.0
TILL = "spiffe://shop.example/till"


class Files:
    """Certificates of one authority, as the files that a server takes."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.certificate, self.key, self.ca = folder / "tls.crt", folder / "tls.key", folder / "ca.crt"
        self.authority.cert_pem.write_to_path(str(self.ca))
        self.issue("localhost", "127.0.0.1")

    def issue(self, *names: str, authority: trustme.CA | None = None) -> None:
        """Gives the server another certificate."""
        given = (authority or self.authority).issue_cert(*names)
        self.key.write_bytes(given.private_key_pem.bytes())
        self.certificate.write_bytes(b"".join(pem.bytes() for pem in given.cert_chain_pems))

    def settings(self, **more: Any) -> Settings:
        return Settings(listen="127.0.0.1:0", tls_certificate=self.certificate, tls_key=self.key, **more)

    def channel(self, port: int, *caller: str, authority: trustme.CA | None = None) -> aio.Channel:
        """A channel that trusts the authority, of a caller with a certificate for names, if there are any."""
        pair = issued(authority or self.authority, *caller) if caller else None
        credentials = grpc.ssl_channel_credentials(
            self.authority.cert_pem.bytes(), pair and pair.key, pair and pair.certificate
        )
        return aio.secure_channel(f"localhost:{port}", credentials, options=[("grpc.use_local_subchannel_pool", 1)])


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[int]:
    async with AsyncExitStack() as stack:
        yield (await start(settings, stack)).port


async def ended(channel: aio.Channel, **more: Any) -> str:
    """How a ranking ends: with a reason of ours or a code of gRPC's."""
    async with channel:
        try:
            await channel.unary_unary(RANK)(PAYLOAD, timeout=WAIT_S, **more)
        except aio.AioRpcError as error:
            return refusal_of(error).reason or error.code().name
    return "OK"


async def presented(port: int) -> x509.Certificate:
    """The certificate that a new connection is given."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    content = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(content)


def first_of(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(path.read_bytes())[0]


async def test_calls_over_tls_are_answered_and_others_are_not(files: Files) -> None:
    async with serving(files.settings()) as port:
        # There is no catalog, so this is an answer of the server's own.
        assert await ended(files.channel(port)) == "NO_CATALOG"
        assert await ended(aio.insecure_channel(f"127.0.0.1:{port}")) == "UNAVAILABLE"


async def test_server_with_a_certificate_for_another_name_is_not_trusted(files: Files) -> None:
    files.issue("other.example")

    async with serving(files.settings()) as port:
        assert await ended(files.channel(port)) == "UNAVAILABLE"


async def test_new_certificate_is_given_to_new_connections_and_open_ones_stay(files: Files) -> None:
    async with serving(files.settings()) as port, files.channel(port) as before:
        with pytest.raises(aio.AioRpcError):
            await before.unary_unary(RANK)(PAYLOAD, timeout=WAIT_S)
        old = await presented(port)

        files.issue("localhost", "127.0.0.1")
        new = await presented(port)

        assert old != new == first_of(files.certificate)
        assert await ended(files.channel(port)) == "NO_CATALOG"
        with pytest.raises(aio.AioRpcError) as refused:
            await before.unary_unary(RANK)(PAYLOAD, timeout=WAIT_S)
        assert refusal_of(refused.value).reason == "NO_CATALOG"


async def test_pair_that_is_broken_keeps_the_old_one_and_is_told_of_once(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(files.settings()) as port:
        old = await presented(port)
        good = files.certificate.read_bytes()
        with caplog.at_level(logging.ERROR, "server.wire.reloaded"):
            files.certificate.write_bytes(trustme.CA().issue_cert("localhost").cert_chain_pems[0].bytes())
            during = [await presented(port) for _ in range(3)]
            files.key.write_text("nonsense")
            during.append(await presented(port))

        assert during == [old] * 4
        assert len(caplog.records) == 2
        assert good != files.certificate.read_bytes()
        files.issue("localhost", "127.0.0.1")
        assert await presented(port) == first_of(files.certificate) != old


async def test_callers_need_a_certificate_of_the_authority_where_one_is_set(files: Files) -> None:
    async with serving(files.settings(tls_client_ca=files.ca)) as port:
        assert await ended(files.channel(port)) == "UNAVAILABLE"
        assert await ended(files.channel(port, "till.example", authority=trustme.CA())) == "UNAVAILABLE"
        assert await ended(files.channel(port, "till.example")) == "NO_CATALOG"


async def test_name_in_a_certificate_is_a_caller_with_roles(files: Files, tmp_path: Path) -> None:
    callers = tmp_path / "callers"
    callers.write_text(f"{TILL} rank\nloader.example ingest\n")

    async with serving(files.settings(tls_client_ca=files.ca, tls_callers=callers)) as port:
        assert await ended(files.channel(port, TILL)) == "NO_CATALOG"
        assert await ended(files.channel(port, "loader.example")) == "ROLE_MISSING"
        assert await ended(files.channel(port, "spiffe://shop.example/other")) == "CREDENTIALS_MISSING"
        assert await ended(files.channel(port)) == "UNAVAILABLE"


async def test_token_counts_more_than_the_certificate(files: Files, tmp_path: Path) -> None:
    callers = tmp_path / "callers"
    callers.write_text(f"{TILL} admin\n")
    tokens = tokens_file(tmp_path, till="rank", loader="ingest")

    async with serving(files.settings(tls_client_ca=files.ca, tls_callers=callers, tokens=tokens)) as port:
        assert await ended(files.channel(port, TILL), metadata=bearer("loader-token")) == "ROLE_MISSING"
        assert await ended(files.channel(port, "other.example"), metadata=bearer("till-token")) == "NO_CATALOG"


async def test_revoked_authority_is_not_taken_any_more(files: Files) -> None:
    async with serving(files.settings(tls_client_ca=files.ca)) as port:
        assert await ended(files.channel(port, "till.example")) == "NO_CATALOG"

        trustme.CA().cert_pem.write_to_path(str(files.ca))

        assert await ended(files.channel(port, "till.example")) == "UNAVAILABLE"


@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_server_does_not_start_with_certificates_that_are_none(files: Files, content: str) -> None:
    for path in (files.certificate, files.key, files.ca):
        kept = path.read_bytes()
        path.write_text(content)
        with pytest.raises(SettingsError, match=r"certificate|key"):
            async with serving(files.settings(tls_client_ca=files.ca)):
                pass
        path.write_bytes(kept)
