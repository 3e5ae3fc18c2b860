"""What always-on explanation costs: deciding with a record of each decision in the log, against deciding without.

The decisions are those of `python -m loadtest rank`: its catalog, customers and model. The log packs records by the
batch as the one on disk does; what writing them costs is in test_decision_log.py.
"""

from itertools import islice
from pathlib import Path
from statistics import median
from time import process_time_ns

import pytest
import yaml
from opportune.v1.decision_service_pb2 import RankOffersRequest
from pytest_benchmark.fixture import BenchmarkFixture

from loadtest.workload import SyntheticWorkload
from server.domain.decision import RankQuery
from server.domain.decision_record import DecisionRecord
from server.execution import noting
from server.execution.noting import NoteDecision
from server.execution.rank import RankOffers
from server.execution.record import record_of
from server.inference.model import load_models
from server.storage.decision_codec import Waiting, encode, waiting
from server.wire.convert.decision import query_from
from server.wire.convert.profile import deltas_from
from tests.support.clock import NOON
from tests.support.service import Service

BOUND = 0.10
OFFERS = 1_000
CUSTOMERS = 2_000
BATCH = 250
ROUNDS = 40


class _NoLog:
    """Keeps nothing, as if explanation were switched off."""

    def put(self, record: DecisionRecord) -> None:
        """Drops it."""


class _PackingLog:
    """Packs records as `SqliteDecisionLog` does and keeps none of them."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []

    def put(self, record: DecisionRecord) -> None:
        """Takes a record."""
        self._waiting.append(waiting(record))
        if len(self._waiting) == BATCH:
            encode(self._waiting)
            self._waiting.clear()


def _service(workload: SyntheticWorkload) -> Service:
    service = Service(yaml.safe_load(workload.catalog.read_text()), *load_models(workload.models).values())
    for request in workload.deltas():
        service.apply_deltas(request.source, 0, deltas_from(request.deltas, service.clock.now))
    return service


def _spent_ns(service: Service, queries: list[RankQuery]) -> int:
    """Process time for a decision for each query."""
    began_ns = process_time_ns()
    for query in queries:
        service.ranker(query)
    service.note._waiting.clear()
    return process_time_ns() - began_ns


@pytest.mark.benchmark(group="explanation")
def test_record_costs_at_most_a_tenth_of_a_decision(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workload = SyntheticWorkload(tmp_path, OFFERS, CUSTOMERS, NOON.date())
    service = _service(workload)
    requests = map(RankOffersRequest.FromString, workload.requests(2 * BATCH * ROUNDS))
    queries = map(query_from, requests)
    silent, packing = _NoLog(), _PackingLog()
    spent: dict[bool, list[int]] = {True: [], False: []}

    def both() -> None:
        # Customers gather contacts while this runs, so both ways take turns at going first.
        for recorded in (True, False) if len(spent[True]) % 2 else (False, True):
            log = packing if recorded else silent
            note = NoteDecision(service.state, service.writer, log, service._now_us, lambda s, call: None)  # type: ignore[arg-type]
            service.note, service.ranker = note, RankOffers(service.state, service.clock, note)
            monkeypatch.setattr(noting, "record_of", record_of if recorded else lambda decision, evaluations: None)
            spent[recorded].append(_spent_ns(service, list(islice(queries, BATCH))))

    benchmark.pedantic(both, rounds=ROUNDS if benchmark.enabled else 1)  # type: ignore[no-untyped-call]

    cost = median(spent[True]) / median(spent[False]) - 1
    benchmark.extra_info["cost"] = cost
    if benchmark.enabled:
        print(f"\nexplanation costs {cost:.1%} of a decision over {OFFERS:,} offers")
        assert cost <= BOUND
