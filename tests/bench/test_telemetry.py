"""What watching adds: us for a call that does nothing, for decisions, and for a whole ranking, bare and watched.

The bound is for all of a ranking's accounts together: metrics, tracing that is on and not sampling, and logging.
"""

import logging
from collections.abc import Callable, Iterator
from random import Random
from time import perf_counter_ns
from typing import Any

import pytest
from opportune.v1 import decision_service_pb2 as pb

from server.execution.contents import CompleteContent
from server.execution.decision_watch import CLOSER_EVERY, DecisionWatch
from server.execution.rank import RankOffers
from server.telemetry.call_log import CallLog
from server.telemetry.logs import JsonFormatter, Pseudonyms
from server.telemetry.sampling import Sampler
from server.telemetry.spans import SpanExporter
from server.wire.call import Call
from server.wire.call_accounts import CallAccounts
from server.wire.decisions import DecisionServicer
from server.wire.endpoint import Endpoint
from tests.bench.bounds import assert_at_most
from tests.support.decided import decided, model, scored_offers
from tests.support.service import Service

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
@pytest.mark.parametrize("how", ["bare", "metrics", "tracing off", "unsampled", "sampled"])
def test_call(benchmark: Any, how: str) -> None:
    made = endpoint(None if how == "bare" else accounts(tracing=how != "metrics"))
    call = Call({"unsampled": UNSAMPLED, "sampled": SAMPLED}.get(how, PLAIN), "ipv4:127.0.0.1:1", 0.1)

    benchmark(made.answer, PAYLOAD, call)

    assert_at_most(benchmark, 40.0)


@pytest.mark.benchmark(group="telemetry: us for a call that does nothing")
def test_call_with_a_log_line(benchmark: Any, lines: None) -> None:
    made = endpoint(accounts(sample=1.0))

    benchmark(made.answer, PAYLOAD, Call(PLAIN, "", 0.1))


@pytest.mark.benchmark(group="telemetry: us for sixteen decisions of 350 offers, one of which is looked at closer")
def test_decisions(benchmark: Any) -> None:
    watch, decision, evaluations = decided()

    def sixteen() -> None:
        for _ in range(CLOSER_EVERY):
            watch(decision, evaluations)

    benchmark(sixteen)

    assert_at_most(benchmark, 100.0)


MOST_US = 15.0
"""What a ranking may cost more for being watched."""

_TURNS = 300


@pytest.mark.benchmark(group="telemetry: us for RankOffers over 1,000 offers")
def test_share_of_a_ranking(benchmark: Any) -> None:
    bare, watched = ranking(is_watched=False), ranking(is_watched=True)

    turns = [(_spent_us(bare), _spent_us(watched)) for _ in range(_TURNS if benchmark.enabled else 1)]
    benchmark(watched)

    # The quietest turns: whatever else the machine does only adds to the others.
    bare_us, watched_us = (min(spent) for spent in zip(*turns, strict=True))
    if benchmark.enabled:
        print(f"bare {bare_us:.1f} us, watched {watched_us:.1f} us, ratio {watched_us / bare_us:.3f}")
        assert watched_us - bare_us <= MOST_US


def _spent_us(call: Callable[[], object]) -> float:
    began = perf_counter_ns()
    for _ in range(CLOSER_EVERY):
        call()
    return (perf_counter_ns() - began) / CLOSER_EVERY / 1e3


def ranking(is_watched: bool) -> Callable[[], object]:
    """A call of RankOffers over 1,000 offers, as a transport makes it."""
    service = Service(scored_offers(1_000), model())
    made: Any = DecisionServicer(ranker_of(service, is_watched), CompleteContent(service.state, None), None, None)  # type: ignore[arg-type]
    call = Call(UNSAMPLED, "ipv4:127.0.0.1:1", 10.0)
    if not is_watched:
        bare = Endpoint(PATH, pb.RankOffersRequest, made.RankOffers, 10_000, takes_time=True)
        return lambda: bare.answer(PAYLOAD, call)
    kept = accounts(tracing=True)
    kept.know([PATH])
    full = Endpoint(
        PATH, pb.RankOffersRequest, made.RankOffers, 10_000, takes_time=True,
        guards=(kept.begin,), observers=(kept.end,),
    )  # fmt: skip
    return lambda: full.answer(PAYLOAD, call)


def ranker_of(service: Service, is_watched: bool) -> RankOffers:
    """Nobody keeps what was evaluated: memory that is used again at once is half of a decision's speed."""
    if not is_watched:
        return service.ranker
    watch = DecisionWatch(lambda: service.state.models)
    return RankOffers(service.state, service.clock, service.note, Random(7).getrandbits, watch=watch)
