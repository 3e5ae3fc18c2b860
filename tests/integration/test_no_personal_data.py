"""A thousand values that nobody but their customer may see are sent to a real server through every method.

Then everything that it has told anybody else is searched for them: log lines, metrics, spans, errors and trailers, and
the decision log for what must not be in it. Answers may have them: who asks for a customer gets the customer.

Not planted is what stands for a thing of the catalog: an error repeats the id of a placement that is not there, and the
value of a category in a condition that is not declared, so that whoever mistyped it finds it.
"""

import asyncio
import json
import re
import secrets
import urllib.request
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from opportune.v1 import (
    audience_service_pb2,
    audience_service_pb2_grpc,
    decision_pb2,
    decision_service_pb2,
    outcome_pb2,
    outcome_service_pb2,
    profile_pb2,
)
from opportune.v1 import profile_service_pb2 as pb
from prometheus_client.parser import text_string_to_metric_families

from server.service import SERVICES
from tests.integration.catalogs import market, text_of
from tests.integration.commands import begin
from tests.integration.connection import TIMEOUT_S, Connection, connected, consent, context, delta, value
from tests.integration.delta_streams import load_request
from tests.support.trace_sink import TraceSink, trace_sink

ROUNDS = 10
REFUSED_WITHIN_ANSWERS = 11 + 13 + 5
"""In each round: deltas, rankings of a batch, outcomes."""

METHODS = {f"{service.full_name}/{method.name}" for service in SERVICES for method in service.methods}
FAILED = "opportune_calls_failed_total"
IMPRESSION = outcome_pb2.OUTCOME_KIND_IMPRESSION


class Canaries:
    """Values that are found again wherever they turn up."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.identifying: list[str] = []
        self.identifiers: list[str] = []

    def word(self) -> str:
        """A value of letters and digits."""
        self.tokens.append(f"planted{len(self.tokens):05}q")
        return self.tokens[-1]

    def email(self) -> str:
        """An e-mail address."""
        return f"{self.word()}@example.com"

    def text(self) -> str:
        """An identifying text, which only the vault may have."""
        self.identifying.append(self.word())
        return f"Anna {self.identifying[-1]}"

    def identifier(self) -> str:
        """A customer's identifier, as good as any."""
        self.identifiers.append(self.word())
        return f"email:{self.identifiers[-1]}@example.com"

    def found_in(self, content: str | bytes, tokens: list[str] | None = None) -> set[str]:
        """The values that are in something."""
        text = content.decode(errors="replace") if isinstance(content, bytes) else content
        return set(re.findall(r"planted\d{5}q", text, re.IGNORECASE)) & set(self.tokens if tokens is None else tokens)


