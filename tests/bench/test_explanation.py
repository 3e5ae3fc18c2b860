"""What always-on explanation costs: deciding with a record of each decision in the log, against deciding without."""

from time import process_time_ns

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from server.domain.decision_record import DecisionRecord
from server.execution import noting
from server.execution.noting import NoteDecision
from server.execution.rank import RankOffers
from tests.support.catalogs import catalog_document, offer_entry, placement_entry
from tests.support.models import FakeModel
from tests.support.service import Service

BOUND = 0.10
OFFERS = 1_000
CUSTOMERS = 500
ROUNDS = 21


class _NoLog:
    """Keeps nothing, as if explanation were switched off."""

    def put(self, record: DecisionRecord) -> None:
        """Drops it."""


def _service() -> Service:
    rng = np.random.default_rng(7)
    offers = [
        offer_entry(f"offer-{n}", float(rng.uniform(1, 9)), attributes={"appeal": float(rng.uniform(0, 1))},
                    eligible=f"customer.visits < {n % 20}.0", exclusion_group=f"group-{n % 100}")
        for n in range(OFFERS)
    ]  # fmt: skip
    service = Service(catalog_document(offers, [placement_entry(model="fake/1", slots=10)]), FakeModel())
    for number in range(CUSTOMERS):
        service.set(f"customer:{number}", visits=float(number % 25))
    return service


def _spent_ns(service: Service) -> int:
    """Process time for one decision for each customer."""
    began_ns = process_time_ns()
    for number in range(CUSTOMERS):
        service.rank(f"customer:{number}", validate_only=False)
    service.note._waiting.clear()
    return process_time_ns() - began_ns


@pytest.mark.benchmark(group="explanation")
def test_record_costs_at_most_a_tenth_of_a_decision(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, silent = _service(), _service()
    silent.note = NoteDecision(silent.state, silent.writer, _NoLog(), silent._now_us, lambda seconds, call: None)  # type: ignore[arg-type]
    silent.ranker = RankOffers(silent.state, silent.clock, silent.note)
    real = noting.record_of
    spent: dict[str, list[int]] = {"with": [], "without": []}

    def both() -> None:
        monkeypatch.setattr(noting, "record_of", real)
        spent["with"].append(_spent_ns(recorded))
        monkeypatch.setattr(noting, "record_of", lambda decision, evaluations: None)
        spent["without"].append(_spent_ns(silent))

    benchmark.pedantic(both, rounds=ROUNDS if benchmark.enabled else 1)  # type: ignore[no-untyped-call]

    cost = min(spent["with"]) / min(spent["without"]) - 1
    benchmark.extra_info["cost"] = cost
    if benchmark.enabled:
        print(f"\nexplanation costs {cost:.1%} of a decision over {OFFERS:,} offers")
        assert cost <= BOUND
