"""Refusals over both transports: each with its own code and reason, and counted once under its method and reason.

What a transport refuses by itself never reaches the server's own code and is counted nowhere; these cases are here as
well, so that nobody looks for them in `opportune_calls_failed_total`.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import pytest_asyncio
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from grpc import aio
from jwt.utils import base64url_encode
from opportune.v1.decision_service_pb2 import RankOffersRequest
from prometheus_client.parser import text_string_to_metric_families

from server.app import App, start
from server.settings import Settings
from server.wire.key_ring import KeyRing
from server.wire.metadata_limit import MAX_ENTRIES
from tests.integration.conftest import _known
from tests.integration.connection import TIMEOUT_S, Refusal, refusal_of
from tests.integration.test_grpc_limits import BATCH, LOAD, MIB, RANK, SIZES, impatient
from tests.integration.test_watched_server import fetch
from tests.support.certificates import issued
from tests.support.credentials import AUDIENCE, ISSUER, SigningKey, bearer, key_set

KEY = SigningKey("first")
STREAM = "/opportune.v1.ProfileService/StreamProfileDeltas"
EXPORT = "/opportune.v1.ProfileService/ExportProfile"
PAYLOAD = RankOffersRequest(customer_id="counted:1", placement_id="home").SerializeToString()
FAILED = "opportune_calls_failed_total"
CALLS = "grpc_server_call_duration_seconds_count"


async def scraped(app: App, name: str) -> Counter[tuple[str, str]]:
    """The samples of a server's metric: by method, and by reason or status."""
    status, text = await asyncio.to_thread(fetch, app.observing.port or 0, "/metrics")
    assert status == 200
    found: Counter[tuple[str, str]] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                method, second = sample.labels.values()
                found[method, second] += int(sample.value)
    return found


class Counted(NamedTuple):
    """A server, a channel to it that sends whatever it is given, and the port that tells what it has counted."""

    app: App
    channel: aio.Channel

    async def told(self, name: str) -> Counter[tuple[str, str]]:
        """What a scrape says of a metric."""
        return await scraped(self.app, name)

    async def refused(self, path: str, payload: bytes = PAYLOAD, token: str | None = None, **more: Any) -> Refusal:
        """How a call ends that must be refused; without another one it brings a token that is good for everything."""
        brought = bearer(KEY.token(roles=["admin"]) if token is None else token)
        metadata = (*brought, *more.pop("metadata", ()))
        with pytest.raises(aio.AioRpcError) as caught:
            await self.channel.unary_unary(path)(payload, timeout=TIMEOUT_S, metadata=metadata, **more)
        return refusal_of(caught.value)

    async def ranks(self, token: str) -> bool:
        """Whether a ranking with a token is answered."""
        return bool(await self.channel.unary_unary(RANK)(PAYLOAD, timeout=TIMEOUT_S, metadata=bearer(token)))


@asynccontextmanager
async def counting(settings: Settings) -> AsyncIterator[Counted]:
    """A server without TLS."""
    async with AsyncExitStack() as stack:
        app = await start(settings, stack)
        local = ("grpc.use_local_subchannel_pool", 1)
        channel = aio.insecure_channel(f"127.0.0.1:{app.port}", options=[local, *SIZES])
        yield Counted(app, await stack.enter_async_context(channel))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def counted(
    transport: str, models: Path, shop_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Counted]:
    """A server that takes tokens signed with KEY."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    keys.write_bytes(key_set(KEY))
    settings = Settings(
        listen="127.0.0.1:0", transport=_known(transport), models=models, catalog=shop_file,
        metrics_listen="127.0.0.1:0", jwks=str(keys), jwt_issuer=ISSUER, jwt_audience=AUDIENCE, jwt_leeway_s=0,
    )  # fmt: skip
    async with counting(settings) as made:
        yield made


def forged(algorithm: str, secret: bytes | None) -> str:
    """A token of the issuer that is not signed with its private key: not at all, or with a secret."""
    claims = KEY.token(roles=["admin"]).split(".")[1]
    head = base64url_encode(json.dumps({"alg": algorithm, "typ": "JWT", "kid": KEY.key_id}).encode()).decode()
    signed = f"{head}.{claims}"
    if secret is None:
        return f"{signed}."
    return f"{signed}.{base64url_encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest()).decode()}"


def public_bytes() -> bytes:
    """KEY's public key, as everybody has it."""
    written: bytes = KEY.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return written


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        pytest.param(lambda: KEY.token(exp=int(time.time()) - 1), "CREDENTIALS_EXPIRED", id="expired"),
        pytest.param(lambda: KEY.token(aud="another"), "CREDENTIALS_INVALID", id="wrong-audience"),
        pytest.param(lambda: forged("none", None), "CREDENTIALS_INVALID", id="unsigned"),
        pytest.param(lambda: forged("HS256", public_bytes()), "CREDENTIALS_INVALID", id="algorithm-swapped"),
    ],
)
async def test_token_that_is_not_good_is_refused_and_counted(counted: Counted, token: Any, reason: str) -> None:
    before = await counted.told(FAILED)

    refused = await counted.refused(RANK, token=token())

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    assert await counted.told(FAILED) - before == {(RANK[1:], reason): 1}
    assert await counted.ranks(KEY.token())


