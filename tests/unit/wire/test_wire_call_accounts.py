import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from random import Random
from typing import Any

import pytest
from opportune.v1 import decision_service_pb2 as pb

from server.domain.errors import ErrorReason, OpportuneError
from server.telemetry.call_log import CallLog
from server.telemetry.context import CURRENT
from server.telemetry.logs import Pseudonyms
from server.telemetry.sampling import Sampler
from server.telemetry.spans import SpanExporter
from server.telemetry.trace import FinishedCall
from server.wire.call import Call
from server.wire.call_accounts import CallAccounts
from server.wire.endpoint import Endpoint, StreamEndpoint

PATH = "/opportune.v1.DecisionService/RankOffers"
METHOD = PATH[1:]
SAMPLED = Call((("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),))


class KeptSpans(SpanExporter):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.calls: list[FinishedCall] = []

    def put(self, call: FinishedCall) -> None:
        self.calls.append(call)


class Scene:
    """Accounts of one method."""

    def __init__(self) -> None:
        self.spans = KeptSpans()
        log = CallLog(0.0, Pseudonyms(b"key"), Random(1).random)
        self.accounts = CallAccounts(log, Sampler(0.0, Random(1).getrandbits), self.spans)
        self.accounts.know([PATH])

    def endpoint(self, handler: Callable[..., Any], *guards: Any) -> Endpoint:
        return Endpoint(
            PATH, pb.RankOffersRequest, handler, 1_000,
            guards=(self.accounts.begin, *guards), observers=(self.accounts.end,),
        )  # fmt: skip

    @property
    def counted(self) -> dict[str, int]:
        return {code: kept.count for (_, code), kept in self.accounts.durations_s.read().items()}

    @property
    def in_flight(self) -> int:
        return self.accounts.in_flight()[METHOD,]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def fine(request: pb.RankOffersRequest) -> pb.RankOffersResponse:
    return pb.RankOffersResponse()


def refuses(request: pb.RankOffersRequest) -> pb.RankOffersResponse:
    raise OpportuneError(ErrorReason.PLACEMENT_NOT_FOUND, "there is none")


def in_fresh_context(run: Callable[[], Any]) -> Any:
    """As a transport does it: each batch of calls has a context of its own."""
    return copy_context().run(run)


def test_calls_are_counted_by_method_and_code(scene: Scene) -> None:
    for handler in (fine, fine, refuses):
        in_fresh_context(partial(scene.endpoint(handler).answer, b"", Call()))

    assert scene.counted == {"OK": 2, "NOT_FOUND": 1}
    assert scene.accounts.failed == {(METHOD, "PLACEMENT_NOT_FOUND"): 1}
    assert scene.in_flight == 0


def test_malformed_and_late_calls_count_too_and_leave_nothing_in_flight(scene: Scene) -> None:
    in_fresh_context(lambda: scene.endpoint(fine).answer(b"\xff", Call()))
    in_fresh_context(lambda: scene.endpoint(fine).answer(b"", Call(time_left_s=-1.0)))

    assert scene.counted == {"INVALID_ARGUMENT": 1, "DEADLINE_EXCEEDED": 1}
    assert scene.in_flight == 0


def test_late_call_in_a_batch_is_not_taken_for_the_one_before_it(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    def batch() -> None:
        scene.endpoint(fine).answer(b"", SAMPLED)
        scene.endpoint(fine).answer(b"", Call(time_left_s=-1.0))

    with caplog.at_level(logging.INFO, "server"):
        in_fresh_context(batch)

    assert scene.in_flight == 0
    assert [call.code for call in scene.spans.calls] == [0]
    assert [record.fields["reason"] for record in caplog.records] == ["DEADLINE_PASSED"]  # type: ignore[attr-defined]


def test_call_that_another_guard_refuses_is_counted_with_its_reason(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    def guard(path: str, call: Call) -> None:
        raise OpportuneError(ErrorReason.SHUTTING_DOWN, "go elsewhere")

    with caplog.at_level(logging.INFO, "server"):
        in_fresh_context(lambda: scene.endpoint(fine, guard).answer(b"", SAMPLED))

    assert scene.counted == {"UNAVAILABLE": 1}
    assert scene.accounts.failed == {(METHOD, "SHUTTING_DOWN"): 1}
    assert [record.fields["reason"] for record in caplog.records] == ["SHUTTING_DOWN"]  # type: ignore[attr-defined]
    assert [call.reason for call in scene.spans.calls] == ["SHUTTING_DOWN"]


async def test_call_that_waits_is_in_flight_until_it_ends(scene: Scene) -> None:
    release = asyncio.Event()

    async def waits(request: pb.RankOffersRequest) -> pb.RankOffersResponse:
        await release.wait()
        return pb.RankOffersResponse()

    tasks = []
    for number in range(3):
        # One context for all of a batch, and a task for each that waits, as in a transport's callback.
        answer = scene.endpoint(waits).answer(b"", Call((("x-request-id", str(number)),)))
        tasks.append(asyncio.create_task(_awaited(answer)))
    await asyncio.sleep(0)
    during = scene.in_flight
    release.set()
    await asyncio.gather(*tasks)

    assert during == 3
    assert (scene.in_flight, scene.counted) == (0, {"OK": 3})


@pytest.mark.parametrize("is_late", [False, True])
async def test_call_that_goes_on_has_not_the_reason_of_one_that_was_refused(scene: Scene, is_late: bool) -> None:
    async def waits(request: pb.RankOffersRequest) -> pb.RankOffersResponse:
        await asyncio.Event().wait()
        raise AssertionError

    going_on = asyncio.create_task(_awaited(scene.endpoint(waits).answer(b"", Call())))
    await asyncio.sleep(0)
    if is_late:
        scene.endpoint(fine).answer(b"", Call(time_left_s=-1.0))
    else:
        scene.endpoint(fine).refused(OpportuneError(ErrorReason.OVERLOADED, "busy", retry_after_ms=20), Call())
    going_on.cancel()
    await asyncio.gather(going_on, return_exceptions=True)

    assert scene.accounts.failed == {
        (METHOD, "DEADLINE_PASSED" if is_late else "OVERLOADED"): 1,
        (METHOD, "CANCELLED"): 1,
    }


async def _awaited(answer: Any) -> Any:
    return await answer


async def test_stream_is_in_flight_while_it_is_open_and_counts_when_it_ends(scene: Scene) -> None:
    opened, release = asyncio.Event(), asyncio.Event()

    async def serve(stream: Any) -> None:
        opened.set()
        await release.wait()

    made = StreamEndpoint(PATH, pb.RankOffersRequest, serve, 1_000, (scene.accounts.begin,), (scene.accounts.end,))
    task = asyncio.create_task(_served(made))
    await opened.wait()
    during = scene.in_flight, scene.counted
    release.set()
    await task

    assert during == (1, {})
    assert (scene.in_flight, scene.counted) == (0, {"OK": 1})


async def _served(made: StreamEndpoint) -> None:
    serve: Callable[..., Awaitable[Any]] = made.serve
    await serve(None, Call())


async def test_cancelled_call_is_counted_and_leaves_nothing_in_flight(scene: Scene) -> None:
    async def waits(request: pb.RankOffersRequest) -> pb.RankOffersResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def call() -> None:
        await scene.endpoint(waits).answer(b"", Call())  # type: ignore[misc]

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (scene.in_flight, scene.counted) == (0, {"CANCELLED": 1})


def test_sampled_call_is_exported_with_its_times(scene: Scene) -> None:
    in_fresh_context(lambda: scene.endpoint(fine).answer(b"", SAMPLED))
    in_fresh_context(lambda: scene.endpoint(fine).answer(b"", Call()))

    (call,) = scene.spans.calls
    assert (call.path, call.code, call.trace.parent_id) == (PATH, 0, 0xB7AD6B7169203331)
    assert 0 < call.ended_ns - call.began_ns < 1e9


def test_handlers_find_the_call_that_they_work_for(scene: Scene) -> None:
    found = []

    def handler(request: pb.RankOffersRequest) -> pb.RankOffersResponse:
        context = CURRENT.get()
        assert context is not None
        found.append(context.call)
        return pb.RankOffersResponse()

    in_fresh_context(lambda: scene.endpoint(handler).answer(b"", SAMPLED))

    assert found == [SAMPLED]
