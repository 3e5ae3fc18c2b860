"""What accounts add to a call: CPU us for an endpoint whose handler does nothing, bare and watched.

A decision adds what `DecisionWatch` takes: see the second group.
"""

import logging
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from opportune.v1 import decision_service_pb2 as pb

from server.execution.decision_watch import CLOSER_EVERY
from server.telemetry.call_log import CallLog
from server.telemetry.logs import JsonFormatter, Pseudonyms
from server.telemetry.sampling import Sampler
from server.telemetry.spans import SpanExporter
from server.wire.call import Call
from server.wire.call_accounts import CallAccounts
from server.wire.endpoint import Endpoint
from tests.bench.bounds import assert_at_most
from tests.support.decided import decided

PATH = "/opportune.v1.DecisionService/RankOffers"
PLAIN = (
    (":authority", "opportune:50051"),
    ("user-agent", "grpc-c++/1.85"),
    ("accept-encoding", "gzip"),
    ("x-request-id", "0af7651916cd43dd8448eb211c80319c"),
)
UNSAMPLED = (*PLAIN, ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"))
SAMPLED = (*PLAIN, ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))


class Full(SpanExporter):
    """Takes calls, and forgets them."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.taken = 0

    def put(self, call: object) -> None:
        self.taken += 1


def handler(request: pb.RankOffersRequest) -> pb.RankOffersResponse:
    return pb.RankOffersResponse()


def endpoint(accounts: CallAccounts | None) -> Endpoint:
    if accounts is None:
        return Endpoint(PATH, pb.RankOffersRequest, handler, 1_000)
    accounts.know([PATH])
    return Endpoint(PATH, pb.RankOffersRequest, handler, 1_000, guards=(accounts.begin,), observers=(accounts.end,))


def accounts(tracing: bool = False, sample: float = 0.0) -> CallAccounts:
    log = CallLog(sample, Pseudonyms(b"key"), Random(1).random)
    return CallAccounts(log, Sampler(0.0, Random(1).getrandbits), Full()) if tracing else CallAccounts(log)


@pytest.fixture
def lines() -> Iterator[None]:
    """Log lines are made, and go nowhere."""
    handler = logging.StreamHandler(open("/dev/null", "w"))  # noqa: PTH123, SIM115
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("server")
    logger.addHandler(handler)
    logger.propagate = False
    level = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(level)
    logger.propagate = True
    logger.removeHandler(handler)
    handler.stream.close()


PAYLOAD = pb.RankOffersRequest(customer_id="c:1", placement_id="home").SerializeToString()


@pytest.mark.benchmark(group="telemetry: us for a call that does nothing")
@pytest.mark.parametrize(
    ("how", "metadata"),
    [("bare", PLAIN), ("metrics", PLAIN), ("off", PLAIN), ("unsampled", UNSAMPLED), ("sampled", SAMPLED)],
)
def test_call(benchmark: Any, how: str, metadata: Any) -> None:
    made = endpoint(None if how == "bare" else accounts(tracing=how != "metrics"))
    call = Call(metadata, "ipv4:127.0.0.1:1", 0.1)

    benchmark(made.answer, PAYLOAD, call)

    assert_at_most(benchmark, 40.0)


@pytest.mark.benchmark(group="telemetry: us for a call that does nothing")
def test_call_with_a_log_line(benchmark: Any, lines: None) -> None:
    made = endpoint(accounts(sample=1.0))

    benchmark(made.answer, PAYLOAD, Call(PLAIN, "", 0.1))


@pytest.mark.benchmark(group="telemetry: us for eight decisions of 350 offers, one of which is looked at closer")
def test_decisions(benchmark: Any) -> None:
    watch, decision, evaluations = decided()

    def eight() -> None:
        for _ in range(CLOSER_EVERY):
            watch(decision, evaluations)

    benchmark(eight)

    assert_at_most(benchmark, 100.0)