@pytest.mark.parametrize(
    ("path", "payload", "metadata", "reason"),
    [
        pytest.param(BATCH, b"\x0a\x00" * (2 * MIB), (), "REQUEST_TOO_LARGE", id="4-MiB-of-empty-submessages"),
        pytest.param(
            RANK,
            PAYLOAD,
            tuple((f"k{number}", "v") for number in range(MAX_ENTRIES + 1)),
            "METADATA_TOO_LARGE",
            id="many-entries-of-metadata",
        ),
    ],
)
async def test_call_that_is_too_much_is_refused_and_counted(
    counted: Counted, path: str, payload: bytes, metadata: tuple[tuple[str, str], ...], reason: str
) -> None:
    before = await counted.told(FAILED)

    refused = await counted.refused(path, payload, metadata=metadata)

    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
    assert await counted.told(FAILED) - before == {(path[1:], reason): 1}
    assert await counted.ranks(KEY.token())


async def test_packed_bomb_is_refused_and_counted_where_the_server_sees_it(counted: Counted, transport: str) -> None:
    before, calls = await counted.told(FAILED), await counted.told(CALLS)

    refused = await counted.refused(RANK, bytes(100 * MIB), compression=grpc.Compression.Gzip)

    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    if transport == "native":
        assert refused.reason == "REQUEST_TOO_LARGE"
        assert await counted.told(FAILED) - before == {(RANK[1:], "REQUEST_TOO_LARGE"): 1}
    else:
        # grpcio's core unpacks it up to its own limit and ends the call itself: it has no reason, and is not counted.
        assert refused.reason == ""
        assert (await counted.told(FAILED), await counted.told(CALLS)) == (before, calls)
    assert await counted.ranks(KEY.token())


@pytest.mark.parametrize(
    ("metadata", "codes"),
    [
        pytest.param(
            # The native transport answers HTTP 431, of which clients make UNKNOWN.
            (("k", "v" * 24_000),),
            {"native": "UNKNOWN", "grpcio": "RESOURCE_EXHAUSTED"},
            id="24-kB-of-metadata",
        ),
        pytest.param(
            # It closes the connection when it is far too much.
            tuple((f"k{number}", "v") for number in range(10_000)),
            {"native": "UNAVAILABLE", "grpcio": "RESOURCE_EXHAUSTED"},
            id="10,000-entries-of-metadata",
        ),
    ],
)
async def test_metadata_beyond_what_the_transport_takes_is_refused_by_it_and_not_counted(
    counted: Counted, transport: str, metadata: tuple[tuple[str, str], ...], codes: dict[str, str]
) -> None:
    before, calls = await counted.told(FAILED), await counted.told(CALLS)

    refused = await counted.refused(RANK, metadata=metadata)

    assert (refused.code.name, refused.reason) == (codes[transport], "")
    assert (await counted.told(FAILED), await counted.told(CALLS)) == (before, calls)
    assert await counted.ranks(KEY.token())


