"""Decisions that are watched: a service whose decisions a `DecisionWatch` is shown."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from server.domain.decision import Decision
from server.domain.model import ScoreReference
from server.execution.decision_watch import DecisionWatch
from server.execution.evaluation import Evaluation
from server.execution.rank import RankOffers
from tests.support.catalogs import Document, catalog_document, offer_entry, placement_entry
from tests.support.models import FakeModel, Score, appeal, manifest
from tests.support.service import Service

HALVES = ScoreReference(edges=(0.5,), shares=(0.5, 0.5))


def model(reference: ScoreReference | None = HALVES, score: Score = appeal) -> FakeModel:
    """A model that knows how its scores were spread in training."""
    return FakeModel(score, replace(manifest(), scores=reference))


def scored_offers(count: int, **more: Any) -> Document:
    """A catalog of offers whose propensities go evenly from 0 to 1."""
    offers = [offer_entry(f"o{number}", 1.0, attributes={"appeal": number / count}, **more) for number in range(count)]
    return catalog_document(offers, [placement_entry(model="fake/1", slots=10)])


class Watched:
    """A service, its watch, and what the watch was shown last."""

    def __init__(self, document: Document, *models: FakeModel) -> None:
        self.service = Service(document, *models)
        self.watch = DecisionWatch(lambda: self.service.state.models)
        self.service.ranker = RankOffers(
            self.service.state, self.service.clock, self.service.note, Random(7).getrandbits, watch=self._shown
        )

    def _shown(self, decision: Decision, evaluations: Sequence[Evaluation]) -> None:
        self.last = decision, evaluations
        self.watch(decision, evaluations)


def decided(offers: int = 350) -> tuple[DecisionWatch, Decision, Sequence[Evaluation]]:
    """A watch, and a decision over so many eligible offers."""
    watched = Watched(scored_offers(offers), model())
    watched.service.rank()
    return watched.watch, *watched.last
