"""A server that answers with ten made-up offers, so that the load test can be tested without ours.

`python tests/unit/loadtest/fake_server.py PORT [DATA [SETTING…]]`. With a data folder it keeps just as much there as
the scenarios look at: how many messages it took, and, unless told to `forget`, who gets the offer of the probes.
"""

import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from opportune.v1 import profile_service_pb2 as pb
from opportune.v1.audience_service_pb2 import CountAudienceRequest, CountAudienceResponse
from opportune.v1.catalog_service_pb2 import ApplyCatalogRequest, ApplyCatalogResponse
from opportune.v1.decision_pb2 import DECISION_VIEW_FULL, REASON_LOST, RUNG_FULL, Decision
from opportune.v1.decision_service_pb2 import RankOffersRequest, RankOffersResponse
from opportune.v1.outcome_pb2 import ATTRIBUTION_ATTRIBUTED
from opportune.v1.outcome_service_pb2 import ReportOutcomesRequest, ReportOutcomesResponse
from opportune.v1.profile_pb2 import Profile, ProfileDelta
from prometheus_client import CollectorRegistry, Histogram, start_http_server

LOST = 25
PROBE = "probe"
SERVICES = {
    "RankOffers": "opportune.v1.DecisionService",
    "CountAudience": "opportune.v1.AudienceService",
    "ApplyCatalog": "opportune.v1.CatalogService",
    "ReportOutcomes": "opportune.v1.OutcomeService",
}


class Facts:
    """What the server knows."""

    def __init__(self, data: Path | None, settings: Sequence[str]) -> None:
        self._file = None if data is None else data / "facts.json"
        self.offset = 0
        self.catalogs = 1
        self.probes: set[str] = set()
        self.loaded: dict[str, tuple[pb.LoadProfilesRequest, int]] = {}
        self.miscounts = "miscount" in settings
        if data is not None and self._file is not None:
            data.mkdir(exist_ok=True)
            if self._file.exists():
                self.offset, probes = json.loads(self._file.read_text())
                self.probes = set() if "forget" in settings else set(probes)
            sqlite3.connect(data / "journal.db").execute(
                "CREATE TABLE IF NOT EXISTS journal (entry)"
            ).connection.close()
            if "1" in settings:
                (data / "snapshots").mkdir()
                (data / "snapshots" / f"{self.offset:020d}.snapshot").write_bytes(b"made up")

    def take(self, deltas: Iterable[ProfileDelta] = ()) -> int:
        """Takes a message and returns the version."""
        self.offset += 1
        new = {delta.customer_id for delta in deltas if PROBE in delta.attributes.set}
        self.probes |= new
        if self._file is not None and (new or not deltas):
            self._file.write_text(json.dumps([self.offset, sorted(self.probes)]))
        return self.offset


