import asyncio
import logging
import threading
from contextlib import suppress
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import grpc
import pytest
from opportune.v1.profile_pb2 import Profile
from opportune.v1.profile_service_pb2 import GetProfileRequest
from pygrpc_native import EVENT_CALL, EVENT_CANCEL

from server.execution.pressure import TURN_NS, Pressure
from server.telemetry.heartbeat import Heartbeat
from server.wire.admission import Admission
from server.wire.endpoint import Endpoint
from server.wire.native_transport import BATCH, POLL_NS, NativeTransport


class Front:
    """What a transport does with answers, without a transport: it refuses one."""

    def __init__(self, refused: bytes) -> None:
        self._refused = refused
        self.answered: dict[int, bytes | int] = {}

    def respond(self, call_id: int, payload: bytes) -> bool:
        if payload == self._refused:
            raise ValueError("not this one")
        self.answered[call_id] = payload
        return True

    def fail(self, call_id: int, code: int, message: str, **_: Any) -> bool:
        self.answered[call_id] = code
        return True


def test_answer_that_is_refused_fails_alone_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    transport = NativeTransport("127.0.0.1:0", [])
    front = Front(refused=b"second")
    transport._front = front  # type: ignore[assignment]

    with caplog.at_level(logging.ERROR):
        for call_id, answer in enumerate([b"first", b"second", b"third"]):
            transport._respond(call_id, answer)

    assert front.answered == {0: b"first", 1: grpc.StatusCode.INTERNAL.value[0], 2: b"third"}
    assert "refused an answer" in caplog.text


class Line:
    """A transport without threads: calls are handed over, and turns are taken by hand."""

    def __init__(self, admission: Admission | None = None) -> None:
        self.asked: list[str] = []
        self.nap_ns = 0
        endpoints = [self._endpoint("RankOffers"), self._endpoint("GetDecision")]
        self.transport = NativeTransport("127.0.0.1:0", endpoints, admission)
        self.front = Front(refused=b"none")
        self.transport._front = self.front  # type: ignore[assignment]

    def _endpoint(self, name: str) -> Endpoint:
        return Endpoint(f"/service/{name}", GetProfileRequest, self._answer, 1_000)

    def _answer(self, request: GetProfileRequest) -> Profile:
        self.asked.append(request.customer_id)
        until_ns = perf_counter_ns() + self.nap_ns
        while perf_counter_ns() < until_ns:
            pass
        return Profile(customer_id=request.customer_id)

    def hand_over(self, *calls: tuple[int, str], left_s: float = 1.0) -> None:
        """Takes in calls of RankOffers (0) or GetDecision (1), each with the name of its customer."""
        self.transport._take_in(
            [
                (
                    EVENT_CALL,
                    number,
                    method,
                    GetProfileRequest(customer_id=name).SerializeToString(),
                    b"",
                    ((), "", left_s),
                )
                for number, (method, name) in enumerate(calls)
            ]
        )

    def turn(self) -> list[str]:
        """Who was answered in one turn."""
        before = len(self.asked)
        self.transport._answer_some()
        return self.asked[before:]


def test_rankings_overtake_what_is_less_urgent() -> None:
    line = Line()

    line.hand_over((1, "later"), (0, "first"), (1, "last"), (0, "second"))

    assert line.turn() == ["first", "second", "later", "last"]


def test_turn_ends_after_a_batch() -> None:
    line = Line()

    line.hand_over(*[(0, str(number)) for number in range(BATCH + 3)])

    assert [len(line.turn()), len(line.turn()), len(line.turn())] == [BATCH, 3, 0]


def test_turn_ends_when_its_time_is_up() -> None:
    line = Line()
    line.nap_ns = TURN_NS + 1

    line.hand_over((0, "a"), (0, "b"))

    assert line.turn() == ["a"]
    assert line.turn() == ["b"]


def test_caller_who_leaves_while_waiting_is_not_answered() -> None:
    line = Line()

    line.hand_over((0, "a"), (0, "b"))
    line.transport._take_in([(EVENT_CANCEL, 0, 0, None, None, None)])

    assert line.turn() == ["b"]


