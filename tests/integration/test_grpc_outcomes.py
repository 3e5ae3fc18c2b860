"""ReportOutcomes and ListOfferResults over both transports."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from opportune.v1 import outcome_pb2, outcome_service_pb2
from opportune.v1.outcome_pb2 import Outcome

from tests.integration.connection import TIMEOUT_S, Connection, refusal
from tests.integration.test_data_folder import running

CATALOG = """
currency: USD
contacts: {hold: 15m}
offers:
  - id: once
    tactic: discount
    value: {revenue: 2, margin: 1}
    caps: [{count: 1, window: 1d, on: impression}]
    creatives: [{id: w, channel: web}]
  - id: always
    tactic: discount
    value: {revenue: 1, margin: 1}
    creatives: [{id: w, channel: web}]
placements:
  - {id: home, channel: web, slots: 2}
"""
IMPRESSION = outcome_pb2.OUTCOME_KIND_IMPRESSION
CONVERTED = outcome_pb2.OUTCOME_KIND_CONVERTED


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    file = tmp_path / "catalog.yaml"
    file.write_text(CATALOG)
    return file


async def report(server: Connection, *outcomes: Outcome) -> Any:
    request = outcome_service_pb2.ReportOutcomesRequest(outcomes=outcomes)
    return await server.outcomes.ReportOutcomes(request, timeout=TIMEOUT_S)


async def test_outcomes_are_attributed_counted_and_capped_also_after_a_restart(
    transport: str, tmp_path: Path, catalog: Path
) -> None:
    data = tmp_path / "data"
    async with running(transport, data=data, catalog=catalog) as (_, server):
        decision = await server.rank("c:1")
        token = decision.offers[0].attribution_token
        sold = Outcome(outcome_id="o-1", attribution_token=token, kind=CONVERTED, revenue=3.0, profit=1.5)

        response = await report(server, sold, Outcome(outcome_id="o-2", attribution_token="no", kind=IMPRESSION))

        first, second = response.results
        assert first.attribution == outcome_pb2.ATTRIBUTION_ATTRIBUTED
        assert first.decision_id == decision.decision_id
        assert (second.attribution, second.status.code) == (outcome_pb2.ATTRIBUTION_UNSPECIFIED, 3)
        assert "outcomes[1].attribution_token" in second.status.message
        later = await server.rank("c:1", min_profile_version=response.profile_version)
        assert [offer.offer_id for offer in later.offers] == ["always"]

    async with running(transport, data=data, catalog=catalog) as (_, server):
        assert [offer.offer_id for offer in (await server.rank("c:1")).offers] == ["always"]
        (again,) = (await report(server, sold)).results
        assert again.attribution == outcome_pb2.ATTRIBUTION_REPEATED
        unknown = Outcome(outcome_id="o-3", attribution_token=f"{'0' * 32}.0", kind=IMPRESSION)
        (lost,) = (await report(server, unknown)).results
        assert lost.attribution == outcome_pb2.ATTRIBUTION_UNATTRIBUTED
        request = outcome_service_pb2.ListOfferResultsRequest()
        (result,) = (await server.outcomes.ListOfferResults(request, timeout=TIMEOUT_S)).results
        assert (result.offer_id, result.impressions, result.converted, result.profit) == ("once", 1, 1, 1.5)


async def test_bad_reports_are_refused_with_their_fields(transport: str, catalog: Path) -> None:
    async with running(transport, catalog=catalog) as (_, server):
        refused = await refusal(report(server))
        assert refused.reason == "INVALID_FIELD"
        outcomes = [
            Outcome(outcome_id="o", customer_id="c:1", offer_id="once"),
            Outcome(outcome_id="o", customer_id="c:1", offer_id="once", kind=IMPRESSION, revenue=float("inf")),
            Outcome(
                outcome_id="o", customer_id="c:1", offer_id="once", kind=IMPRESSION, event_time=Timestamp(seconds=-1)
            ),
        ]

        results = (await report(server, *outcomes)).results

        fields = ("kind", "revenue", "event_time")
        assert [result.status.code for result in results] == [3, 3, 3]
        for place, (result, field) in enumerate(zip(results, fields, strict=True)):
            assert f"outcomes[{place}].{field}" in result.status.message
