"""The use cases around one state, without transport, with a manual clock and counted ids."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from server.domain.attribute import Value
from server.domain.clock import microseconds_of
from server.domain.decision import Context, Decision, RankQuery
from server.domain.errors import OpportuneError
from server.domain.model import Model
from server.domain.outcome import Attribution, Outcome
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta
from server.execution.catalog import publish
from server.execution.deltas import ApplyProfileDeltas, DeltasApplied
from server.execution.noting import NoteDecision
from server.execution.outcomes import ReportOutcomes
from server.execution.profiles import GetProfile
from server.execution.rank import RankOffers
from server.execution.rejections import RejectionLimit
from server.execution.sources import Sources
from server.execution.state import State
from server.storage.memory_decision_log import MemoryDecisionLog
from tests.support.catalogs import Document, compiled_catalog
from tests.support.clock import ManualClock
from tests.support.direct_writer import DirectWriter, at_once

SOURCE = "crm"


class Service:
    """Everything that a caller of the server can do, as plain calls."""

    def __init__(self, document: Document | None = None, *models: Model) -> None:
        self.clock = ManualClock()
        self.state = State({model.manifest.id: model for model in models})
        self.writer = DirectWriter(self.state)
        self.log = MemoryDecisionLog()
        self.note = NoteDecision(self.state, self.writer, self.log, self._now_us, lambda seconds, call: None)
        self.ranker = RankOffers(self.state, self.clock, self.note, Random(7).getrandbits)
        self.sources = Sources(self.state, self.writer)
        limit = RejectionLimit(1_000)
        self.apply = ApplyProfileDeltas(self.state, self.writer, self.sources, clock=self.clock, limit=limit)
        self.reporter = ReportOutcomes(self.state, self.writer, self.clock)
        self.get_profile = GetProfile(self.state, self.clock)
        if document is not None:
            self.publish(document)

    def _now_us(self) -> int:
        return microseconds_of(self.clock.now)

    def publish(self, document: Document) -> None:
        """Serves another catalog."""
        manifests = {model_id: model.manifest for model_id, model in self.state.models.items()}
        compiled = compiled_catalog(document, manifests)
        compiled = replace(compiled, version=self.state.catalog_version + 1)
        at_once(publish(self.state, self.writer, compiled, self.clock.now))

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
        return self.apply_deltas(SOURCE, 0, [ProfileDelta(customer_id, microseconds_of(self.clock.now), change)])

    def apply_deltas(
        self, source: str, sequence: int, deltas: Sequence[ProfileDelta | OpportuneError]
    ) -> DeltasApplied:
        """Applies the deltas of one request."""
        return at_once(self.apply(source, sequence, deltas))

    def report(self, *outcomes: Outcome) -> list[Attribution | None]:
        """Reports outcomes; what became of each."""
        return [answer.attribution for answer in at_once(self.reporter(outcomes)).answers]

    def attributes(self, customer_id: str = "customer:1") -> Mapping[str, Value]:
        """What is known about a customer."""
        return self.get_profile(customer_id).attributes


def offer_ids(decision: Decision) -> list[str]:
    """The ids of a decision's offers, best first."""
    return [offer.offer_id for offer in decision.offers]
