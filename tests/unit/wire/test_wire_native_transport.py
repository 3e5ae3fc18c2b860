import logging
from typing import Any

import grpc
import pytest

from server.wire.native_transport import NativeTransport


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
