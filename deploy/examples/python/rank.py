"""Ranks offers for one customer: `python rank.py HOST:PORT CUSTOMER PLACEMENT [TIME]`; RFC 3339, by default now."""

import asyncio
import sys
import uuid

import grpc
from opportune.client import open_channel
from opportune.v1 import decision_pb2
from opportune.v1 import decision_service_pb2 as pb
from opportune.v1 import decision_service_pb2_grpc as rpc


async def main(address: str, customer: str, placement: str, time: str | None = None) -> int:
    # One channel for the life of the process. It brings the retries that the service publishes.
    async with open_channel(address) as channel:
        stub = rpc.DecisionServiceStub(channel)
        # With a request_id a retry is answered with the first decision, whatever became of the first answer.
        request = pb.RankOffersRequest(
            customer_id=customer, placement_id=placement, include_content=True, request_id=uuid.uuid4().hex
        )
        if time is not None:
            # To see what another moment would have been answered; who shows the offers leaves it out.
            request.context.time.FromJsonString(time)
        try:
            # The deadline is yours: the server ranks as well as the time allows, and says how (`rung`).
            # Behind a mesh the header finds the customer's server.
            response = await stub.RankOffers(request, timeout=0.5, metadata=(("x-opportune-customer", customer),))
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            return 1
    decision = response.decision
    for offer in decision.offers:
        print(f"{offer.offer_id}\t{offer.expected_value:.4f}\t{offer.content.get('title', '')}")
    if not decision.offers:
        print(decision_pb2.Result.Name(decision.result))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
