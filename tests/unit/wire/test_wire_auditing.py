"""Which calls are audited, when, and what happens when they cannot be."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import Message
from opportune.v1 import catalog_service_pb2 as catalogs
from opportune.v1 import outcome_service_pb2 as outcomes
from opportune.v1 import profile_service_pb2 as profiles

from server.domain.audit import AuditEntry, Phase
from server.domain.caller import Caller
from server.domain.errors import ErrorReason, OpportuneError
from server.execution.finishing import finish
from server.service import SERVICES
from server.wire.access import access_of
from server.wire.auditing import RULES, audited
from server.wire.call import Call
from server.wire.caller import CALLER
from server.wire.endpoint import DEFAULT_LIMIT_BYTES, Answer, Endpoint, Stream, StreamEndpoint
from server.wire.status import WireStatus
from tests.support.audit import FakeAuditLog
from tests.support.gated_journal import turns

READS = {
    "DecisionService/RankOffers",
    "DecisionService/BatchRankOffers",
    "DecisionService/GetDecision",
    "DecisionService/ReplayDecision",
    "ProfileService/ListRejectedDeltas",
    "ProfileService/GetProfile",
    "CatalogService/ListOffers",
    "OutcomeService/ListOfferResults",
    "AudienceService/CountAudience",
}
ERASE = profiles.EraseProfileRequest(customer_id="loyalty:42")


@pytest.fixture(autouse=True)
def desk() -> Iterator[None]:
    """The caller of every call."""
    token = CALLER.set(Caller("desk", frozenset()))
    yield
    CALLER.reset(token)


class Handler:
    """A unary handler that says what the log knew when it was called."""

    def __init__(self, log: FakeAuditLog, response: Message | BaseException) -> None:
        self._log = log
        self._response = response
        self.known: list[list[Phase]] = []

    async def __call__(self, request: object) -> Message:
        self.known.append([entry.phase for entry in self._log.entries])
        if isinstance(self._response, BaseException):
            raise self._response
        return self._response


def unary(method: str, request_type: Any, handler: Any, log: FakeAuditLog) -> Endpoint:
    plain = Endpoint(f"/opportune.v1.{method}", request_type, handler, DEFAULT_LIMIT_BYTES)
    (found,) = audited([plain], log, lambda: 7)
    assert isinstance(found, Endpoint)
    return found


async def answer(endpoint: Endpoint, request: Message) -> Answer:
    given = endpoint.answer(request.SerializeToString(), Call())
    return given if isinstance(given, bytes | WireStatus) else await given


def told(log: FakeAuditLog) -> list[tuple[str, str]]:
    return [(entry.phase.value, entry.status) for entry in log.entries]


def test_every_method_is_audited_or_known_to_change_nothing() -> None:
    methods = {path.removeprefix("/opportune.v1.") for path in access_of(SERVICES)}

    assert {*RULES} | READS == methods
    assert not {*RULES} & READS


async def test_erasure_is_written_before_it_begins_and_when_it_has_ended() -> None:
    log = FakeAuditLog()
    response = profiles.EraseProfileResponse(
        identifiers=2, stores=[profiles.ErasedFrom(store="journal", removed=7), profiles.ErasedFrom(store="vault")]
    )
    handler = Handler(log, response)

    answered = await answer(unary("ProfileService/EraseProfile", type(ERASE), handler, log), ERASE)

    assert answered == response.SerializeToString()
    assert handler.known == [[Phase.BEGUN]]
    assert told(log) == [("begun", ""), ("ended", "OK")]
    assert log.entries[1] == AuditEntry(
        7, "desk", "ProfileService.EraseProfile", Phase.ENDED, "OK",
        {"identifiers": 2, "journal": 7, "vault": 0}, {}, ("loyalty:42",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OpportuneError(ErrorReason.PROFILE_NOT_FOUND, "nobody"), "PROFILE_NOT_FOUND"),
        (ZeroDivisionError(), "INTERNAL"),
        (asyncio.CancelledError(), "UNANSWERED"),
    ],
)
async def test_act_that_fails_is_written_with_how_it_failed(error: BaseException, status: str) -> None:
    log = FakeAuditLog()
    endpoint = unary("ProfileService/EraseProfile", type(ERASE), Handler(log, error), log)

    if isinstance(error, asyncio.CancelledError):
        with pytest.raises(asyncio.CancelledError):
            await answer(endpoint, ERASE)
    else:
        assert isinstance(await answer(endpoint, ERASE), WireStatus)

    assert told(log) == [("begun", ""), ("ended", status)]


@pytest.mark.parametrize(
    ("error", "statuses"),
    [
        (None, ["", "OK"]),
        (OpportuneError(ErrorReason.JOURNAL_FAILED, "full"), ["", "JOURNAL_FAILED"]),
        (ZeroDivisionError(), ["", "INTERNAL"]),
        (asyncio.CancelledError(), [""]),
    ],
)
async def test_act_that_goes_on_when_its_caller_leaves_is_written_with_its_real_end(
    error: BaseException | None, statuses: list[str]
) -> None:
    log, gate = FakeAuditLog(), asyncio.Event()

    async def go_on() -> None:
        await gate.wait()
        if error is not None:
            raise error

    going_on = asyncio.create_task(go_on())

    async def erase(request: object) -> Message:
        await finish(going_on)
        return profiles.EraseProfileResponse()

    call = asyncio.create_task(answer(unary("ProfileService/EraseProfile", type(ERASE), erase, log), ERASE))
    await turns()
    call.cancel()
    # Whoever calls next is somebody else.
    CALLER.set(None)
    await turns()
    before = told(log)
    gate.set()
    await turns()

    assert call.cancelled()
    assert before == [("begun", "")]
    assert [entry.status for entry in log.entries] == statuses
    assert {(entry.caller, entry.subjects) for entry in log.entries} == {("desk", ("loyalty:42",))}


async def test_what_must_not_go_unnoticed_is_not_done_while_the_log_cannot_be_written() -> None:
    log = FakeAuditLog()
    log.is_broken = True
    handler = Handler(log, profiles.EraseProfileResponse())

    refused = await answer(unary("ProfileService/EraseProfile", type(ERASE), handler, log), ERASE)

    assert isinstance(refused, WireStatus) and refused.code.name == "UNAVAILABLE"
    assert handler.known == []


async def test_links_go_on_while_the_log_cannot_be_written() -> None:
    log = FakeAuditLog()
    log.is_broken = True
    request = profiles.LinkIdentifiersRequest(customer_id="a", other_id="b")
    response = profiles.UnlinkIdentifierResponse()

    answered = await answer(
        unary("ProfileService/LinkIdentifiers", type(request), Handler(log, response), log), request
    )

    assert isinstance(answered, bytes)
    assert [(entry.status, entry.subjects) for entry in log.entries] == [("OK", ("a", "b"))]


async def test_catalog_is_audited_with_its_version_and_one_that_is_only_checked_is_not() -> None:
    log = FakeAuditLog()
    response = catalogs.ApplyCatalogResponse(catalog_version=3, offer_count=5, placement_count=2)
    request = catalogs.ApplyCatalogRequest(catalog="12345678")
    endpoint = unary("CatalogService/ApplyCatalog", type(request), Handler(log, response), log)

    await answer(endpoint, catalogs.ApplyCatalogRequest(catalog="x", validate_only=True))
    await answer(endpoint, request)

    assert told(log) == [("begun", ""), ("ended", "OK")]
    assert log.entries[1].counts == {"bytes": 8, "offers": 5, "placements": 2}
    assert log.entries[1].details == {"catalog_version": "3"}


async def test_deltas_of_a_source_are_noted_once_for_each_caller_and_way_to_end() -> None:
    log = FakeAuditLog()
    response = profiles.ApplyProfileDeltasResponse()
    handler = Handler(log, response)
    endpoint = unary("ProfileService/ApplyProfileDeltas", profiles.ApplyProfileDeltasRequest, handler, log)

    for source in ("crm", "crm", "till", "not a source", "nor this"):
        await answer(endpoint, profiles.ApplyProfileDeltasRequest(source=source))
    CALLER.set(Caller("other", frozenset()))
    await answer(endpoint, profiles.ApplyProfileDeltasRequest(source="crm"))

    assert [(entry.caller, dict(entry.details)) for entry in log.entries] == [
        ("desk", {"source": "crm"}),
        ("desk", {"source": "till"}),
        ("desk", {}),
        ("other", {"source": "crm"}),
    ]


async def test_outcomes_are_noted_once_for_each_caller_even_after_a_failure() -> None:
    log = FakeAuditLog()
    request = outcomes.ReportOutcomesRequest()
    failing = Handler(log, OpportuneError(ErrorReason.INVALID_FIELD, "none"))
    endpoint = unary("OutcomeService/ReportOutcomes", type(request), failing, log)

    for _ in range(2):
        await answer(endpoint, request)
    failing._response = outcomes.ReportOutcomesResponse()
    for _ in range(2):
        await answer(endpoint, request)

    assert told(log) == [("ended", "INVALID_FIELD"), ("ended", "OK")]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OpportuneError(ErrorReason.JOURNAL_FULL, "full"), "JOURNAL_FULL"),
        (ZeroDivisionError(), "INTERNAL"),
        (asyncio.CancelledError(), "UNANSWERED"),
    ],
)
async def test_first_failure_behind_a_success_is_noted_and_only_that(error: BaseException, status: str) -> None:
    log = FakeAuditLog()
    handler = Handler(log, profiles.ApplyProfileDeltasResponse())
    request = profiles.ApplyProfileDeltasRequest(source="crm")
    endpoint = unary("ProfileService/ApplyProfileDeltas", type(request), handler, log)

    await answer(endpoint, request)
    handler._response = error
    for _ in range(2):
        await asyncio.gather(answer(endpoint, request), return_exceptions=True)

    assert told(log) == [("ended", "OK"), ("ended", status)]


class Messages:
    """A stream of messages; it keeps what is sent."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)
        self.sent: list[Message] = []

    async def receive(self) -> Message | None:
        return self._messages.pop(0) if self._messages else None

    async def send(self, message: Message) -> None:
        self.sent.append(message)


