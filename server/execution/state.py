"""The state that the use cases share: facts, models, and the catalog as it is served. One event loop owns it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from server.domain.clock import microseconds_of
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import Record
from server.domain.model import Model, ModelFailure
from server.domain.profile import RejectedDelta
from server.execution.cached import CachedRanking, CachedRankings, Where
from server.execution.compiled import CompiledCatalog
from server.execution.contact_rules import ContactRules
from server.execution.evaluation import Snapshot
from server.execution.facts import Applied, CompiledDelta, CompiledDeltas, Facts
from server.execution.ladder import overheads
from server.execution.scoring import Scorer
from server.input.profiles import ProfileTable

Clock = Callable[[], datetime]
"""Tells the time, with time zone."""


def utc_now() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


def utc_now_us() -> int:
    """The same in microseconds since 1970."""
    return microseconds_of(utc_now())


def never_back(clock: Clock) -> Clock:
    """A clock that stands still while another one is behind what it has told: entries are in order of their times."""
    latest = datetime.min.replace(tzinfo=UTC)

    def tell() -> datetime:
        nonlocal latest
        latest = max(latest, clock())
        return latest

    return tell


class PreparedCatalog(NamedTuple):
    """A compiled catalog with a scorer for each of its models."""

    catalog: CompiledCatalog
    scorers: dict[str, Scorer]


class State:
    """Everything in memory."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self.models = models
        self.facts = Facts()
        self._catalog: CompiledCatalog | None = None
        self._scorers: dict[str, Scorer] = {}
        self._rules: ContactRules | None = None
        self.rest = overheads()
        self.cached = CachedRankings()

    @property
    def profiles(self) -> ProfileTable:
        """What is known about the customers."""
        return self.facts.profiles

    @property
    def profile_version(self) -> int:
        """The offset of the last entry that was applied."""
        return self.facts.offset

    @property
    def catalog(self) -> CompiledCatalog:
        """The catalog that is served.

        Raises:
            OpportuneError: NO_CATALOG before the first one.
        """
        if self._catalog is None:
            raise OpportuneError(ErrorReason.NO_CATALOG, "no catalog has been applied yet")
        return self._catalog

    @property
    def catalog_version(self) -> int:
        """The version of the catalog that is served, 0 before the first one."""
        return 0 if self._catalog is None else self._catalog.version

    @property
    def catalog_etag(self) -> str:
        """The etag of the catalog that is served, empty before the first one."""
        return "" if self._catalog is None else self._catalog.etag

    def apply(self, record: Record, compiled: object = None) -> Applied:
        """Applies the next entry of the journal, with what is already compiled of it; see `Facts.apply`.

        A catalog's rows and its compiled form change places together, between two requests.
        """
        if isinstance(compiled, PreparedCatalog):
            applied = self.facts.apply(record)
            self.serve(compiled)
            return applied
        if not isinstance(compiled, CompiledDeltas):
            return self.facts.apply(record)
        if compiled.schema is self.facts.profiles.schema:
            return self.facts.apply(record, compiled.deltas)
        fitting, refused = self._compiled_anew(compiled.deltas)
        applied = self.facts.apply(record, fitting)
        return applied._replace(refused=sorted([*refused, *applied.refused], key=lambda each: each.index))

    def prepare(self, catalog: CompiledCatalog) -> PreparedCatalog:
        """A catalog with everything that serving it needs.

        Raises:
            OpportuneError: INVALID_CATALOG if a model cannot take its offers.
        """
        return PreparedCatalog(catalog, self.scorers_for(catalog))

    def serve(self, prepared: PreparedCatalog) -> None:
        """Serves a catalog, whose schema the profiles have, from the next request on."""
        self._catalog, self._scorers = prepared
        self._rules = ContactRules(prepared.catalog, self.facts.contacts)

    def _compiled_anew(self, deltas: Sequence[CompiledDelta]) -> tuple[list[CompiledDelta], list[RejectedDelta]]:
        """Deltas by the schema of now, and those that a catalog has overtaken: it does not know what they set."""
        fitting, refused = [], []
        for place, delta, _ in deltas:
            try:
                fitting.append(CompiledDelta(place, delta, self.facts.compile(delta)))
            except OpportuneError as error:
                refused.append(RejectedDelta(place, error))
        return fitting, refused

    def scorers_for(self, catalog: CompiledCatalog) -> dict[str, Scorer]:
        """A scorer for each model that the catalog's placements name.

        Raises:
            OpportuneError: INVALID_CATALOG if a model cannot take its offers.
        """
        plans = {
            placement.model.model_id: placement.model for placement in catalog.placements.values() if placement.model
        }
        try:
            return {
                model_id: Scorer(plan, self.models[model_id], self._scorers.get(model_id))
                for model_id, plan in plans.items()
            }
        except ModelFailure as failure:
            raise OpportuneError(ErrorReason.INVALID_CATALOG, f"a model cannot take the offers: {failure}") from failure

    def cached_ranking(self, customer_id: str, where: Where, model_id: str, now_us: int) -> CachedRanking | None:
        """The last ranking of a customer somewhere, if it was made with the catalog of now and a model."""
        return self.cached.find(
            customer_id, where, catalog_version=self.catalog_version, model_id=model_id, now_us=now_us
        )

    @property
    def scorers(self) -> Mapping[str, Scorer]:
        """The scorers of the catalog that is served, by model."""
        return self._scorers

    def snapshot(self) -> Snapshot:
        """What a decision reads now."""
        catalog = self.catalog
        assert self._rules is not None
        return Snapshot(catalog, self.profiles, self._rules, self._scorers, self.rest, self.profile_version)
