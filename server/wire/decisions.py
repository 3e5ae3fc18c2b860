"""The servicer of DecisionService: decode, one call, encode."""

from opportune.v1 import decision_service_pb2 as pb

from server.domain.errors import OpportuneError, invalid_field
from server.execution.rank import RankOffers
from server.wire.convert.decision import decision_to, query_from
from server.wire.status import internal, rpc_status

MAX_BATCH = 100
LIMITS_BYTES = {"BatchRankOffers": 4 * 1024 * 1024}


class DecisionServicer:
    """Ranks offers, for one customer or for a batch of them."""

    def __init__(self, rank: RankOffers) -> None:
        self._rank = rank

    def RankOffers(self, request: pb.RankOffersRequest) -> pb.RankOffersResponse:
        """Ranks for one customer."""
        return pb.RankOffersResponse(decision=decision_to(self._rank(query_from(request))))

    def BatchRankOffers(self, request: pb.BatchRankOffersRequest) -> pb.BatchRankOffersResponse:
        """Ranks for each request of a batch on its own."""
        if not 1 <= len(request.requests) <= MAX_BATCH:
            raise invalid_field("requests", f"must be 1 to {MAX_BATCH}")
        return pb.BatchRankOffersResponse(results=[self._result(single) for single in request.requests])

    def _result(self, request: pb.RankOffersRequest) -> pb.BatchRankOffersResult:
        try:
            return pb.BatchRankOffersResult(decision=decision_to(self._rank(query_from(request))))
        except OpportuneError as error:
            return pb.BatchRankOffersResult(status=rpc_status(error))
        except Exception:
            return pb.BatchRankOffersResult(status=rpc_status(internal("BatchRankOffers")))
