"""Endpoints: from the bytes of a request to the bytes of an answer, or to a status."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from time import perf_counter_ns
from typing import cast

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from opportune.v1 import profile_service_pb2
from opportune.v1.profile_pb2 import Profile
from opportune.v1.profile_service_pb2 import GetProfileRequest

from server.domain.errors import ErrorReason, OpportuneError, invalid_field
from server.wire.call import Call
from server.wire.endpoint import DEFAULT_LIMIT_BYTES, Answer, Endpoint, Stream, StreamEndpoint, endpoints
from server.wire.status import DETAILS_KEY, WireStatus

SERVICE = profile_service_pb2.DESCRIPTOR.services_by_name["ProfileService"]
Handler = Callable[[GetProfileRequest], Profile]


def endpoint(handler: Handler, limit_bytes: int = DEFAULT_LIMIT_BYTES, *, is_async: bool = False) -> Endpoint:
    async def later(request: GetProfileRequest) -> Profile:
        return handler(request)

    return Endpoint("/service/Method", GetProfileRequest, later if is_async else handler, limit_bytes)


async def answer(asked: Endpoint, payload: bytes, time_remaining_s: float | None = None) -> Answer:
    """What an endpoint of either kind answers."""
    given = asked.answer(payload, Call(time_left_s=time_remaining_s))
    return await given if isinstance(given, Coroutine) else given


def test_call_refused_before_its_turn_has_the_status_of_the_error_and_is_observed() -> None:
    seen: list[tuple[str, int]] = []
    asked = replace(endpoint(never), observers=(lambda path, call, code, started_ns: seen.append((path, code)),))

    status = asked.refused(OpportuneError(ErrorReason.OVERLOADED, "busy", retry_after_ms=20), Call())

    assert isinstance(status, WireStatus)
    assert (status.code, info(status).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert seen == [("/service/Method", grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])]


def echo(request: GetProfileRequest) -> Profile:
    return Profile(customer_id=request.customer_id)


def fail(request: GetProfileRequest) -> Profile:
    raise ZeroDivisionError(f"while reading {request.customer_id}")


def refuse(request: GetProfileRequest) -> Profile:
    raise invalid_field("customer_id", "is required")


def never(request: GetProfileRequest) -> Profile:
    raise AssertionError("the handler must not be reached")


def info(status: Answer) -> error_details_pb2.ErrorInfo:
    assert isinstance(status, WireStatus)
    content = dict(status.metadata)[DETAILS_KEY]
    assert isinstance(content, bytes)
    found = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(content).details[0].Unpack(found)
    return found


PAYLOAD = GetProfileRequest(customer_id="loyalty:4711").SerializeToString()
both = pytest.mark.parametrize("is_async", [False, True], ids=["plain", "coroutine"])


@both
@pytest.mark.parametrize("time_remaining_s", [None, 0.001, 9.2e18])
async def test_handler_gets_the_request_and_its_response_is_serialised(
    is_async: bool, time_remaining_s: float | None
) -> None:
    found = await answer(endpoint(echo, is_async=is_async), PAYLOAD, time_remaining_s)

    assert found == Profile(customer_id="loyalty:4711").SerializeToString()


@both
async def test_refusal_of_the_handler_becomes_its_status(is_async: bool) -> None:
    found = await answer(endpoint(refuse, is_async=is_async), PAYLOAD)

    assert isinstance(found, WireStatus)
    assert found.code is grpc.StatusCode.INVALID_ARGUMENT
    assert info(found).reason == "INVALID_FIELD"


@both
@pytest.mark.parametrize("payload", [b"\x00", b"\xff" * 11, PAYLOAD[:-1], b"\x0a\x02\xff\xfe"])
async def test_malformed_bytes_do_not_reach_the_handler(is_async: bool, payload: bytes) -> None:
    found = await answer(endpoint(never, is_async=is_async), payload)

    assert isinstance(found, WireStatus)
    assert found.code is grpc.StatusCode.INVALID_ARGUMENT
    assert info(found).reason == "MALFORMED_REQUEST"
    assert "4711" not in str(found)


@both
async def test_request_of_the_limit_is_taken_and_one_byte_more_is_refused(is_async: bool) -> None:
    allowed = await answer(endpoint(echo, len(PAYLOAD), is_async=is_async), PAYLOAD)
    refused = await answer(endpoint(never, len(PAYLOAD) - 1, is_async=is_async), PAYLOAD)

    assert isinstance(allowed, bytes)
    assert isinstance(refused, WireStatus)
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert info(refused).reason == "REQUEST_TOO_LARGE"
    assert dict(info(refused).metadata) == {"limit_bytes": str(len(PAYLOAD) - 1)}


@both
@pytest.mark.parametrize("time_remaining_s", [0.0, -3.0])
async def test_call_whose_deadline_has_passed_does_not_reach_the_handler(
    is_async: bool, time_remaining_s: float
) -> None:
    found = await answer(endpoint(never, is_async=is_async), PAYLOAD, time_remaining_s)

    assert isinstance(found, WireStatus)
    assert found.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert info(found).reason == "DEADLINE_PASSED"


@both
async def test_fault_of_ours_is_internal_with_an_id_that_the_log_has_and_nothing_else(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    found = await answer(endpoint(fail, is_async=is_async), PAYLOAD)

    assert isinstance(found, WireStatus)
    assert found.code is grpc.StatusCode.INTERNAL
    details = info(found)
    assert (details.reason, details.domain) == ("INTERNAL", "opportune")
    assert details.metadata["error_id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "/service/Method" in caplog.text
    assert [word for word in ("4711", "ZeroDivision", "Traceback") if word in str(found) + str(details)] == []


async def test_cancellation_passes_through_a_coroutine_handler() -> None:
    reached = asyncio.Event()

    async def wait(request: GetProfileRequest) -> Profile:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError("nothing sets the event")

    asked = Endpoint("/service/Method", GetProfileRequest, wait, DEFAULT_LIMIT_BYTES)
    task = asyncio.create_task(answer(asked, PAYLOAD))
    await reached.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


class Told(list[tuple[str, int]]):
    """An observer that keeps what it is told."""

    def __call__(self, path: str, call: Call, code: int, started_ns: int) -> None:
        """Keeps path and code."""
        assert 0 < started_ns <= perf_counter_ns()
        self.append((path, code))


def shut(path: str, call: Call) -> None:
    """A guard that lets nobody pass."""
    raise OpportuneError(ErrorReason.DEADLINE_PASSED, f"{call.value('who')} must not call {path}")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("handler", "code"), [(echo, 0), (fail, 13), (refuse, 3)])
async def test_observers_are_told_how_each_call_ended(handler: Handler, code: int, is_async: bool) -> None:
    told = Told()
    asked = replace(endpoint(handler, is_async=is_async), observers=(told,))

    await answer(asked, PAYLOAD)

    assert told == [("/service/Method", code)]


async def test_guards_refuse_before_anything_is_read() -> None:
    told = Told()
    asked = replace(endpoint(fail), guards=(shut,), observers=(told,))

    refused = await answer(asked, b"\xff", None)

    assert isinstance(refused, WireStatus) and refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert told == [("/service/Method", 4)]


@pytest.mark.parametrize(
    ("error", "code"), [(None, 0), (invalid_field("customer_id", "is empty"), 3), (ZeroDivisionError(), 13)]
)
async def test_observers_are_told_how_each_stream_ended(error: Exception | None, code: int) -> None:
    told = Told()

    async def serve(stream: object) -> None:
        if error is not None:
            raise error

    asked = StreamEndpoint("/service/Stream", GetProfileRequest, serve, DEFAULT_LIMIT_BYTES, observers=(told,))
    status = await asked.serve(cast(Stream, None), Call())

    assert (status.code.value[0] if status else 0) == code
    assert told == [("/service/Stream", code)]


async def test_stream_that_a_guard_refuses_does_not_begin() -> None:
    async def serve(stream: object) -> None:
        raise AssertionError("never begins")

    asked = StreamEndpoint("/service/Stream", GetProfileRequest, serve, DEFAULT_LIMIT_BYTES, (shut,))
    status = await asked.serve(cast(Stream, None), Call((("who", "till-4"),)))

    assert status is not None and status.message == "till-4 must not call /service/Stream"


class Servicer:
    """Serves the methods of ProfileService: one on the spot, streams, and the others in a task."""

    def __getattr__(self, name: str) -> object:
        async def later(request: object) -> None:
            """Answers in a task."""

        if name not in SERVICE.methods_by_name:
            raise AttributeError(name)
        return later

    def GetProfile(self, request: GetProfileRequest) -> None:  # noqa: N802
        """Answers on the spot."""


def test_service_has_an_endpoint_for_each_of_its_methods() -> None:
    found = {made.path: made for made in endpoints(SERVICE, Servicer(), {"ApplyProfileDeltas": 7})}

    get = found["/opportune.v1.ProfileService/GetProfile"]
    apply = found["/opportune.v1.ProfileService/ApplyProfileDeltas"]
    assert len(found) == len(SERVICE.methods)
    assert isinstance(get, Endpoint)
    assert isinstance(apply, Endpoint)
    assert (get.limit_bytes, apply.limit_bytes) == (DEFAULT_LIMIT_BYTES, 7)
    assert get.request_type.DESCRIPTOR.full_name == "opportune.v1.GetProfileRequest"


def test_methods_that_stream_have_endpoints_that_do() -> None:
    found = {made.path.rpartition("/")[2]: made for made in endpoints(SERVICE, Servicer())}

    streaming = {name for name, made in found.items() if isinstance(made, StreamEndpoint)}

    assert streaming == {
        method.name for method in SERVICE.methods if method.client_streaming or method.server_streaming
    }
    assert "StreamProfileDeltas" in streaming


def test_service_without_a_method_for_an_rpc_is_not_served_by_halves() -> None:
    with pytest.raises(AttributeError, match=SERVICE.methods[0].name):
        list(endpoints(SERVICE, object()))


class Silent:
    """A stream whose caller sends nothing, until a message is put into `arrived`."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[str] = asyncio.Queue()
        self.cancelled = False

    async def receive(self) -> str:
        try:
            return await self.arrived.get()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def send(self, message: object) -> None:
        """Goes nowhere."""


async def test_stream_whose_first_message_does_not_come_is_ended() -> None:
    async def serve(stream: Stream) -> None:
        await stream.receive()

    silent = Silent()
    asked = StreamEndpoint("/service/Stream", GetProfileRequest, serve, DEFAULT_LIMIT_BYTES, first_message_s=0.001)
    status = await asked.serve(silent, Call())

    assert status is not None and status.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert info(status).reason == "STREAM_SILENT"
    await asyncio.sleep(0)
    assert silent.cancelled


async def test_later_messages_of_a_stream_may_take_their_time() -> None:
    found: list[str] = []

    async def serve(stream: Stream) -> None:
        found.append(await stream.receive())
        waiting = asyncio.ensure_future(stream.receive())
        await asyncio.wait({waiting}, timeout=0.02)
        silent.arrived.put_nowait("second")
        found.append(await waiting)

    silent = Silent()
    silent.arrived.put_nowait("first")
    asked = StreamEndpoint("/service/Stream", GetProfileRequest, serve, DEFAULT_LIMIT_BYTES, first_message_s=0.001)

    assert await asked.serve(silent, Call()) is None
    assert found == ["first", "second"]