class Told:
    """Everything that the server has told others than the customer."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.refusals = 0
        self.output = b""
        self.metrics = ""

    async def refused(self, call: Awaitable[Any]) -> None:
        """Keeps all that comes with a refusal; a call that is answered instead fails the test."""
        with pytest.raises(aio.AioRpcError) as caught:
            await call
        error = caught.value
        self.refusals += 1
        self.errors.append(
            f"{error.code()} {error.details()} {error.debug_error_string()} "
            f"{list(error.trailing_metadata() or ())} {list(error.initial_metadata() or ())}"
        )

    def samples(self, name: str) -> dict[tuple[str, ...], int]:
        """What a metric tells, by the values of its labels."""
        return {
            tuple(sample.labels.values()): int(sample.value)
            for family in text_string_to_metric_families(self.metrics)
            for sample in family.samples
            if sample.name == name
        }


def catalog() -> dict[str, Any]:
    """Everything that takes texts."""
    made = market(context=[{"id": "mood", "type": "category", "values": ["good", "bad"]}])
    made["attributes"] += [
        {"id": "email", "type": "text"},
        {"id": "first_name", "type": "text", "content": True},
        {"id": "household", "type": "key"},
    ]
    made["identity"]["match"] = [{"id": "by-email", "parts": [{"attribute": "email", "form": "email"}]}]
    made["offers"][0]["creatives"][0]["content"] = {"title": "Hi {{customer.first_name|there}}"}
    return made


@asynccontextmanager
async def observed(folder: Path, transport: str, sink: TraceSink, told: Told) -> AsyncIterator[Connection]:
    """A server that tells all it can."""
    path = folder / "catalog.json"
    path.write_text(text_of(catalog()), encoding="utf-8")
    process = await begin(
        "serve", "--data", folder / "data", "--catalog", path, "--listen", "127.0.0.1:0", "--transport", transport,
        "--metrics-listen", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug", "--log-sample", "0.5",
        "--otlp-endpoint", sink.url, "--trace-ratio", "1",
        environment={"OPPORTUNE_VAULT_KEY": secrets.token_hex(32)},
    )  # fmt: skip
    reading = [asyncio.create_task(_read(process.stdout, told)), asyncio.create_task(_read(process.stderr, told))]
    try:
        port, watch_port = await _ports(process, told)
        async with connected(port) as connection:
            yield connection
        told.metrics = await asyncio.to_thread(_scrape, watch_port)
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), TIMEOUT_S)
        await asyncio.gather(*reading)


async def _read(stream: asyncio.StreamReader | None, told: Told) -> None:
    assert stream is not None
    while chunk := await stream.read(65_536):
        told.output += chunk


async def _ports(process: Process, told: Told) -> tuple[int, int]:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            serving = re.search(rb"serving on 127\.0\.0\.1:(\d+)", told.output)
            watched = re.search(rb"metrics on port (\d+)", told.output)
            if serving and watched:
                return int(serving[1]), int(watched[1])
            assert process.returncode is None, told.output.decode()
            await asyncio.sleep(0.02)


def _scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S) as answer:
        text: str = answer.read().decode()
        return text


async def known_customer(server: Connection, planted: Canaries) -> str:
    """What goes well: a customer is written, ranked, joined, read and exported. Returns the decision's id."""
    first, second = planted.identifier(), planted.identifier()
    event = profile_pb2.Event(type="purchase", properties={"amount": value(3.0), planted.word(): value(planted.word())})
    applied = await server.apply_deltas(
        delta(first, visits=3, email=planted.email(), first_name=planted.text(), household=planted.word()),
        profile_pb2.ProfileDelta(customer_id=first, event=event),
        consent(first, True),
    )
    assert not applied.rejected, applied
    answer = await server.rank(
        first, context=context(mood="good"), include_content=True, view=decision_pb2.DECISION_VIEW_FULL
    )
    outcome = outcome_pb2.Outcome(
        outcome_id=planted.word(), customer_id=first, offer_id="welcome", placement_id="home", kind=IMPRESSION
    )
    await server.outcomes.ReportOutcomes(
        outcome_service_pb2.ReportOutcomesRequest(outcomes=[outcome]), timeout=TIMEOUT_S
    )
    await server.profiles.LinkIdentifiers(
        pb.LinkIdentifiersRequest(customer_id=first, other_id=second), timeout=TIMEOUT_S
    )
    await server.profile(first)
    async for _ in server.profiles.ExportProfile(pb.ExportProfileRequest(customer_id=first), timeout=TIMEOUT_S):
        pass
    return answer.decision_id


async def refused_deltas(server: Connection, planted: Canaries, told: Told) -> None:
    """Deltas with something wrong in each."""
    wrong = [
        delta(planted.identifier(), tier=planted.word()),
        delta(planted.identifier(), visits=planted.word()),
        delta(planted.identifier(), topics=[planted.word()]),
        delta(planted.identifier(), email=planted.email() * 2_000),
        delta(planted.identifier(), **{planted.email(): 1.0}),
        delta(f"{planted.word()} with a space", visits=1.0),
        delta(planted.email() * 20, visits=1.0),
        consent(planted.identifier(), True, purpose=planted.word()),
        profile_pb2.ProfileDelta(customer_id=planted.identifier(), event=profile_pb2.Event(type=planted.word())),
        profile_pb2.ProfileDelta(
            customer_id=planted.identifier(),
            event=profile_pb2.Event(type="purchase", properties={"amount": value(planted.word())}),
        ),
        profile_pb2.ProfileDelta(customer_id=planted.identifier(), other_ids=[f"{planted.word()} x"]),
    ]
    answer = await server.apply_deltas(*wrong)
    told.errors += [str(rejected) for rejected in answer.rejected]
    assert [rejected.index for rejected in answer.rejected] == list(range(len(wrong)))


async def refused_questions(server: Connection, planted: Canaries, told: Told) -> None:
    """Questions with something wrong in each."""
    rank = decision_service_pb2.RankOffersRequest
    customer = planted.identifier()
    wrong = [
        rank(customer_id=f"{planted.word()} with a space", placement_id="home"),
        rank(customer_id=customer, placement_id="home", context=context(mood=planted.word())),
        rank(customer_id=customer, placement_id="home", context=context(mood=[planted.word()])),
        rank(customer_id=customer, placement_id="home", context=context(**{planted.email(): 1.0})),
        rank(customer_id=customer, placement_id="home", context={"channel": planted.email()}),
        rank(customer_id=customer, placement_id="home", context={"locale": planted.email() * 2}),
        rank(customer_id=customer, placement_id="home", filter=f'offer.department == "{planted.word()}" && 1'),
        rank(customer_id=customer, placement_id="home", filter=f'offer.department == "{planted.word()}'),
        rank(customer_id=customer, placement_id="home", order_by=planted.email()),
        rank(customer_id=customer, placement_id="home", candidate_offer_ids=[f"{planted.word()} x"]),
        rank(customer_id=customer, placement_id="home", request_id=f"{planted.word()} x"),
        rank(customer_id=customer, placement_id=f"{planted.email()} x"),
        rank(customer_id=customer, placement_id="nowhere"),
    ]
    for request in wrong:
        metadata = (("x-request-id", planted.email()), ("traceparent", planted.word()), ("x-user", planted.email()))
        await told.refused(server.decisions.RankOffers(request, timeout=TIMEOUT_S, metadata=metadata))
    batch = await server.rank_all(wrong)
    told.errors += [str(result.status) for result in batch]
    assert [result.WhichOneof("result") for result in batch] == ["status"] * len(wrong)


