"""BatchRankOffers over both transports: each request is answered on its own."""

import grpc
import pytest
from opportune.v1.decision_service_pb2 import RankOffersRequest

from tests.integration.connection import Connection, delta, refusal, refusal_in


def request(customer_id: str, placement_id: str = "home", **fields: int) -> RankOffersRequest:
    return RankOffersRequest(customer_id=customer_id, placement_id=placement_id, **fields)  # type: ignore[arg-type]


async def test_each_request_is_answered_in_its_place(server: Connection) -> None:
    await server.apply_deltas(delta("batch:gold", visits=10, tier="gold"))

    results = await server.rank_all([request("batch:new"), request("batch:gold"), request("batch:new", "newsletter")])

    answers = [(result.decision.customer_id, result.decision.placement_id) for result in results]
    assert answers == [("batch:new", "home"), ("batch:gold", "home"), ("batch:new", "newsletter")]
    assert results[1].decision.offers[0].offer_id == "gold-only"


async def test_bad_request_gets_the_status_that_it_would_get_alone_and_its_neighbours_get_decisions(
    server: Connection,
) -> None:
    bad = [request("batch:1", "nowhere"), request("batch:1", max_offers=-1)]

    results = await server.rank_all([request("batch:0"), *bad, request("batch:2")])

    assert [result.WhichOneof("result") for result in results] == ["decision", "status", "status", "decision"]
    unknown, negative = (refusal_in(result.status) for result in results[1:3])
    assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "PLACEMENT_NOT_FOUND")
    assert (negative.code, negative.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert (unknown.domain, negative.domain) == ("opportune", "opportune")
    assert list(negative.violations) == ["max_offers"]
    assert "batch:1" not in unknown.everything + negative.everything


async def test_profiles_behind_says_when_to_retry_within_the_batch_too(server: Connection) -> None:
    results = await server.rank_all([request("batch:ahead", min_profile_version=1 << 40)])

    behind = refusal_in(results[0].status)
    assert (behind.code, behind.reason) == (grpc.StatusCode.UNAVAILABLE, "PROFILE_BEHIND")
    assert behind.retry_delay_ms == 50


async def test_hundred_requests_are_taken(server: Connection) -> None:
    results = await server.rank_all([request(f"batch:{number}") for number in range(100)])

    assert [result.decision.customer_id for result in results] == [f"batch:{number}" for number in range(100)]


@pytest.mark.parametrize("count", [0, 101])
async def test_empty_and_too_large_batches_are_refused(server: Connection, count: int) -> None:
    refused = await refusal(server.rank_all([request("batch:many")] * count))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert list(refused.violations) == ["requests"]
