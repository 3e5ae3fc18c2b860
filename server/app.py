"""The composition root: builds everything by hand, in order, and closes it in reverse."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from opportune.v1 import (
    audience_service_pb2,
    catalog_service_pb2,
    decision_service_pb2,
    outcome_service_pb2,
    profile_service_pb2,
)

from server.compiling import compile_elsewhere
from server.domain.clock import microseconds_of
from server.domain.journal import JournalDamagedError
from server.domain.model import Manifest, Model
from server.execution.audience import CountAudience
from server.execution.catalog import ListOffers, PublishCatalog, publish, refusal
from server.execution.compile import compile_text
from server.execution.compiled import CompiledCatalog
from server.execution.contents import CompleteContent
from server.execution.decision_watch import DecisionWatch
from server.execution.deltas import ApplyProfileDeltas
from server.execution.erase import EraseProfile, finish_erasures
from server.execution.export import ExportProfile
from server.execution.facts import Facts
from server.execution.identity import LinkIdentifiers, UnlinkIdentifier
from server.execution.load import LoadProfiles
from server.execution.noting import NoteDecision
from server.execution.outcomes import ListOfferResults, ReportOutcomes
from server.execution.past_catalogs import PastCatalogs
from server.execution.pressure import Pressure
from server.execution.profiles import GetProfile
from server.execution.rank import RankOffers
from server.execution.recorded import GetDecision, ReplayDecision
from server.execution.recovery import recover
from server.execution.rejected import ListRejectedDeltas
from server.execution.rejections import RejectionLimit
from server.execution.snapshotter import SnapshotPolicy, Snapshotter
from server.execution.sources import Sources
from server.execution.state import State, never_back, utc_now
from server.execution.writer import Writer
from server.inference.model import load_models
from server.inference.watchdog import Watchdog
from server.inspecting import inspect_elsewhere
from server.observing import Observing, Watched
from server.replaying import Places, ReplayElsewhere
from server.securing import Door, open_audit, open_door
from server.settings import Settings
from server.shelf import Shelf
from server.stores import Stores, open_stores
from server.telemetry.logs import tell_of_loop
from server.wire import audiences, catalog, decisions, outcomes, profiles
from server.wire.admission import Admission
from server.wire.auditing import audited
from server.wire.brake import Brake
from server.wire.call import Guard
from server.wire.connections import Connections
from server.wire.endpoint import Endpoint, StreamEndpoint, endpoints
from server.wire.grpcio_transport import GrpcioTransport, Transport
from server.wire.native_transport import NativeTransport
from server.wire.profiles import ProfileUseCases

SERVICES = (
    decision_service_pb2.DESCRIPTOR.services_by_name["DecisionService"],
    profile_service_pb2.DESCRIPTOR.services_by_name["ProfileService"],
    catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"],
    outcome_service_pb2.DESCRIPTOR.services_by_name["OutcomeService"],
    audience_service_pb2.DESCRIPTOR.services_by_name["AudienceService"],
)
GRACE_S = 3.5
GRACE_S_MIN = 1.0
LEAVE_WITHIN_S = 4.5
"""From the signal to the last answer, if draining leaves that much."""

RETAIN_EVERY_S = 600.0

_LOG = logging.getLogger("opportune")


class App:
    """A server that is ready: state, use cases, and a transport that has started."""

    def __init__(self, service: "_Service", transport: Transport, port: int) -> None:
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


class _Service:
    """The state with everything that changes it."""

    def __init__(
        self, settings: Settings, stores: Stores, models: Mapping[str, Model], facts: Facts, *, observing: Observing
    ) -> None:
        self.stores = stores
        self.observing = observing
        self.clock = never_back(utc_now)
        self.state = State(models)
        self.state.facts = facts
        self.writer = Writer(stores.journal, self.state, stores.vault)
        self.closing = asyncio.Event()
        policy = SnapshotPolicy(
            every_entries=settings.snapshot_entries,
            every=timedelta(minutes=settings.snapshot_minutes),
            retention=timedelta(hours=settings.retention_hours),
        )
        self.snapshotter = Snapshotter(self.state, stores.journal, stores.snapshots, self.clock, policy)
        self.note = NoteDecision(self.state, self.writer, stores.decisions, lambda: microseconds_of(self.clock()))
        decision_watch = DecisionWatch(lambda: self.state.models)
        self.pressure = Pressure()
        self.heartbeat = observing.heartbeat
        self.admission = Admission(self.pressure, self.heartbeat, settings.default_deadline_ms / 1_000)
        self.rank = RankOffers(self.state, self.clock, self.note, watch=decision_watch, pressure=self.pressure)
        self.rejections = RejectionLimit(settings.rejected_per_minute)
        self.erase = EraseProfile(
            self.state,
            self.writer,
            stores.journal,
            stores.vault,
            stores.ledger,
            self.snapshotter,
            self.clock,
            decisions=stores.decisions,
            forget_answers=self.rank.forget,
        )
        self._settings = settings
        self.accounts = observing.accounts(stores.sealer)
        observing.watch(
            Watched(self.state, self.writer, self.note, self.snapshotter, stores, self.rejections, decision_watch)
        )

    async def retain_decisions(self) -> None:
        """Has the decision log forget what is older than it is to keep, for ever."""
        kept = timedelta(hours=self._settings.decision_log_hours)
        while True:
            try:
                await self.stores.decisions.retain(microseconds_of(self.clock() - kept))
            except (OSError, JournalDamagedError) as error:
                _LOG.error("old decisions could not be forgotten, which is tried again: %s", type(error).__name__)
            await asyncio.sleep(RETAIN_EVERY_S)

    def profiles(self) -> ProfileUseCases:
        """The use cases of ProfileService."""
        state, writer, stores = self.state, self.writer, self.stores
        sources = Sources(state, writer)
        return ProfileUseCases(
            apply=ApplyProfileDeltas(
                state, writer, sources, clock=self.clock, limit=self.rejections, sealer=stores.sealer
            ),
            load=LoadProfiles(state, sources, self.clock),
            sources=sources,
            rejected=ListRejectedDeltas(stores.journal),
            get=GetProfile(state, self.clock),
            link=LinkIdentifiers(state, writer, self.clock),
            unlink=UnlinkIdentifier(state, writer, self.clock),
            export=ExportProfile(state, stores.journal, stores.vault, self.clock),
            erase=self.erase,
        )

    def _outcomes(self) -> outcomes.OutcomeServicer:
        report = ReportOutcomes(self.state, self.writer, self.clock)
        return outcomes.OutcomeServicer(report, ListOfferResults(self.state), self.clock)

    def _places(self) -> Places | None:
        """Where a replay finds what it reads, if the server keeps anything."""
        settings = self._settings
        if settings.data is None or not self.stores.durable:
            return None
        return Places(settings.data, settings.models, settings.erasures)

    def endpoints(self, shelf: Shelf, door: Door) -> list[Endpoint | StreamEndpoint]:
        """Every method of every service."""
        servicer = profiles.ProfileServicer(
            self.profiles(), self.clock, self._settings.max_outstanding, self.closing, Brake(self.pressure)
        )
        publish_catalog = PublishCatalog(self.state, self.writer, self.clock, shelf.compile, served=shelf.served)
        catalogs = catalog.CatalogServicer(publish_catalog, ListOffers(self.state))
        audience = audiences.AudienceServicer(CountAudience(self.state, self.clock))
        past = PastCatalogs(self.state, self.stores.journal, self.stores.snapshots, compile_elsewhere)
        get = GetDecision(self.stores.decisions, past)
        replay = ReplayDecision(self.stores.decisions, self.note.flush, ReplayElsewhere(self._places()))
        complete = CompleteContent(self.state, self.stores.vault)
        decision = decisions.DecisionServicer(self.rank, complete, get, replay)
        servicers = (
            (decision, decisions.LIMITS_BYTES),
            (servicer, profiles.LIMITS_BYTES),
            (catalogs, catalog.LIMITS_BYTES),
            (self._outcomes(), outcomes.LIMITS_BYTES),
            (audience, audiences.LIMITS_BYTES),
        )
        guards: tuple[Guard, ...] = (self.accounts.begin, self.admission, *door.guards)
        observers = (self.accounts.end,)
        made = [
            endpoint
            for service, (servicer, limits) in zip(SERVICES, servicers, strict=True)
            for endpoint in endpoints(service, servicer, limits, guards, observers)
        ]
        self.accounts.know([endpoint.path for endpoint in made])
        return made


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
    inspection = asyncio.create_task(_inspected(settings.models))
    stack.callback(inspection.cancel)
    stores = await open_stores(settings, stack)
    audit = await open_audit(settings, stack)
    # Millions of entries and pages come, none of them in a cycle.
    gc.disable()
    stack.callback(gc.enable)
    recovered = await recover(stores.journal, stores.snapshots, stores.ledger)
    # Models are inspected, in a process of their own, while the journal is read.
    inspected = await inspection
    watchdog = Watchdog()
    models = load_models(settings.models, inspected, watchdog) if settings.models else {}
    manifests = {model_id: model.manifest for model_id, model in models.items()}
    service = _Service(settings, stores, models, recovered.facts, observing=observing)
    service.note.start_behind(await stores.decisions.last_number())
    service.writer.start()
    stack.push_async_callback(service.writer.close)
    await finish_erasures(
        recovered.erased,
        stores.journal,
        stores.vault,
        stores.ledger,
        service.snapshotter,
        service.clock,
        decisions=stores.decisions,
    )
    await _serve_catalogs(service, settings.catalog, manifests)
    _tune_collector()
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


def _tune_collector() -> None:
    """Keeps the garbage collector out of most requests.

    What is alive now lives for ever and is not walked again. A request makes some hundred objects without cycles, so
    the default of one collection for every 700 would run several times in ten requests, and find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 50)


async def _serve_catalogs(service: _Service, path: Path | None, manifests: Mapping[str, Manifest]) -> None:
    """Serves the catalog of the file, or, if there is none or it is the same, the one of the journal."""
    state, known = service.state, service.state.facts.catalog
    given = None if path is None else _compiled(path.read_text(encoding="utf-8"), manifests)
    if given is not None and (known is None or given.etag != known.etag):
        version = 1 if known is None else known.version + 1
        await publish(state, service.writer, replace(given, version=version), service.clock())
    elif known is not None:
        compiled = replace(_compiled(known.text, manifests), version=known.version)
        if compiled.customer == known.schema:
            state.serve(state.prepare(compiled))
        else:
            # This version lays the same catalog out in another way.
            await publish(state, service.writer, replace(compiled, version=known.version + 1), service.clock())


def _compiled(text: str, manifests: Mapping[str, Manifest]) -> CompiledCatalog:
    compiled, problems = compile_text(text, manifests)
    if compiled is None:
        raise refusal(problems)
    return compiled


def _transport(
    settings: Settings, service: "_Service", served: list[Endpoint | StreamEndpoint], door: Door
) -> Transport:
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