async def refused_others(server: Connection, planted: Canaries, told: Told) -> None:
    """The other methods, with something wrong in each call."""
    calls = [
        server.profile(planted.identifier()),
        server.profile(f"{planted.word()} x"),
        server.profiles.LinkIdentifiers(
            pb.LinkIdentifiersRequest(customer_id=planted.identifier(), other_id=f"{planted.word()} x"),
            timeout=TIMEOUT_S,
        ),
        server.profiles.UnlinkIdentifier(
            pb.UnlinkIdentifierRequest(customer_id=planted.identifier(), other_id=planted.identifier()),
            timeout=TIMEOUT_S,
        ),
        server.profiles.ListRejectedDeltas(pb.ListRejectedDeltasRequest(page_token=planted.word()), timeout=TIMEOUT_S),
        server.decisions.GetDecision(
            decision_service_pb2.GetDecisionRequest(decision_id=planted.word()), timeout=TIMEOUT_S
        ),
        server.decisions.ReplayDecision(
            decision_service_pb2.ReplayDecisionRequest(decision_id=planted.email()), timeout=TIMEOUT_S
        ),
        server.outcomes.ListOfferResults(
            outcome_service_pb2.ListOfferResultsRequest(page_token=planted.word()), timeout=TIMEOUT_S
        ),
        server.send("/opportune.v1.DecisionService/RankOffers", b"\x0a\xff" + planted.email().encode()),
        server.send("/opportune.v1.ProfileService/GetProfile", b"\x0a\x30\xff\xfe" + planted.email().encode() * 4),
        server.send("/opportune.v1.DecisionService/RankOffers", planted.word().encode() * 30_000),
    ]
    audience: Any = audience_service_pb2_grpc.AudienceServiceStub(server.channel)  # type: ignore[no-untyped-call]
    for condition in (f'customer.household == "{planted.word()}" && 1', f'customer.email == "{planted.email()}"'):
        request = audience_service_pb2.CountAudienceRequest(condition=condition)
        calls.append(audience.CountAudience(request, timeout=TIMEOUT_S))
    for call in calls:
        await told.refused(call)
    await _refused_outcomes(server, planted, told)


async def _refused_outcomes(server: Connection, planted: Canaries, told: Told) -> None:
    outcome = outcome_pb2.Outcome
    wrong = [
        outcome(outcome_id=planted.word(), attribution_token=planted.email(), kind=IMPRESSION),
        outcome(
            outcome_id=f"{planted.word()} x", customer_id=planted.identifier(), offer_id="welcome", kind=IMPRESSION
        ),
        outcome(outcome_id=planted.word(), customer_id=planted.identifier(), offer_id=planted.word(), kind=IMPRESSION),
        outcome(
            outcome_id=planted.word(),
            customer_id=planted.identifier(),
            offer_id="welcome",
            placement_id=planted.word(),
            kind=IMPRESSION,
        ),
        outcome(outcome_id=planted.word(), customer_id=f"{planted.word()} x", offer_id="welcome"),
    ]
    request = outcome_service_pb2.ReportOutcomesRequest(outcomes=wrong)
    answer = await server.outcomes.ReportOutcomes(request, timeout=TIMEOUT_S)
    told.errors += [str(result.status) for result in answer.results if result.HasField("status")]
    assert all(result.HasField("status") for result in answer.results)


