"""The composition root: builds everything by hand, in order, and closes it in reverse."""

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from opportune.v1 import profile_service_pb2

from server import tuning
from server.catalog_at_start import serve_catalog
from server.domain.clock import microseconds_of
from server.execution.erase import finish_erasures
from server.execution.recovery import recover
from server.inference.model import load_models
from server.inference.watchdog import Watchdog
from server.inspecting import inspect_elsewhere
from server.observing import Observing
from server.securing import Door, open_audit, open_door
from server.service import SERVICES, Service
from server.settings import Settings
from server.shelf import Shelf
from server.stores import open_stores
from server.telemetry.logs import tell_of_loop
from server.wire.auditing import audited
from server.wire.connections import Connections
from server.wire.endpoint import Endpoint, StreamEndpoint
from server.wire.grpcio_transport import GrpcioTransport, Transport
from server.wire.native_transport import NativeTransport

GRACE_S = 3.5
GRACE_S_MIN = 1.0
LEAVE_WITHIN_S = 4.5
"""From the signal to the last answer, if draining leaves that much."""

_LOG = logging.getLogger("opportune")


class App:
    """A server that is ready: state, use cases, and a transport that has started."""

    def __init__(self, service: Service, transport: Transport, port: int) -> None:
        self.state = service.state
        self.pressure = service.pressure
        self.heartbeat = service.heartbeat
        self.port = port
        self.observing = service.observing
        self.observing.is_serving = True
        self._service = service
        self._transport = transport
        self._grace_s: float | None = None
        self._tasks = [
            asyncio.create_task(self._tell_of_failure(), name="journal-health"),
            asyncio.create_task(service.retain_decisions(), name="decision-log-retention"),
        ]
        if service.stores.durable:
            self._tasks.append(asyncio.create_task(service.snapshotter.run(), name="snapshots"))

    async def drain(self, seconds: float) -> None:
        """Says NOT_SERVING to whoever asks or watches, and goes on serving until they will have noticed."""
        await self._transport.leave()
        self._grace_s = min(GRACE_S, max(LEAVE_WITHIN_S - seconds, GRACE_S_MIN))
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Stops taking calls, ends streams in band, lets what is in flight finish, and commits it."""
        self.observing.is_serving = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._service.closing.set()
        await self._transport.stop(GRACE_S if self._grace_s is None else self._grace_s)
        await self._service.erase.close()
        await self._service.writer.close()

    async def _tell_of_failure(self) -> None:
        """Ranking goes on when the journal cannot be written; only deltas are better sent elsewhere."""
        await self._service.writer.failure.wait()
        await self._transport.set_serving(
            profile_service_pb2.DESCRIPTOR.services_by_name["ProfileService"].full_name, False
        )


async def start(settings: Settings, stack: AsyncExitStack) -> App:
    """Starts a server, which has caught up with its journal before its port opens; the stack closes it.

    Raises:
        ModelRefusedError: a model is not what its manifest says.
        OpportuneError: the catalog has problems.
        JournalDamagedError, NewerEntryError, FolderInUseError, BrokenChainError: the data folder cannot be used.
        OSError, RuntimeError: a file cannot be read, or an address cannot be bound.
        SettingsError: what callers are known by cannot be used, or the server would be open to a network.
    """
    door = await open_door(settings, SERVICES, stack)
    observing = Observing(settings)
    await observing.open(stack)
    # Models are inspected, in a process of their own, while the journal is read.
    inspection = asyncio.create_task(_inspected(settings.models))
    stack.callback(inspection.cancel)
    stores = await open_stores(settings, stack)
    audit = await open_audit(settings, stack)
    stack.enter_context(tuning.without_collector())
    recovered = await recover(stores.journal, stores.snapshots, stores.ledger)
    watchdog = Watchdog()
    models = load_models(settings.models, await inspection, watchdog) if settings.models else {}
    service = Service(settings, stores, models, recovered.facts, observing=observing)
    await _catch_up(service, recovered.erased, stack)
    await serve_catalog(service.state, service.writer, service.clock, settings.catalog, audit)
    tuning.tune()
    service.heartbeat.watchers.append(tuning.Sweep())
    shelf = Shelf(service.state, settings.models, watchdog)
    if service.state.catalog_version:
        shelf.served(service.state.catalog)
    served = service.endpoints(shelf, door)
    if audit is not None:
        served = audited(served, audit, lambda: microseconds_of(service.clock()))
    transport = _transport(settings, service, served, door)
    app = App(service, transport, await transport.start())
    stack.push_async_callback(app.close)
    return app


async def _catch_up(service: Service, erased: int, stack: AsyncExitStack) -> None:
    """Lets the service write behind what there is, and finishes what was not erased to its end."""
    stores = service.stores
    service.note.start_behind(await stores.decisions.last_number())
    service.writer.start()
    stack.push_async_callback(service.writer.close)
    await finish_erasures(
        erased,
        stores.journal,
        stores.vault,
        stores.ledger,
        service.snapshotter,
        service.clock,
        decisions=stores.decisions,
    )


async def _inspected(models: Path | None) -> Mapping[str, str]:
    return {} if models is None else await inspect_elsewhere(models)


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT; a second one ends the process on the spot."""
    stop = asyncio.Event()

    def told(number: int) -> None:
        if stop.is_set():
            # What was acknowledged is in the journal already, and the next start tidies up.
            _LOG.warning("told to stop twice; ending at once")
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told, number)
    asyncio.get_running_loop().set_exception_handler(tell_of_loop)
    async with AsyncExitStack() as stack:
        app = await start(settings, stack)
        host = settings.listen.rpartition(":")[0]
        _LOG.info(
            "serving on %s:%s, catalog version %s, models: %s",
            host, app.port, app.state.catalog_version, ", ".join(app.state.models) or "none",
        )  # fmt: skip
        if app.observing.port is not None:
            _LOG.info("metrics on port %s", app.observing.port)
        await stop.wait()
        _LOG.info("stopping")
        await app.drain(settings.drain_seconds)


def _transport(settings: Settings, service: Service, served: list[Endpoint | StreamEndpoint], door: Door) -> Transport:
    """`auto` is native unless something is asked for that only grpcio can do."""
    connections = Connections(
        age_s=60 * settings.max_connection_age_minutes,
        grace_s=settings.max_connection_age_grace_seconds,
        keepalive_s=settings.keepalive_seconds,
        streams=settings.max_streams,
        pending=settings.max_pending_calls,
    )
    only_grpcio = settings.transport == "auto" and bool(connections.age_s)
    if settings.transport == "grpcio" or only_grpcio or door.certificates is not None:
        return GrpcioTransport(
            settings.listen,
            served,
            connections=connections,
            certificates=door.certificates,
            with_reflection=door.is_open,
        )
    return NativeTransport(settings.listen, served, service.admission, connections, with_reflection=door.is_open)
