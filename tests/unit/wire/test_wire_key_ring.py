"""Keys that are fetched: what is known goes on, and nobody can have them fetched too often."""

import asyncio
import contextlib
import http.server
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.domain.caller import SIGNATURES
from server.wire.key_ring import MAX_BYTES, KeyRing
from tests.support.credentials import SigningKey, key_set

FIRST, SECOND = SigningKey("first"), SigningKey("second")


class Issuer:
    """What an issuer answers next: a key set, or an error. It counts how often it was asked."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.asked = 0

    def __call__(self) -> bytes:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def opened(issuer: Issuer, **options: float) -> KeyRing:
    ring = KeyRing("https://issuer.example/keys", SIGNATURES, fetch=issuer, **options)  # type: ignore[arg-type]
    await ring.open()
    return ring


@pytest.mark.parametrize("answer", [OSError("unreachable"), b"{}", key_set()])
async def test_server_does_not_start_without_keys(answer: bytes | OSError) -> None:
    with pytest.raises(RuntimeError, match="example/keys cannot be had"):
        await opened(Issuer(answer))


@pytest.mark.parametrize("answer", [OSError("unreachable"), b"<html>"])
async def test_known_keys_go_on_when_the_issuer_fails_which_is_said_once(
    answer: bytes | OSError, caplog: pytest.LogCaptureFixture
) -> None:
    issuer = Issuer(key_set(FIRST))
    ring = await opened(issuer)
    issuer.answer = answer

    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await ring.refresh()

    assert ring.find("first", "ES256") is not None
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_issuer_that_withdraws_every_key_is_obeyed(caplog: pytest.LogCaptureFixture) -> None:
    issuer = Issuer(key_set(FIRST))
    ring = await opened(issuer)
    changes: list[int] = []
    ring.on_change = lambda: changes.append(issuer.asked)

    issuer.answer = key_set()
    with caplog.at_level(logging.WARNING):
        await ring.refresh()
    withdrawn = ring.find("first", "ES256")
    issuer.answer = key_set(SECOND)
    await ring.refresh()

    assert withdrawn is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert ring.find("second", "ES256") is not None
    assert changes == [2, 3]


async def test_fault_of_ours_does_not_end_the_looking_for_keys(caplog: pytest.LogCaptureFixture) -> None:
    issuer = Issuer(key_set(FIRST))
    ring = await opened(issuer, min_pause_s=0.001)
    changed = asyncio.Event()
    ring.on_change = changed.set
    issuer.answer = ZeroDivisionError()
    running = asyncio.create_task(ring.run())

    ring.find("second", "ES256")
    async with asyncio.timeout(20):
        while issuer.asked < 3:
            await asyncio.sleep(0.001)
        issuer.answer = key_set(SECOND)
        await changed.wait()

    assert ring.find("second", "ES256") is not None
    assert "tried again" in caplog.text
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_rotated_keys_replace_those_before_and_whoever_remembers_is_told() -> None:
    issuer = Issuer(key_set(FIRST))
    ring = await opened(issuer)
    changes: list[int] = []
    ring.on_change = lambda: changes.append(issuer.asked)

    await ring.refresh()
    issuer.answer = key_set(SECOND)
    await ring.refresh()

    assert ring.find("first", "ES256") is None
    assert ring.find("second", "ES256") is not None
    assert changes == [3]


async def test_unknown_key_is_looked_for_at_once_in_the_background() -> None:
    issuer = Issuer(key_set(FIRST))
    ring = await opened(issuer, min_pause_s=0.001)
    changed = asyncio.Event()
    ring.on_change = changed.set
    issuer.answer = key_set(FIRST, SECOND)
    running = asyncio.create_task(ring.run())

    assert ring.find("second", "ES256") is None
    await asyncio.wait_for(changed.wait(), 20)

    assert ring.find("second", "ES256") is not None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_any_number_of_unknown_keys_asks_once() -> None:
    issuer = Issuer(key_set(FIRST))
    ring = await opened(issuer, min_pause_s=0.1)
    running = asyncio.create_task(ring.run())

    for number in range(1_000):
        ring.find(f"unknown-{number}", "ES256")
        if number % 100 == 0:
            await asyncio.sleep(0)

    assert issuer.asked == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_key_set_in_a_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(FIRST))
    ring = KeyRing(str(path), SIGNATURES)
    await ring.open()

    path.write_bytes(key_set(SECOND))
    await ring.refresh()

    assert ring.find("second", "ES256") is not None


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self) -> None:
        match self.path:
            case "/keys":
                self._send(200, key_set(FIRST))
            case "/moved":
                self.send_response(302)
                self.send_header("Location", "/keys")
                self.end_headers()
            case "/large":
                self._send(200, b" " * (MAX_BYTES + 1) + key_set(FIRST))
            case "/no-http":
                self.wfile.write(b"220 mail.example ESMTP\r\n")
            case "/cut":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"fff\r\n" + key_set(FIRST))
            case _:
                self._send(404, b"")

    def _send(self, code: int, content: bytes) -> None:
        self.send_response(code)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def issuer_url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def test_keys_come_from_an_url(issuer_url: str) -> None:
    ring = KeyRing(f"{issuer_url}/keys", SIGNATURES)

    await ring.open()

    assert ring.find("first", "ES256") is not None


@pytest.mark.parametrize("path", ["/moved", "/large", "/nothing", "/no-http", "/cut"])
async def test_url_that_sends_elsewhere_answers_too_much_or_fails_has_no_keys(issuer_url: str, path: str) -> None:
    with pytest.raises(RuntimeError, match="cannot be had"):
        await KeyRing(issuer_url + path, SIGNATURES).open()