async def refused_catalogs(server: Connection, planted: Canaries, told: Told) -> None:
    """Catalogs and lists of offers with something wrong in each; who writes a catalog may have customers in mind."""

    def conditional(condition: str) -> str:
        changed = catalog()
        changed["offers"][1]["eligible"] = condition
        return text_of(changed)

    titled = catalog()
    titled["offers"][0]["creatives"][0]["content"]["title"] = f"Hi {planted.email()} {{{{customer.visits"
    calls = [
        server.apply_catalog(conditional(f'customer.household == "{planted.word()}" && 1')),
        server.apply_catalog(conditional(f'customer.email == "{planted.email()}"')),
        server.apply_catalog(conditional(f'customer.visits > 1 && "{planted.word()}')),
        server.apply_catalog(titled),
        server.apply_catalog(f'{{"currency": "{planted.email()}'),
        server.apply_catalog(catalog() | {"currency": planted.email()}),
        server.apply_catalog(catalog(), etag=planted.word()),
        server.apply_catalog(catalog(), request_id=f"{planted.word()} x"),
        server.send("/opportune.v1.CatalogService/ApplyCatalog", b"\x0a\xff" + planted.email().encode()),
        server.list_offers(filter=f'offer.department == "{planted.word()}" && 1'),
        server.list_offers(filter=f'offer.department == "{planted.word()}'),
        server.list_offers(page_token=planted.word()),
        server.send("/opportune.v1.CatalogService/ListOffers", b"\x12\xff" + planted.email().encode()),
    ]
    for call in calls:
        await told.refused(call)


async def refused_streams(server: Connection, planted: Canaries, told: Told) -> None:
    """Streams that go wrong on their first message or later."""
    messages: list[tuple[Any, Any]] = [
        (server.profiles.StreamProfileDeltas, pb.StreamProfileDeltasRequest(source=f"{planted.word()} x")),
        (
            server.profiles.StreamProfileDeltas,
            pb.StreamProfileDeltasRequest(source="crm", deltas=[delta("c:1", visits=1)]),
        ),
        (
            server.profiles.LoadProfiles,
            load_request("load", 1, [planted.identifier()], tier=pb.LoadColumn(values=[0], texts=[planted.word()])),
        ),
        (server.profiles.LoadProfiles, load_request("load", 1, [f"{planted.word()} x"], visits=[1])),
        (server.profiles.LoadProfiles, load_request("load", 1, [planted.identifier()], **{planted.email(): [1]})),
    ]
    for method, message in messages:
        call = method(timeout=TIMEOUT_S)

        async def talk(call: Any = call, message: Any = message) -> None:
            await call.write(message)
            assert await call.read() is aio.EOF
            if await call.code() is not grpc.StatusCode.OK:
                raise aio.AioRpcError(
                    await call.code(), await call.initial_metadata(), await call.trailing_metadata(),
                    await call.details(), "",
                )  # fmt: skip

        await told.refused(talk())
    stream = server.profiles.ExportProfile(pb.ExportProfileRequest(customer_id=planted.identifier()), timeout=TIMEOUT_S)
    await told.refused(stream.read())


async def test_no_planted_value_is_told_to_anybody(transport: str, tmp_path: Path) -> None:
    planted, told = Canaries(), Told()
    with trace_sink() as sink:
        async with observed(tmp_path, transport, sink, told) as server:
            for _ in range(ROUNDS):
                decision_id = await known_customer(server, planted)
                await refused_deltas(server, planted, told)
                await refused_questions(server, planted, told)
                await refused_others(server, planted, told)
                await refused_streams(server, planted, told)
            # Once: each is compiled in another process, which takes its time.
            await refused_catalogs(server, planted, told)
            replay = decision_service_pb2.ReplayDecisionRequest(decision_id=decision_id)
            replayed = await server.decisions.ReplayDecision(replay, timeout=TIMEOUT_S)
            told.errors += [str(replayed.differences)]
            erased = pb.EraseProfileRequest(customer_id=planted.identifier())
            await told.refused(server.profiles.EraseProfile(erased, timeout=TIMEOUT_S))

    assert len(planted.tokens) > 1_000
    errors = "\n".join(told.errors)
    decisions = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("decisions.db*"))
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    # Each of these can be found: they were there to be searched.
    lines = [json.loads(line) for line in told.output.decode().splitlines() if line.startswith("{")]
    calls, failed = told.samples("grpc_server_call_duration_seconds_count"), told.samples(FAILED)
    assert {method for method, _ in calls} == METHODS
    assert told.refusals == sum(failed.values()) > 300
    assert len(told.errors) == told.refusals + ROUNDS * REFUSED_WITHIN_ANSWERS + 1
    kept_back = told.samples("opportune_log_lines_suppressed_total")[()]
    assert sum(line["event"] == "call" for line in lines) == sum(calls.values()) - kept_back > 200
    assert sum(not span.parent_span_id for span in sink.spans) == sum(calls.values()) > 400
    assert 'grpc_status="INVALID_ARGUMENT"' in told.metrics
    assert planted.found_in(decisions, planted.identifiers)
    hits = {
        "log": planted.found_in(told.output),
        "metrics": planted.found_in(told.metrics),
        "spans": planted.found_in(sink.received),
        "errors": planted.found_in(errors),
        "files": planted.found_in(stored, planted.identifying),
    }
    shown = [line for line in (errors + told.output.decode()).splitlines() if planted.found_in(line)][:20]
    assert not any(hits.values()), "\n".join(shown)[:6_000]
