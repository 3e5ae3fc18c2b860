"""What admission costs a call that is let in, beside the same call without, and what a refusal costs."""

from typing import Any

import pytest
from opportune.v1.profile_pb2 import Profile
from opportune.v1.profile_service_pb2 import GetProfileRequest
from pygrpc_native import EVENT_CALL

from server.execution.pressure import Pressure
from server.telemetry.heartbeat import Heartbeat
from server.wire.admission import Admission
from server.wire.endpoint import Endpoint
from server.wire.native_transport import BATCH, NativeTransport
from tests.bench.bounds import assert_at_most

REQUEST = GetProfileRequest(customer_id="customer:1").SerializeToString()
MOST_US = 6.0
REFUSAL_MOST_US = 30.0


class Front:
    """A transport that takes every answer."""

    def respond(self, call_id: int, payload: bytes) -> bool:
        return True

    def fail(self, call_id: int, code: int, message: str, **_: Any) -> bool:
        return True


def transport(admission: Admission | None) -> NativeTransport:
    answer = Profile(customer_id="customer:1")
    guards = () if admission is None else (admission,)
    endpoint = Endpoint("/service/RankOffers", GetProfileRequest, lambda request: answer, 1_000, guards=guards)
    made = NativeTransport("127.0.0.1:0", [endpoint], admission)
    made._front = Front()  # type: ignore[assignment]
    return made


def events(left_s: float) -> list[tuple[Any, ...]]:
    return [(EVENT_CALL, call_id, 0, REQUEST, b"", ((), "ipv4:1", left_s)) for call_id in range(BATCH)]


def batch(made: NativeTransport, calls: list[tuple[Any, ...]]) -> None:
    made._take_in(calls)
    made._answer_some()


@pytest.mark.benchmark(group="admission: us for 16 empty calls")
@pytest.mark.parametrize("admitting", [False, True])
def test_calls_that_are_let_in(benchmark: Any, admitting: bool) -> None:
    made = transport(Admission(Pressure(), Heartbeat(), 1.0) if admitting else None)

    benchmark(batch, made, events(5.0))

    # The answers themselves take some 2 us each.
    assert_at_most(benchmark, BATCH * (MOST_US + 4.0))


@pytest.mark.benchmark(group="admission: us for 16 refusals")
def test_calls_that_are_refused(benchmark: Any) -> None:
    made = transport(Admission(Pressure(), Heartbeat(), 1.0))
    made._queue.call_ns = 10**12
    made._take_in(events(5.0)[:1])

    benchmark(made._take_in, events(0.01))

    assert_at_most(benchmark, BATCH * REFUSAL_MOST_US)


@pytest.mark.benchmark(group="admission: us for what a ranking adds")
def test_ranking_tells_and_is_told(benchmark: Any) -> None:
    pressure = Pressure()

    def rank() -> None:
        pressure.told_ns(1_000)
        pressure.ranked(300_000, 100_000)

    benchmark(rank)

    assert_at_most(benchmark, 3.0)
