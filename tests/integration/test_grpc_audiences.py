"""CountAudience over both transports."""

import asyncio
from typing import Any

import grpc
import pytest
from opportune.v1 import audience_service_pb2 as pb
from opportune.v1 import audience_service_pb2_grpc

from server.execution.audience import AT_ONCE, AudienceScan
from tests.integration.catalogs import market
from tests.integration.connection import TIMEOUT_S, Connection, consent, delta, refusal
from tests.integration.delta_streams import DeltaStream, load_request, purchase, visit
from tests.integration.test_grpc_identity import link


async def count(server: Connection, condition: str) -> pb.CountAudienceResponse:
    stub: Any = audience_service_pb2_grpc.AudienceServiceStub(server.channel)  # type: ignore[no-untyped-call]
    request = pb.CountAudienceRequest(condition=condition)
    response: pb.CountAudienceResponse = await stub.CountAudience(request, timeout=TIMEOUT_S)
    return response


async def load(server: Connection, prefix: str, customers: int) -> None:
    """Customers who have been here 1, 2, 3 … times."""
    call: Any = server.profiles.LoadProfiles(timeout=TIMEOUT_S)
    await call.write(load_request(prefix, 0))
    await call.read()
    at_once = 1_000
    for sequence, first in enumerate(range(0, customers, at_once), 1):
        places = range(first, min(first + at_once, customers))
        ids, visits = [f"{prefix}:{place}" for place in places], [float(place + 1) for place in places]
        await call.write(load_request(prefix, sequence, ids, visits=visits))
        while (await call.read()).acknowledged_sequence < sequence:
            pass
    await call.done_writing()


async def test_customers_are_counted_for_whom_the_condition_holds(spare_server: Connection) -> None:
    await spare_server.apply_deltas(
        delta("a", visits=5, tier="gold"), delta("b", visits=1, tier="gold"), delta("c", visits=9)
    )
    applied = await spare_server.apply_deltas(delta("d", interests=["topic-3"], tier="silver"))

    counted = await count(spare_server, 'customer.tier in ["gold", "silver"]')

    assert (counted.count, counted.customers, counted.profile_version) == (3, 4, applied.profile_version)
    assert (await count(spare_server, "customer.visits >= 5.0")).count == 2
    assert (await count(spare_server, "!has(customer.visits)")).count == 1
    assert (await count(spare_server, '"topic-3" in customer.interests')).count == 1


async def test_attributes_whose_purpose_was_not_granted_are_missing(spare_server: Connection) -> None:
    await spare_server.apply_deltas(
        delta("granted", spend=200), consent("granted", True), delta("refused", spend=200), consent("refused", False),
        delta("silent", spend=200),
    )  # fmt: skip

    assert (await count(spare_server, "customer.spend > 100.0")).count == 1
    assert (await count(spare_server, "!(customer.spend > 100.0)")).count == 0
    assert (await count(spare_server, "!has(customer.spend)")).count == 2


async def test_linked_identifiers_count_once_with_all_that_is_known_of_them(market_server: Connection) -> None:
    await market_server.apply_deltas(
        visit("count:web", 2), purchase("count:app", amount=300), purchase("count:other", amount=300)
    )
    before = await count(market_server, "customer.spent_30d >= 300.0 && customer.visits >= 2.0")
    await link(market_server, "count:web", "count:app")

    after = await count(market_server, "customer.spent_30d >= 300.0 && customer.visits >= 2.0")

    assert (before.count, after.count) == (0, 1)
    assert before.customers - after.customers == 1


async def test_decisions_that_were_just_made_are_in_the_history(spare_server: Connection) -> None:
    await spare_server.apply_deltas(delta("shown", visits=1), delta("unseen", visits=1))
    await spare_server.rank("shown")

    counted = [
        (await count(spare_server, condition)).count
        for condition in ("history.decisions_7d > 0.0", "history.decisions_7d == 0.0", "history.impressions_7d > 0.0")
    ]

    assert counted == [1, 1, 0]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("customer.vists > 1.0", "1:1: unknown attribute customer.vists; did you mean customer.visits?"),
        ("customer.visits > 1.0 &&\n&& true", "2:1:"),
        (
            'offer.department == "toys"',
            "an audience is asked of customers alone: customer.*, history.* and context.time",
        ),
        ("history.offer_clicks_7d > 0.0", "about one offer, which is not known here"),
        ("", "is required"),
        ("customer.visits > 1.0" + " " * 200_000, "at most 4,096 bytes"),
    ],
)
async def test_condition_that_does_not_compile_is_refused_with_what_is_wrong(
    server: Connection, condition: str, words: str
) -> None:
    refused = await refusal(count(server, condition))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert list(refused.violations) == ["condition"]
    assert words in refused.violations["condition"]


async def test_request_that_no_condition_needs_is_refused(server: Connection) -> None:
    refused = await refusal(count(server, "x" * 300_000))

    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE")


async def test_nothing_can_be_counted_before_the_first_catalog(bare_server: Connection) -> None:
    refused = await refusal(count(bare_server, "true"))

    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_CATALOG")


async def test_counting_goes_on_while_deltas_stream_in_and_offers_are_ranked(market_server: Connection) -> None:
    await load(market_server, "crowd", 20_000)
    stream = DeltaStream(market_server, "beside-counting")

    async def send() -> None:
        for sequence in range(1, 101):
            await stream.send(sequence, visit(f"crowd:{sequence}", 100_000), visit(f"late:{sequence}"))
            await stream.until(sequence)

    async def rank() -> None:
        for place in range(50):
            assert (await market_server.rank(f"crowd:{place + 10_000}")).offers

    streaming, ranking = asyncio.create_task(send()), asyncio.create_task(rank())
    counted = [await count(market_server, "customer.visits > 100000.0") for _ in range(2)]
    while not (streaming.done() and ranking.done()):
        counted.append(await count(market_server, "customer.visits > 100000.0"))
    await asyncio.gather(streaming, ranking)
    counted.append(await count(market_server, "customer.visits > 100000.0"))

    counts = [each.count for each in counted]
    assert counts == sorted(counts)
    assert counts[-1] == 100
    assert counted[-1].customers - counted[0].customers <= 100
    versions = [each.profile_version for each in counted]
    assert versions == sorted(versions)


async def test_other_attributes_while_customers_are_counted_abort_the_count(
    spare_server: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load(spare_server, "many", 5_000)
    began, published = asyncio.Event(), asyncio.Event()
    turn = AudienceScan.turn

    def slow_turn(scan: AudienceScan) -> bool:
        began.set()
        return turn(scan) if published.is_set() else True

    monkeypatch.setattr(AudienceScan, "turn", slow_turn)
    counting = asyncio.create_task(refusal(count(spare_server, "customer.visits > 1.0")))
    await began.wait()
    await spare_server.apply_catalog(market())
    published.set()

    refused = await counting

    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "CATALOG_CHANGED")
    assert (await count(spare_server, "customer.visits > 1.0")).count == 4_999


async def test_more_counts_than_may_go_on_at_a_time_are_all_answered(market_server: Connection) -> None:
    counted = await asyncio.gather(*(count(market_server, "true") for _ in range(4 * AT_ONCE)))

    assert len({(each.count, each.customers) for each in counted}) == 1
    assert counted[0].count == counted[0].customers > 0
