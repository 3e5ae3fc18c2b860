"""The service: one server's state and use cases, put together by hand, and the methods that callers reach them by."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta

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
from server.domain.model import Model
from server.execution.audience import CountAudience
from server.execution.catalog import ListOffers, PublishCatalog
from server.execution.contents import CompleteContent
from server.execution.decision_watch import DecisionWatch
from server.execution.deltas import ApplyProfileDeltas
from server.execution.erase import EraseProfile
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
from server.execution.rejected import ListRejectedDeltas
from server.execution.rejections import RejectionLimit
from server.execution.snapshotter import SnapshotPolicy, Snapshotter
from server.execution.sources import Sources
from server.execution.state import State, never_back, utc_now
from server.execution.writer import Writer
from server.observing import Observing, Watched
from server.replaying import Places, ReplayElsewhere
from server.securing import Door
from server.settings import Settings
from server.shelf import Shelf
from server.stores import Stores
from server.wire import audiences, catalog, decisions, outcomes, profiles
from server.wire.admission import Admission
from server.wire.brake import Brake
from server.wire.call import Guard
from server.wire.endpoint import Endpoint, StreamEndpoint, endpoints
from server.wire.profiles import ProfileUseCases

SERVICES = (
    decision_service_pb2.DESCRIPTOR.services_by_name["DecisionService"],
    profile_service_pb2.DESCRIPTOR.services_by_name["ProfileService"],
    catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"],
    outcome_service_pb2.DESCRIPTOR.services_by_name["OutcomeService"],
    audience_service_pb2.DESCRIPTOR.services_by_name["AudienceService"],
)
RETAIN_EVERY_S = 600.0

_LOG = logging.getLogger("opportune")


class Service:
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
        replay = ReplayDecision(self.stores.decisions, self.writer.settle, ReplayElsewhere(self._places()))
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
