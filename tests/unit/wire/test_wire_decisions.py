from itertools import pairwise
from time import sleep
from typing import Any

import pytest
from opportune.v1 import decision_service_pb2 as pb

from server.domain.decision import Decision, RankQuery
from server.execution.contents import CompleteContent
from server.wire.decisions import DecisionServicer
from tests.support.catalogs import catalog_document, offer_entry
from tests.support.service import Service

TAKES_S = 0.002


class SlowRanker:
    """Takes its time for each ranking, and notes how long each may take."""

    def __init__(self, service: Service) -> None:
        self._ranker = service.ranker
        self.left_s: list[float | None] = []

    def __call__(self, query: RankQuery, time_left_s: float | None = None) -> Decision:
        self.left_s.append(time_left_s)
        sleep(TAKES_S)
        return self._ranker(query, time_left_s)


def batch(size: int) -> pb.BatchRankOffersRequest:
    return pb.BatchRankOffersRequest(
        requests=[pb.RankOffersRequest(customer_id=f"c:{n}", placement_id="home") for n in range(size)]
    )


@pytest.fixture
def slow() -> tuple[SlowRanker, DecisionServicer]:
    service = Service(catalog_document([offer_entry("a")]))
    ranker = SlowRanker(service)
    nobody: Any = None
    made: Any = ranker
    return ranker, DecisionServicer(made, CompleteContent(service.state, None), nobody, nobody)


async def test_requests_of_a_batch_share_its_deadline(slow: tuple[SlowRanker, DecisionServicer]) -> None:
    ranker, servicer = slow

    response = await servicer.BatchRankOffers(batch(5), 4 * TAKES_S)

    left_s = [each for each in ranker.left_s if each is not None]
    assert len(left_s) == 5
    assert left_s[0] <= 4 * TAKES_S
    assert all(earlier - later >= TAKES_S for earlier, later in pairwise(left_s))
    # Whoever comes when nothing is left is answered all the same.
    assert left_s[-1] < 0
    assert [len(result.decision.offers) for result in response.results] == [1] * 5


async def test_batch_without_a_deadline_gives_none(slow: tuple[SlowRanker, DecisionServicer]) -> None:
    ranker, servicer = slow

    await servicer.BatchRankOffers(batch(2), None)

    assert ranker.left_s == [None, None]
