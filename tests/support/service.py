"""The use cases around one state, without transport, with a manual clock and counted ids."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from server.domain.attribute import Value
from server.domain.decision import Context, Decision, RankQuery
from server.domain.model import Model
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta
from server.execution.profiles import ApplyProfileDeltas, DeltasApplied, GetProfile
from server.execution.rank import RankOffers
from server.execution.state import State
from tests.support.catalogs import Document, compiled_catalog
from tests.support.clock import ManualClock

SOURCE = "crm"


class Service:
    """Everything that a caller of the server can do, as plain calls."""

    def __init__(self, document: Document | None = None, *models: Model) -> None:
        self.clock = ManualClock()
        self.state = State({model.manifest.id: model for model in models})
        numbers = count(1)
        self.ranker = RankOffers(self.state, self.clock, lambda: f"decision-{next(numbers)}")
        self.apply_deltas = ApplyProfileDeltas(self.state)
        self.get_profile = GetProfile(self.state)
        if document is not None:
            self.publish(document)

    def publish(self, document: Document) -> None:
        """Serves another catalog."""
        manifests = {model_id: model.manifest for model_id, model in self.state.models.items()}
        compiled = compiled_catalog(document, manifests)
        self.state.publish(replace(compiled, version=self.state.catalog_version + 1))

    def rank(self, customer_id: str = "customer:1", placement_id: str = "home", **more: Any) -> Decision:
        """The decision for a query; `channel`, `locale`, `time` and `context` make its context."""
        context = Context(
            channel=more.pop("channel", ""),
            locale=more.pop("locale", ""),
            time=more.pop("time", None),
            attributes=more.pop("context", {}),
        )
        return self.ranker(RankQuery(customer_id, placement_id, context, **more))

    def set(self, customer_id: str = "customer:1", /, **values: Value) -> DeltasApplied:
        """Sets attributes of a customer; every one must be accepted."""
        applied = self.change(customer_id, AttributeUpdates(set=values))
        assert not applied.rejected, applied.rejected[0].error.message
        return applied

    def consent(self, purpose: str, granted: bool, customer_id: str = "customer:1") -> DeltasApplied:
        """Records a customer's answer."""
        return self.change(customer_id, ConsentUpdate(purpose, granted))

    def change(self, customer_id: str, change: AttributeUpdates | ConsentUpdate | Event) -> DeltasApplied:
        """Applies one delta at the clock's time."""
        return self.apply_deltas(SOURCE, 0, [ProfileDelta(customer_id, self.clock.now, change)])

    def attributes(self, customer_id: str = "customer:1") -> Mapping[str, Value]:
        """What is known about a customer."""
        return self.get_profile(customer_id).attributes


def offer_ids(decision: Decision) -> list[str]:
    """The ids of a decision's offers, best first."""
    return [offer.offer_id for offer in decision.offers]
