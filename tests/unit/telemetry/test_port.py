import asyncio
import http.client
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.telemetry.exposition import Page
from server.telemetry.port import ALIVE_S, ASKED_S, MOST_AT_ONCE, Probes, WatchPort


class Server:
    """What is probed."""

    def __init__(self) -> None:
        self.idle_s = 0.0
        self.ready = True
        self.accepted: list[str] = []

    async def render(self, accept: str) -> Page:
        self.accepted.append(accept)
        return Page(b"profiles 7\n", "text/plain; version=0.0.4")

    def probes(self) -> Probes:
        return Probes(self.render, lambda: self.idle_s, lambda: self.ready)


@asynccontextmanager
async def port_of(server: Server) -> AsyncIterator[int]:
    async with WatchPort("127.0.0.1:0", server.probes()) as port:
        yield port.port


def fetch(port: int, path: str, **headers: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    answer = response.status, response.getheader("Content-Type", ""), response.read().decode()
    connection.close()
    return answer


async def get(port: int, path: str, **headers: str) -> tuple[int, str, str]:
    return await asyncio.to_thread(fetch, port, path, **headers)


async def test_metrics_are_rendered_on_the_loop_for_the_format_that_is_asked_for() -> None:
    server = Server()
    async with port_of(server) as port:
        answer = await get(port, "/metrics?x=1", Accept="application/openmetrics-text")

    assert answer == (200, "text/plain; version=0.0.4", "profiles 7\n")
    assert server.accepted == ["application/openmetrics-text"]


async def test_readiness_is_that_of_the_server() -> None:
    server = Server()
    async with port_of(server) as port:
        ready = await get(port, "/readyz")
        server.ready = False
        not_ready = await get(port, "/readyz")

    assert (ready[0], not_ready[0]) == (200, 503)


async def test_server_is_alive_while_its_loop_comes_round() -> None:
    server = Server()
    async with port_of(server) as port:
        server.idle_s = ALIVE_S - 0.1
        alive = await get(port, "/livez")
        server.idle_s = ALIVE_S
        dead = await get(port, "/livez")

    assert (alive[0], dead[0]) == (200, 503)


async def test_liveness_is_answered_while_the_loop_hangs() -> None:
    server = Server()
    server.idle_s = 60.0
    answers: list[int] = []
    async with port_of(server) as port:
        asker = threading.Thread(target=lambda: answers.append(fetch(port, "/livez")[0]))
        asker.start()
        asker.join(5)  # Holds the loop.

    assert answers == [503]


async def test_other_paths_are_not_found() -> None:
    async with port_of(Server()) as port:
        assert (await get(port, "/"))[0] == 404


async def test_callers_who_say_nothing_do_not_keep_others_from_being_answered() -> None:
    async with port_of(Server()) as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(MOST_AT_ONCE // 2)]
        answer = await get(port, "/livez")
        for each in silent:
            each.close()

    assert answer[0] == 200


async def test_port_is_closed_at_the_end() -> None:
    async with port_of(Server()) as port:
        pass

    with pytest.raises(ConnectionRefusedError):
        await get(port, "/livez")


async def test_address_that_is_taken_is_named() -> None:
    async with port_of(Server()) as port:
        with pytest.raises(RuntimeError, match=f"cannot listen on 127.0.0.1:{port}"):
            WatchPort(f"127.0.0.1:{port}", Server().probes())


async def test_too_many_at_once_are_turned_away_and_make_room_when_they_leave() -> None:
    async with port_of(Server()) as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(MOST_AT_ONCE)]
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            await get(port, "/livez")
        for each in silent:
            each.close()
        answer = await _patiently(port)

    assert answer == 200


async def test_callers_who_say_a_byte_now_and_then_are_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("server.telemetry.port.monotonic", lambda: now_s)
    async with port_of(Server()) as port:
        dripping = [socket.create_connection(("127.0.0.1", port), timeout=2) for _ in range(MOST_AT_ONCE)]
        # When one more is turned away, all of these have their places.
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            await get(port, "/livez")
        now_s = ASKED_S - 0.1
        for each in dripping:
            each.sendall(b"G")
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            await get(port, "/livez")
        now_s = ASKED_S
        answer = await _patiently(port)
        said = [await asyncio.to_thread(each.recv, 1) for each in dripping]
        for each in dripping:
            each.close()

    assert answer == 200
    assert said == [b""] * MOST_AT_ONCE


async def test_caller_who_has_asked_is_not_hung_up_on_while_the_loop_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("server.telemetry.port.monotonic", lambda: now_s)
    server, asked, gate = Server(), asyncio.Event(), asyncio.Event()

    async def render(accept: str) -> Page:
        asked.set()
        await gate.wait()
        return Page(b"late\n", "text/plain")

    monkeypatch.setattr(server, "render", render)
    async with port_of(server) as port:
        scrape = asyncio.create_task(get(port, "/metrics"))
        await asked.wait()
        now_s = 2 * ASKED_S
        # Whoever comes after this has the port look who takes too long.
        assert (await get(port, "/livez"))[0] == 200
        gate.set()
        answer = await scrape

    assert answer == (200, "text/plain", "late\n")


async def _patiently(port: int) -> int:
    """The answer, once those who left have been noticed."""
    until = time.monotonic() + 5
    while True:
        try:
            return (await get(port, "/livez"))[0]
        except (ConnectionError, http.client.HTTPException):
            assert time.monotonic() < until
