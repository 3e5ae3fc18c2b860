"""The last delta before a server is killed, and whether the next one has it."""

from dataclasses import dataclass
from typing import Self

import grpc
from opportune.v1.decision_service_pb2 import RankOffersRequest, RankOffersResponse
from opportune.v1.profile_service_pb2 import ApplyProfileDeltasRequest, ApplyProfileDeltasResponse

from loadtest import ingest, transport
from loadtest.probe_offer import PROBE, probe_delta
from loadtest.read_back import DEADLINE_S, NotKeptError, get_profile


@dataclass(frozen=True, slots=True)
class Marker:
    """A delta that was acknowledged, at a version. It makes its customer eligible for the offer of the probes.

    `request` ranks offers for that customer at the version of the acknowledgement.
    """

    request: RankOffersRequest
    profile_version: int

    @classmethod
    def set_at(cls, address: str, payload: bytes) -> Self:
        """Sends the delta for the customer of a serialised request, and waits for its acknowledgement."""
        request = RankOffersRequest.FromString(payload)
        deltas = [probe_delta(request.customer_id)]
        with grpc.insecure_channel(address) as channel:
            apply = channel.unary_unary(
                ingest.METHOD, ApplyProfileDeltasRequest.SerializeToString, ApplyProfileDeltasResponse.FromString
            )
            message = ApplyProfileDeltasRequest(source="loadtest-marker", deltas=deltas)
            request.min_profile_version = apply(message, timeout=DEADLINE_S).profile_version
        return cls(request, request.min_profile_version)

    def require(self, channel: grpc.Channel) -> None:
        """Reads the delta's customer, and ranks offers for them at the delta's version.

        Raises:
            NotKeptError: either of the two does not know the delta.
            grpc.RpcError: the server has not got to the version, or does not answer.
        """
        profile = get_profile(channel, self.request.customer_id)
        rank = channel.unary_unary(transport.METHOD, RankOffersRequest.SerializeToString, RankOffersResponse.FromString)
        offers = [offer.offer_id for offer in rank(self.request, timeout=DEADLINE_S).decision.offers]
        if not profile.attributes[PROBE].bool_value or PROBE not in offers:
            raise NotKeptError(f"The last acknowledged delta is missing: {profile}, offers {offers}")