class Service:
    """The methods that the scenarios call."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    async def rank_offers(self, request: RankOffersRequest, context: object) -> RankOffersResponse:
        decision = Decision(decision_id="0" * 32, customer_id=request.customer_id, rung=RUNG_FULL)
        if request.customer_id in self._facts.probes:
            decision.offers.add(offer_id=PROBE, creative_id="c1", propensity=0.01, value=99.0)
        for index in range(10):
            decision.offers.add(offer_id=f"offer-{index}", creative_id="c1", propensity=0.01, value=9.0)
        if request.view == DECISION_VIEW_FULL:
            for index in range(LOST):
                decision.exclusions.add(offer_id=f"lost-{index}", reason=REASON_LOST)
        return RankOffersResponse(decision=decision)

    async def apply(self, request: pb.ApplyProfileDeltasRequest, context: object) -> pb.ApplyProfileDeltasResponse:
        return pb.ApplyProfileDeltasResponse(profile_version=self._facts.take(request.deltas))

    async def stream(
        self, requests: AsyncIterator[pb.StreamProfileDeltasRequest], context: object
    ) -> AsyncIterator[pb.StreamProfileDeltasResponse]:
        async for request in requests:
            version = self._facts.take(request.deltas) if request.deltas else 0
            yield pb.StreamProfileDeltasResponse(
                acknowledged_sequence=request.sequence, profile_version=version, max_outstanding=16
            )

    async def load(
        self, requests: AsyncIterator[pb.LoadProfilesRequest], context: object
    ) -> AsyncIterator[pb.LoadProfilesResponse]:
        async for request in requests:
            self._facts.loaded |= {each: (request, place) for place, each in enumerate(request.customer_ids)}
            version = self._facts.take() if request.customer_ids else 0
            yield pb.LoadProfilesResponse(acknowledged_sequence=request.sequence, profile_version=version)

    async def get_profile(self, request: pb.GetProfileRequest, context: object) -> Profile:
        profile = Profile(customer_id=request.customer_id)
        loaded, place = self._facts.loaded.get(request.customer_id, (pb.LoadProfilesRequest(), 0))
        for column in loaded.columns:
            profile.attributes[column.name].number_value = column.values[place]
        if request.customer_id in self._facts.probes:
            profile.attributes[PROBE].bool_value = True
        return profile

    async def count(self, request: CountAudienceRequest, context: object) -> CountAudienceResponse:
        batches = {id(loaded): loaded for loaded, _ in self._facts.loaded.values()}.values()
        count = sum(_matched(loaded) for loaded in batches) + self._facts.miscounts
        return CountAudienceResponse(count=count, customers=len(self._facts.loaded), profile_version=1)

    async def publish(self, request: ApplyCatalogRequest, context: object) -> ApplyCatalogResponse:
        self._facts.catalogs += 1
        return ApplyCatalogResponse(catalog_version=self._facts.catalogs)

    async def report(self, request: ReportOutcomesRequest, context: object) -> ReportOutcomesResponse:
        response = ReportOutcomesResponse()
        for _ in request.outcomes:
            response.results.add(attribution=ATTRIBUTION_ATTRIBUTED)
        return response


def _matched(loaded: pb.LoadProfilesRequest) -> int:
    """The customers of a batch who are in the audience of the load test, whatever the request's condition says."""
    values = {column.name: np.array(column.values) for column in loaded.columns}
    return int(np.sum((values["a07"] < 70) & (values["a31"] >= 30) & (values["c0"] < 7) & (values["b1"] == 1)))


def handlers(service: Service) -> dict[str, Any]:
    """The methods by their names."""
    unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
    methods = (
        ("RankOffers", unary, service.rank_offers, RankOffersRequest),
        ("ApplyProfileDeltas", unary, service.apply, pb.ApplyProfileDeltasRequest),
        ("StreamProfileDeltas", stream, service.stream, pb.StreamProfileDeltasRequest),
        ("LoadProfiles", stream, service.load, pb.LoadProfilesRequest),
        ("GetProfile", unary, service.get_profile, pb.GetProfileRequest),
        ("CountAudience", unary, service.count, CountAudienceRequest),
        ("ApplyCatalog", unary, service.publish, ApplyCatalogRequest),
        ("ReportOutcomes", unary, service.report, ReportOutcomesRequest),
    )
    return {
        name: kind(handler, request.FromString, lambda reply: reply.SerializeToString())
        for name, kind, handler, request in methods
    }


def serve_metrics(address: str) -> None:
    """Metrics of a loop that has never been late, or anything else."""
    registry = CollectorRegistry()
    Histogram("opportune_loop_lag_seconds", "Made up.", buckets=(0.0005, 0.01), registry=registry)
    host, _, port = address.rpartition(":")
    start_http_server(int(port), host, registry)


async def serve(port: int, data: Path | None, settings: list[str]) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for name, handler in handlers(Service(Facts(data, settings))).items():
        service = SERVICES.get(name, "opportune.v1.ProfileService")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    if "--metrics-listen" in settings:
        serve_metrics(settings[settings.index("--metrics-listen") + 1])
    await server.start()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None, sys.argv[3:]))
