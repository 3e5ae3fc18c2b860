"""A server that answers RankOffers with ten made-up offers, so that the load test can be tested without ours.

`python tests/unit/loadtest/fake_server.py PORT`
"""

import sys

import grpc
import grpc.aio
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from opportune.v1.decision_pb2 import DECISION_VIEW_FULL, REASON_LOST, RUNG_FULL, Decision
from opportune.v1.decision_service_pb2 import RankOffersRequest, RankOffersResponse
from opportune.v1.profile_service_pb2 import ApplyProfileDeltasRequest, ApplyProfileDeltasResponse

LOST = 25


async def rank_offers(request: RankOffersRequest, context: object) -> RankOffersResponse:
    decision = Decision(decision_id="0" * 32, customer_id=request.customer_id, rung=RUNG_FULL)
    for index in range(10):
        decision.offers.add(offer_id=f"offer-{index}", creative_id="c1", propensity=0.01, value=9.0)
    if request.view == DECISION_VIEW_FULL:
        for index in range(LOST):
            decision.exclusions.add(offer_id=f"lost-{index}", reason=REASON_LOST)
    return RankOffersResponse(decision=decision)


async def apply(request: ApplyProfileDeltasRequest, context: object) -> ApplyProfileDeltasResponse:
    return ApplyProfileDeltasResponse(profile_version=len(request.deltas))


async def serve(port: int) -> None:
    server = grpc.aio.server()
    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    methods = (
        ("opportune.v1.DecisionService", "RankOffers", rank_offers, RankOffersRequest),
        ("opportune.v1.ProfileService", "ApplyProfileDeltas", apply, ApplyProfileDeltasRequest),
    )
    for service, method, handler, request in methods:
        handlers = {
            method: grpc.unary_unary_rpc_method_handler(
                handler, request.FromString, lambda reply: reply.SerializeToString()
            )
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
