"""The fast transport: pygrpc-native, whose HTTP/2 work runs in Rust outside the GIL.

Calls come in batches: one wake-up of the event loop answers all that have arrived. A plain handler answers within the
wake-up, without a task of its own. Health, reflection and streams go to a `grpc.aio` server on a Unix socket behind it.

A thread waits for calls only while the loop has none. Were it to wait for the next one while the loop works on the
last, the two would fight for the GIL wherever numpy or ONNX Runtime lets go of it, and a decision would cost double.
"""

import asyncio
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import CoroutineType
from typing import Any

import grpc
from pygrpc_native import EVENT_CANCEL, NativeGrpcFront

from server.wire.call import Call
from server.wire.endpoint import Answer, Endpoint, Later, StreamEndpoint
from server.wire.grpcio_transport import GrpcioTransport
from server.wire.status import PUSHBACK_KEY

BATCH = 16
"""Calls answered in one wake-up at most: 16 decisions hold the loop for about 3 ms."""

_FLUSH_STEP_S = 0.02
_PREFIX = "opportune-"
_LOG = logging.getLogger(__name__)


class NativeTransport:
    """Serves unary endpoints natively and everything else behind them."""

    def __init__(
        self, address: str, endpoints: Sequence[Endpoint | StreamEndpoint], *, with_reflection: bool = True
    ) -> None:
        """Prepares the server; `address` is `host:port`, port 0 for a free one."""
        self._address = address
        self._with_reflection = with_reflection
        self._endpoints = [endpoint for endpoint in endpoints if isinstance(endpoint, Endpoint)]
        self._streams = [endpoint for endpoint in endpoints if isinstance(endpoint, StreamEndpoint)]
        self._tasks: dict[int, asyncio.Task[None]] = {}
        # Held while the loop has calls to answer; a bare lock, as a semaphore costs microseconds at every turn.
        self._turn = threading.Lock()
        self._turn.acquire()

    async def start(self) -> int:
        """See `Transport`."""
        try:
            self._front = NativeGrpcFront(
                self._address, [], call_details=True, metrics=True, max_metadata_size=16 * 1024
            )
        except OSError as error:
            raise RuntimeError(f"cannot listen on {self._address}: {error}") from error
        _remove_leftovers()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        socket = self._folder / "grpcio.sock"
        services = {endpoint.path.split("/")[1] for endpoint in self._endpoints}
        self._behind = GrpcioTransport(
            f"unix:{socket}", self._streams, sorted(services), with_reflection=self._with_reflection
        )
        await self._behind.start()
        self._front.add_methods([(endpoint.path, False) for endpoint in self._endpoints])
        self._front.set_fallback(str(socket))
        self._loop = asyncio.get_running_loop()
        self._front.start()
        self._receiver = threading.Thread(target=self._receive, name="native-transport", daemon=True)
        self._receiver.start()
        return self._front.bound_port

    async def set_serving(self, service: str, serving: bool) -> None:
        """See `Transport`."""
        await self._behind.set_serving(service, serving)

    async def stop(self, grace_s: float) -> None:
        """See `Transport`."""
        end = self._loop.time() + grace_s
        behind = asyncio.ensure_future(self._behind.stop(grace_s))
        await asyncio.sleep(0)
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(behind, *tasks, return_exceptions=True)
        await self._flushed(end)
        await self._loop.run_in_executor(None, self._close)

    async def _flushed(self, end: float) -> None:
        """Waits until the transport's threads have written every answer: closing does not wait for them.

        It waits no longer than until `end` on the loop's clock, as a caller may never read its answer.
        """
        while self._unwritten() and self._loop.time() < end:
            await asyncio.sleep(_FLUSH_STEP_S)
        # An answer counts as written a moment before its last bytes are.
        await asyncio.sleep(_FLUSH_STEP_S)

    def _unwritten(self) -> int:
        """How many calls have been received and not been answered to their last byte."""
        metrics = self._front.metrics() or {"methods": {}}
        return sum(
            method["started"] - sum(status["count"] for status in method["status"].values())
            for path, method in metrics["methods"].items()
            # What goes through to the server behind is its own business, and is over when that has stopped.
            if path != "other"
        )

    def _close(self) -> None:
        self._front.close()
        self._hand_back()
        self._receiver.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _receive(self) -> None:
        """Runs in a thread of its own: hands calls over, and waits until the loop has run out of them."""
        while (events := self._front.recv_batch_details(BATCH)) is not None:
            try:
                self._loop.call_soon_threadsafe(self._dispatch, events)
            except RuntimeError:
                # The loop was closed without stop().
                self._front.close()
                return
            self._turn.acquire()

    def _dispatch(self, events: list[tuple[Any, ...]]) -> None:
        more = None
        try:
            self._answer_all(events)
            more = self._front.recv_batch_details(BATCH, 0)
        finally:
            # Whatever happens, somebody must wait for the next call.
            if more:
                # Through the loop, so that its other callbacks have their turn.
                self._loop.call_soon(self._dispatch, more)
            else:
                self._hand_back()

    def _hand_back(self) -> None:
        """Lets the thread wait for calls again."""
        if self._turn.locked():
            self._turn.release()

    def _answer_all(self, events: list[tuple[Any, ...]]) -> None:
        """Answers a batch, and only then responds: one wake-up of the transport's threads instead of many."""
        answers: list[tuple[int, Answer]] = []
        for kind, call_id, method, payload, _, details in events:
            if kind == EVENT_CANCEL:
                task = self._tasks.get(call_id)
                if task is not None:
                    task.cancel()
                continue
            endpoint = self._endpoints[method]
            metadata, peer, time_left_s = details
            # Of a call without deadline the transport tells 9.2e18.
            call = Call(metadata, peer, time_left_s if time_left_s is not None and time_left_s < 1e9 else None)
            answer = endpoint.answer(payload, call)
            if isinstance(answer, CoroutineType):
                self._tasks[call_id] = self._loop.create_task(self._answer_later(call_id, answer))
            else:
                answers.append((call_id, answer))
        for call_id, ready in answers:
            self._respond(call_id, ready)

    async def _answer_later(self, call_id: int, answer: Later) -> None:
        try:
            self._respond(call_id, await answer)
        finally:
            self._tasks.pop(call_id, None)

    def _respond(self, call_id: int, answer: Answer) -> None:
        """Ends a call. A caller who has left makes the transport return false, and that is all there is to do."""
        try:
            if isinstance(answer, bytes):
                self._front.respond(call_id, answer)
            else:
                code, message, metadata = answer
                # The transport keeps grpc-retry-pushback-ms for itself; RetryInfo among the details says the same.
                trailers = [(key, value) for key, value in metadata if key != PUSHBACK_KEY]
                self._front.fail(call_id, code.value[0], message, trailing_metadata=trailers)
        except Exception:
            # An answer that the transport does not take must not keep those behind it in the batch.
            _LOG.exception("the transport refused an answer")
            self._front.fail(call_id, grpc.StatusCode.INTERNAL.value[0], "the answer could not be sent")


def _remove_leftovers() -> None:
    """Removes the folders that killed servers have left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}[0-9]*-*"):
        process = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if process.isdecimal() and not Path("/proc", process).exists() and folder.stat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)
