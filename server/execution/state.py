"""The state that the use cases share: the current catalog, the models, the profiles. One event loop owns it."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from server.domain.attribute import Schema
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.model import Model, ModelFailure
from server.execution.compiled import CompiledCatalog
from server.execution.decide import Snapshot
from server.execution.scoring import Scorer
from server.input.profiles import ProfileTable

Clock = Callable[[], datetime]
"""Tells the time, with time zone."""


def utc_now() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


class State:
    """Everything in memory. `profile_version` counts the deltas that were applied."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self.models = models
        self.profiles = ProfileTable(Schema())
        self.profile_version = 0
        self._catalog: CompiledCatalog | None = None
        self._scorers: dict[str, Scorer] = {}

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

    def publish(self, catalog: CompiledCatalog) -> None:
        """Serves a catalog from the next request on.

        Raises:
            OpportuneError: INVALID_CATALOG if a model cannot take its offers; the catalog before goes on serving.
        """
        scorers = self.scorers_for(catalog)
        self.profiles.relayout(catalog.customer)
        self._catalog, self._scorers = catalog, scorers

    def scorers_for(self, catalog: CompiledCatalog) -> dict[str, Scorer]:
        """A scorer for each model that the catalog's placements name.

        Raises:
            OpportuneError: INVALID_CATALOG if a model cannot take its offers.
        """
        plans = {
            placement.model.model_id: placement.model for placement in catalog.placements.values() if placement.model
        }
        try:
            return {model_id: Scorer(plan, self.models[model_id]) for model_id, plan in plans.items()}
        except ModelFailure as failure:
            raise OpportuneError(ErrorReason.INVALID_CATALOG, f"a model cannot take the offers: {failure}") from failure

    def snapshot(self) -> Snapshot:
        """What a decision reads now."""
        return Snapshot(self.catalog, self.profiles, self._scorers, self.profile_version)