def test_call_that_would_wait_too_long_is_refused_at_once_and_the_others_are_answered() -> None:
    line = Line(Admission(Pressure(), Heartbeat(), 1.0))
    line.transport._queue.call_ns = 10_000_000

    line.hand_over(*[(0, str(number)) for number in range(10)], left_s=0.05)
    refused = {number: code for number, code in line.front.answered.items() if isinstance(code, int)}

    assert refused == dict.fromkeys(range(3, 10), grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
    assert line.turn() == ["0", "1", "2"]


class Watched(Front):
    """A front with calls to come: what each look for them finds, and nothing behind that."""

    def __init__(self, *looks: list[Any] | Exception | None) -> None:
        super().__init__(refused=b"none")
        self._looks = list(looks)
        self.looked = 0

    def recv_batch_details(self, most: int, timeout_ms: int) -> list[Any] | None:
        """Never waits."""
        assert timeout_ms == 0
        self.looked += 1
        look = self._looks.pop(0) if self._looks else []
        if isinstance(look, Exception):
            raise look
        return look


class Turns:
    """A loop and its clock, both turned by hand: 50 us a callback."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 0
        self._callbacks: list[Any] = []
        monkeypatch.setattr("server.wire.native_transport.perf_counter_ns", lambda: self.now_ns)

    def call_soon(self, callback: Any, *arguments: Any) -> None:
        """See `asyncio`."""
        self._callbacks.append((callback, arguments))

    def run(self) -> None:
        """Runs until nothing is left to call."""
        while self._callbacks:
            self.now_ns += 50_000
            callback, arguments = self._callbacks.pop(0)
            # A loop tells of what fails, and goes on.
            with suppress(OSError):
                callback(*arguments)


def watching(monkeypatch: pytest.MonkeyPatch, *looks: list[Any] | Exception | None) -> tuple[Line, Watched, Turns]:
    line, front, turns = Line(), Watched(*looks), Turns(monkeypatch)
    transport: Any = line.transport
    transport._front, transport._loop = front, turns
    return line, front, turns


def call(number: int, name: str) -> tuple[Any, ...]:
    payload = GetProfileRequest(customer_id=name).SerializeToString()
    return (EVENT_CALL, number, 0, payload, b"", ((), "", 1.0))


def test_loop_looks_for_calls_for_a_while_before_the_thread_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    line, front, turns = watching(monkeypatch)

    turns.call_soon(line.transport._dispatch, [call(0, "a")])
    turns.run()

    assert line.asked == ["a"]
    assert front.looked == 1 + POLL_NS // 50_000
    assert not line.transport._turn.locked()


def test_call_that_comes_meanwhile_is_answered_and_the_while_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    line, front, turns = watching(monkeypatch, [], [], [call(1, "b")])

    turns.call_soon(line.transport._dispatch, [call(0, "a")])
    turns.run()

    assert line.asked == ["a", "b"]
    assert front.looked == 3 + 1 + POLL_NS // 50_000
    assert not line.transport._turn.locked()


@pytest.mark.parametrize("look", [None, OSError("gone")])
def test_thread_is_not_left_waiting_when_looking_fails(monkeypatch: pytest.MonkeyPatch, look: Any) -> None:
    line, _, turns = watching(monkeypatch, [], look)

    turns.call_soon(line.transport._dispatch, [call(0, "a")])
    turns.run()

    assert not line.transport._turn.locked()


async def test_call_that_comes_while_the_server_stops_is_not_left_behind(tmp_path: Path) -> None:
    line = Line()
    transport: Any = line.transport
    going_on: list[asyncio.Task[None]] = []

    class Behind:
        async def stop(self, grace_s: float) -> None:
            """Has nothing to stop."""

    class Late(Front):
        """A front that takes one more call while its last answers are written."""

        def metrics(self) -> None:
            if not going_on:
                going_on.append(asyncio.create_task(transport._answer_later(7, asyncio.Event().wait())))
                transport._tasks[7] = going_on[0]

        def close(self) -> None:
            """Has nothing to close."""

    transport._front, transport._behind, transport._folder = Late(refused=b"none"), Behind(), tmp_path
    transport._loop, transport._receiver = asyncio.get_running_loop(), threading.Thread(target=int)
    transport._receiver.start()

    await transport.stop(0.01)

    assert going_on[0].cancelled()


def test_handlers_are_told_of_the_time_that_is_left_after_the_wait() -> None:
    told: list[float | None] = []

    def rank(request: GetProfileRequest, time_left_s: float | None) -> Profile:
        told.append(time_left_s)
        return Profile()

    line = Line()
    line.transport._endpoints[0] = Endpoint("/service/RankOffers", GetProfileRequest, rank, 1_000, takes_time=True)
    line.hand_over((0, "a"), left_s=1.0)
    until_ns = perf_counter_ns() + 5_000_000
    while perf_counter_ns() < until_ns:
        pass

    line.turn()

    assert told[0] is not None
    assert told[0] <= 0.995