@pytest.mark.parametrize("path", [STREAM, LOAD, EXPORT])
async def test_stream_that_never_sends_its_first_message_is_refused_and_counted(
    counted: Counted, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.wire.endpoint.asyncio.wait", impatient)
    before = await counted.told(FAILED)
    metadata = bearer(KEY.token(roles=["admin"]))
    call: Any = counted.channel.stream_stream(path)(timeout=TIMEOUT_S, metadata=metadata)

    with pytest.raises(aio.AioRpcError) as caught:
        await call.read()

    refused = refusal_of(caught.value)
    assert (refused.code, refused.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "STREAM_SILENT")
    assert await counted.told(FAILED) - before == {(path[1:], "STREAM_SILENT"): 1}


async def test_certificate_without_the_right_name_is_refused_and_counted(
    models: Path, shop_file: Path, tmp_path: Path
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    server = authority.issue_cert("localhost")
    certificate, key, ca, callers = (tmp_path / name for name in ("tls.crt", "tls.key", "ca.crt", "callers"))
    certificate.write_bytes(b"".join(pem.bytes() for pem in server.cert_chain_pems))
    key.write_bytes(server.private_key_pem.bytes())
    ca.write_bytes(authority.cert_pem.bytes())
    callers.write_text("till.example rank\nloader.example ingest\n", encoding="utf-8")
    settings = Settings(
        listen="127.0.0.1:0", transport="grpcio", models=models, catalog=shop_file, metrics_listen="127.0.0.1:0",
        tls_certificate=certificate, tls_key=key, tls_client_ca=ca, tls_callers=callers,
    )  # fmt: skip

    async def end(name: str, signer: trustme.CA = authority) -> tuple[str, str]:
        pair = issued(signer, name)
        credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), pair.key, pair.certificate)
        local = [("grpc.use_local_subchannel_pool", 1)]
        async with aio.secure_channel(f"localhost:{app.port}", credentials, options=local) as channel:
            try:
                await channel.unary_unary(RANK)(PAYLOAD, timeout=TIMEOUT_S)
            except aio.AioRpcError as error:
                return error.code().name, refusal_of(error).reason
        return "OK", ""

    async with AsyncExitStack() as stack:
        app = await start(settings, stack)
        ends = [await end("till.example"), await end("another.example"), await end("loader.example")]
        counted = await scraped(app, FAILED)
        stranger = await end("till.example", other)
        afterwards = await scraped(app, FAILED)

    assert ends == [("OK", ""), ("UNAUTHENTICATED", "CREDENTIALS_MISSING"), ("PERMISSION_DENIED", "ROLE_MISSING")]
    assert counted == {(RANK[1:], "CREDENTIALS_MISSING"): 1, (RANK[1:], "ROLE_MISSING"): 1}
    # TLS itself refuses what another authority has signed, before there is any call.
    assert stranger == ("UNAVAILABLE", "")
    assert afterwards == counted


class _Issuer(ThreadingHTTPServer):
    """Publishes a key set on a port of its own, as long as it runs."""

    daemon_threads = True

    def __init__(self, keys: bytes, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _KeySet)
        self.keys = keys
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def vanish(self) -> None:
        """Refuses connections from now on."""
        self.shutdown()
        self._thread.join()
        self.server_close()


class _KeySet(BaseHTTPRequestHandler):
    server: _Issuer

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.keys)))
        self.end_headers()
        self.wfile.write(self.server.keys)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Silent."""


async def test_known_keys_go_on_without_their_issuer_and_unknown_ones_are_refused_and_counted(
    transport: str, models: Path, shop_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The wait between two fetches is the only thing that is shortened.
    monkeypatch.setattr("server.securing.KeyRing", partial(KeyRing, min_pause_s=0.05))
    issuer, later = _Issuer(key_set(KEY)), SigningKey("second")
    port = issuer.server_address[1]
    settings = Settings(
        listen="127.0.0.1:0", transport=_known(transport), models=models, catalog=shop_file,
        metrics_listen="127.0.0.1:0", jwks=f"http://127.0.0.1:{port}/keys", jwt_issuer=ISSUER, jwt_audience=AUDIENCE,
    )  # fmt: skip
    try:
        async with counting(settings) as server:
            assert await server.ranks(KEY.token())
            issuer.vanish()

            # Asks for the next fetch, which fails.
            first = await server.refused(RANK, token=later.token())
            async with asyncio.timeout(TIMEOUT_S):
                while "the known ones go on" not in caplog.text:
                    await asyncio.sleep(0.01)
            # A token that nobody has seen before, so that it has to be verified with the key.
            known = await server.ranks(KEY.token(sub="another-till"))
            second = await server.refused(RANK, token=later.token())
            counted = await server.told(FAILED)

            issuer = _Issuer(key_set(KEY, later), port)
            with caplog.at_level(logging.INFO, "server.wire.key_ring"):
                async with asyncio.timeout(TIMEOUT_S):
                    while "can be had again" not in caplog.text:
                        await asyncio.sleep(0.01)
            back = await server.ranks(later.token())
    finally:
        issuer.vanish()

    assert known
    for refused in (first, second):
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")
        # Its issuer may have published the key a moment ago.
        assert refused.retry_delay_ms == 6_000
    assert counted == {(RANK[1:], "CREDENTIALS_INVALID"): 2}
    assert back
