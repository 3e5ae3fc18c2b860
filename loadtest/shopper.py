"""Shoppers: each asks for offers, and says what became of the first two, as a shop does that shows them."""

import itertools
import os
from collections import Counter
from typing import Any

import grpc
import grpc.aio
from opportune.v1.decision_service_pb2 import RankOffersResponse
from opportune.v1.outcome_pb2 import OUTCOME_KIND_CLICK, OUTCOME_KIND_IMPRESSION, Attribution
from opportune.v1.outcome_service_pb2 import ReportOutcomesRequest, ReportOutcomesResponse

from loadtest.tally import OK
from loadtest.transport import DEADLINE_S, METHOD

REPORT = "/opportune.v1.OutcomeService/ReportOutcomes"
REFUSED = "REFUSED"
"""An outcome that was not taken."""

UNUSED = "UNUSED"
"""There was nothing to show, so nothing is reported."""


class ShopperTransport:
    """RankOffers and ReportOutcomes, one after the other, on a connection of their own."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._rank: Any = self._channel.unary_unary(METHOD)
        self._report: Any = self._channel.unary_unary(REPORT)
        self._numbers = itertools.count()
        self._attributions: Counter[str] = Counter()

    async def send(self, payload: bytes) -> str:
        """Ranks for the customer of a serialised request and reports; the status' name."""
        try:
            ranked = RankOffersResponse.FromString(await self._rank(payload, timeout=DEADLINE_S))
            if not ranked.decision.offers:
                self._attributions[UNUSED] += 1
                return OK
            reported = await self._report(self._outcomes(ranked).SerializeToString(), timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return self._read(ReportOutcomesResponse.FromString(reported))

    def _outcomes(self, ranked: RankOffersResponse) -> ReportOutcomesRequest:
        """The first offer was clicked, the second one seen."""
        report = ReportOutcomesRequest()
        for offer, kind in zip(ranked.decision.offers, (OUTCOME_KIND_CLICK, OUTCOME_KIND_IMPRESSION), strict=False):
            number = f"loadtest-{os.getpid()}-{next(self._numbers)}"
            report.outcomes.add(outcome_id=number, attribution_token=offer.attribution_token, kind=kind)
        return report

    def _read(self, response: ReportOutcomesResponse) -> str:
        self._attributions.update(Attribution.Name(result.attribution) for result in response.results)
        return REFUSED if any(result.status.code for result in response.results) else OK

    def rungs(self) -> Counter[str]:
        """What became of the outcomes since the last time."""
        attributions, self._attributions = self._attributions, Counter()
        return attributions

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()