async def serve(method: str, handler: Any, log: FakeAuditLog, *messages: Message) -> WireStatus | None:
    plain = StreamEndpoint(f"/opportune.v1.{method}", Message, handler, DEFAULT_LIMIT_BYTES)
    (found,) = audited([plain], log, lambda: 7)
    assert isinstance(found, StreamEndpoint)
    return await found.serve(Messages(*messages), Call())


async def echo(stream: Stream) -> None:
    while (message := await stream.receive()) is not None:
        await stream.send(message)


async def test_export_is_written_before_anything_is_sent_and_with_what_was() -> None:
    log = FakeAuditLog()
    known: list[list[Phase]] = []

    async def export(stream: Stream) -> None:
        message = await stream.receive()
        known.append([entry.phase for entry in log.entries])
        for _ in range(3):
            await stream.send(message)

    await serve("ProfileService/ExportProfile", export, log, profiles.ExportProfileRequest(customer_id="a"))

    assert known == [[Phase.BEGUN]]
    assert told(log) == [("begun", ""), ("ended", "OK")]
    assert (log.entries[1].counts, log.entries[1].subjects) == ({"received": 1, "sent": 3}, ("a",))


async def test_export_is_refused_while_the_log_cannot_be_written() -> None:
    log = FakeAuditLog()
    log.is_broken = True

    status = await serve("ProfileService/ExportProfile", echo, log, profiles.ExportProfileRequest(customer_id="a"))

    assert status is not None and status.code.name == "UNAVAILABLE"
    assert log.entries == []


async def test_stream_of_a_source_is_noted_when_it_is_opened_and_when_it_ends() -> None:
    log = FakeAuditLog()
    log.is_broken = True
    message = profiles.StreamProfileDeltasRequest(source="crm")

    assert await serve("ProfileService/StreamProfileDeltas", echo, log, message, message) is None

    assert told(log) == [("begun", ""), ("ended", "OK")]
    assert log.entries[0].details == {"source": "crm"}
    assert log.entries[1].counts == {"received": 2, "sent": 2}


async def test_stream_without_a_message_is_nobodys_act() -> None:
    log = FakeAuditLog()

    await serve("ProfileService/StreamProfileDeltas", echo, log)

    assert log.entries == []


async def test_server_that_asks_nobody_notes_nobody() -> None:
    CALLER.set(None)
    log = FakeAuditLog()

    await answer(
        unary("ProfileService/EraseProfile", type(ERASE), Handler(log, profiles.EraseProfileResponse()), log), ERASE
    )

    assert {entry.caller for entry in log.entries} == {""}
