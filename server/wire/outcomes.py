"""The servicer of OutcomeService: decode, one call, encode."""

from opportune.v1 import outcome_service_pb2 as pb

from server.domain.errors import invalid_field
from server.execution.outcomes import MAX_OUTCOMES, ListOfferResults, ReportOutcomes
from server.execution.state import Clock
from server.wire.convert.outcome import answer_to, outcomes_from, result_to

LIMITS_BYTES = {"ReportOutcomes": 1024 * 1024}


class OutcomeServicer:
    """Takes outcomes and lists what offers have brought."""

    def __init__(self, report: ReportOutcomes, results: ListOfferResults, clock: Clock) -> None:
        self._report = report
        self._results = results
        self._clock = clock

    async def ReportOutcomes(self, request: pb.ReportOutcomesRequest) -> pb.ReportOutcomesResponse:
        """Records outcomes."""
        if len(request.outcomes) > MAX_OUTCOMES:
            # Checked before the messages are looked at one by one.
            raise invalid_field("outcomes", f"must be 1 to {MAX_OUTCOMES:,}")
        recorded = await self._report(outcomes_from(request.outcomes, self._clock()))
        return pb.ReportOutcomesResponse(
            results=map(answer_to, recorded.answers), profile_version=recorded.profile_version
        )

    def ListOfferResults(self, request: pb.ListOfferResultsRequest) -> pb.ListOfferResultsResponse:
        """Lists a page of results."""
        results, token = self._results(request.page_size, request.page_token)
        return pb.ListOfferResultsResponse(results=map(result_to, results), next_page_token=token)
