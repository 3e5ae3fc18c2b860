"""What contact policy adds to a decision, by what the customer was shown before: 1,000 offers, three caps for each."""

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from server.domain.decision import Context, RankQuery
from server.execution.candidates import find_eligible, hold_back, read_variables
from server.execution.evaluation import Evaluation, Moment, begin
from tests.bench.bounds import assert_at_most
from tests.support.catalogs import Document, catalog_document, offer_entry, placement_entry
from tests.support.service import Service

OFFERS = 1_000
THREE_CAPS: list[Document] = [
    {"count": 3, "window": "30d", "on": "impression"},
    {"count": 20, "window": "7d", "of": "exclusion_group", "on": "decision"},
    {"count": 50, "window": "30d", "of": "tactic", "on": "accepted"},
]


def offers(**more: Any) -> list[Document]:
    """Offers in groups of ten, of five tactics."""
    return [
        offer_entry(f"offer-{number}", 1.0 + number % 97, exclusion_group=f"group-{number % 100}",
                    tactic=f"tactic-{number % 5}", **more)
        for number in range(OFFERS)
    ]  # fmt: skip


def stage(service: Service, customer_id: str = "customer:1") -> Callable[[], Evaluation]:
    """The stage that holds back, run again and again for a customer."""
    time = service.clock.now
    moment = Moment(time, service.note.next_number(), 7, perf_counter_ns)
    evaluation = begin(service.state.snapshot(), RankQuery(customer_id, "home", Context()), moment, "home")
    read_variables(evaluation)
    find_eligible(evaluation)
    allowed = evaluation.allowed

    def run() -> Evaluation:
        evaluation.allowed = allowed
        hold_back(evaluation)
        return evaluation

    return run


def shown(service: Service, decisions: int) -> Service:
    """A service whose customer was shown so many offers, one a day."""
    for _ in range(decisions):
        service.rank()
        service.clock.advance(days=1)
    return service


@pytest.mark.parametrize(("decisions", "bound_us"), [(0, 6), (10, 15), (100, 15)])
def test_three_caps_for_each_offer(benchmark: BenchmarkFixture, decisions: int, bound_us: float) -> None:
    service = shown(Service(catalog_document(offers(caps=THREE_CAPS), [placement_entry(slots=1)])), decisions)

    evaluation = benchmark(stage(service))

    assert len(evaluation.allowed) == OFFERS
    assert_at_most(benchmark, bound_us)


@pytest.mark.parametrize("full", [False, True])
def test_a_shared_cap_for_each_offer(benchmark: BenchmarkFixture, full: bool) -> None:
    cap = {"count": 1 if full else 1_000, "window": "30d", "per": "global", "on": "decision"}
    service = Service(catalog_document(offers(caps=[cap]), [placement_entry(slots=100)]))
    for number in range(5):
        service.rank(f"customer:{number}")

    evaluation = benchmark(stage(service))

    assert len(evaluation.allowed) == (OFFERS - 500 if full else OFFERS)
    assert_at_most(benchmark, 60)


def test_ten_budgets(benchmark: BenchmarkFixture) -> None:
    budgets = [
        {"id": f"budget-{tactic}", "limit": 1_000.0, "window": "7d", "on": "decision"} for tactic in range(10)
    ]  # fmt: skip
    service = shown(Service(catalog_document(offers(), budgets=budgets)), 10)

    benchmark(stage(service))

    assert_at_most(benchmark, 40)


def test_entering_a_decision(benchmark: BenchmarkFixture) -> None:
    service = Service(catalog_document(offers(caps=THREE_CAPS), [placement_entry(slots=10)]))
    customers = iter(range(1_000_000_000))

    decision = benchmark(lambda: service.rank(f"customer:{next(customers) % 100_000}"))

    assert len(decision.offers) == len({offer.offer_id for offer in decision.offers}) == 10
