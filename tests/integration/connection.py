"""A client of a running server, and what it makes of refusals."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status
from opportune.v1 import (
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    decision_pb2,
    decision_service_pb2,
    decision_service_pb2_grpc,
    outcome_service_pb2_grpc,
    profile_pb2,
    profile_service_pb2,
    profile_service_pb2_grpc,
    value_pb2,
)

from tests.integration.catalogs import stall, text_of
from tests.integration.processes import children_of

TIMEOUT_S = 30.0
"""Far more than any call takes; a server that hangs fails the test instead of stopping the suite."""


class Connection:
    """Calls one server."""

    def __init__(self, port: int, *options: tuple[str, str | int]) -> None:
        self.address = f"127.0.0.1:{port}"
        # A pool of its own keeps a connection from being shared with one to a server that had the port before.
        self.channel = aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1), *options])
        # The generated stubs have no types; requests and responses are annotated below.
        self.decisions: Any = decision_service_pb2_grpc.DecisionServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.profiles: Any = profile_service_pb2_grpc.ProfileServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.outcomes: Any = outcome_service_pb2_grpc.OutcomeServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.catalogs: Any = catalog_service_pb2_grpc.CatalogServiceStub(self.channel)  # type: ignore[no-untyped-call]

    async def rank(self, customer_id: str, placement_id: str = "home", **fields: Any) -> decision_pb2.Decision:
        """Ranks offers; `fields` are the request's others."""
        request = decision_service_pb2.RankOffersRequest(customer_id=customer_id, placement_id=placement_id, **fields)
        response: decision_service_pb2.RankOffersResponse = await self.decisions.RankOffers(request, timeout=TIMEOUT_S)
        return response.decision

    async def rank_all(
        self, requests: Iterable[decision_service_pb2.RankOffersRequest]
    ) -> list[decision_service_pb2.BatchRankOffersResult]:
        """Ranks a batch."""
        request = decision_service_pb2.BatchRankOffersRequest(requests=requests)
        response: decision_service_pb2.BatchRankOffersResponse = await self.decisions.BatchRankOffers(
            request, timeout=TIMEOUT_S
        )
        return list(response.results)

    async def apply_deltas(
        self, *deltas: profile_pb2.ProfileDelta, source: str = "test", sequence: int = 0
    ) -> profile_service_pb2.ApplyProfileDeltasResponse:
        """Applies deltas."""
        request = profile_service_pb2.ApplyProfileDeltasRequest(source=source, sequence=sequence, deltas=deltas)
        response: profile_service_pb2.ApplyProfileDeltasResponse = await self.profiles.ApplyProfileDeltas(
            request, timeout=TIMEOUT_S
        )
        return response

    async def profile(self, customer_id: str) -> profile_pb2.Profile:
        """Reads a profile."""
        request = profile_service_pb2.GetProfileRequest(customer_id=customer_id)
        response: profile_pb2.Profile = await self.profiles.GetProfile(request, timeout=TIMEOUT_S)
        return response

    async def apply_catalog(
        self, catalog: dict[str, Any] | str, **fields: Any
    ) -> catalog_service_pb2.ApplyCatalogResponse:
        """Applies a catalog, given as text or as a document."""
        text = catalog if isinstance(catalog, str) else text_of(catalog)
        request = catalog_service_pb2.ApplyCatalogRequest(catalog=text, **fields)
        response: catalog_service_pb2.ApplyCatalogResponse = await self.catalogs.ApplyCatalog(
            request, timeout=TIMEOUT_S
        )
        return response

    async def list_offers(self, **fields: Any) -> catalog_service_pb2.ListOffersResponse:
        """Lists a page of offers."""
        request = catalog_service_pb2.ListOffersRequest(**fields)
        response: catalog_service_pb2.ListOffersResponse = await self.catalogs.ListOffers(request, timeout=TIMEOUT_S)
        return response

    async def send(self, path: str, payload: bytes) -> bytes:
        """Sends bytes to a method as they are."""
        call: Any = self.channel.unary_unary(path, request_serializer=None, response_deserializer=None)
        answer: bytes = await call(payload, timeout=TIMEOUT_S)
        return answer


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """A connection that is closed in the end."""
    connection = Connection(port)
    async with connection.channel:
        yield connection


@dataclass(frozen=True)
class Refusal:
    """How a call was refused. `everything` is all that the caller got, as text."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    metadata: Mapping[str, str]
    violations: Mapping[str, str]
    retry_delay_ms: int | None
    pushback: str | None
    everything: str


async def refusal(call: Awaitable[object]) -> Refusal:
    """The refusal that a call ends with; a call that succeeds fails the test."""
    with pytest.raises(aio.AioRpcError) as caught:
        await asyncio.wait_for(asyncio.ensure_future(call), TIMEOUT_S)
    return refusal_of(caught.value)


def refusal_of(error: aio.AioRpcError) -> Refusal:
    """The refusal that an error stands for."""
    status = rpc_status.from_call(error)
    trailing = {str(key): value for key, value in error.trailing_metadata() or ()}
    pushback = trailing.get("grpc-retry-pushback-ms")
    return _refusal(error.code(), str(error.details()), status, None if pushback is None else str(pushback))


async def compiling(server: Connection, text: str = "", **fields: Any) -> Any:
    """A call of ApplyCatalog that has reached a server without catalog, whose compiling process is only starting."""
    before = set(children_of(os.getpid()))
    request = catalog_service_pb2.ApplyCatalogRequest(catalog=text or text_of(stall()), **fields)
    call = server.catalogs.ApplyCatalog(request, timeout=TIMEOUT_S)
    async with asyncio.timeout(TIMEOUT_S):
        while set(children_of(os.getpid())) <= before:
            # Any call gives the server a turn.
            await refusal(server.rank("somebody"))
    return call


def refusal_in(status: Any) -> Refusal:
    """The refusal that a `google.rpc.Status` within an answer stands for."""
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return _refusal(code, status.message, status, None)


def delta(customer_id: str, **attributes: Any) -> profile_pb2.ProfileDelta:
    """A delta that sets attributes."""
    values = {name: value(content) for name, content in attributes.items()}
    return profile_pb2.ProfileDelta(customer_id=customer_id, attributes=profile_pb2.AttributeUpdates(set=values))


def consent(customer_id: str, granted: bool, purpose: str = "personalization") -> profile_pb2.ProfileDelta:
    """A delta that records a consent."""
    update = profile_pb2.ConsentUpdate(purpose=purpose, granted=granted, source="test", version="1")
    return profile_pb2.ProfileDelta(customer_id=customer_id, consent=update)


def value(content: Any) -> value_pb2.Value:
    """The message of a value."""
    match content:
        case value_pb2.Value():
            return content
        case bool():
            return value_pb2.Value(bool_value=content)
        case str():
            return value_pb2.Value(string_value=content)
        case list():
            return value_pb2.Value(list_value=value_pb2.StringList(values=content))
        case float() | int():
            return value_pb2.Value(number_value=content)
    return value_pb2.Value(timestamp_value=content)


def context(**attributes: Any) -> decision_service_pb2.Context:
    """A context with attributes."""
    return decision_service_pb2.Context(attributes={name: value(content) for name, content in attributes.items()})


def _refusal(code: grpc.StatusCode, message: str, status: Any, pushback: str | None) -> Refusal:
    info, bad_request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    delay_ms = None
    for detail in () if status is None else status.details:
        assert detail.Unpack(info) or detail.Unpack(bad_request) or detail.Unpack(retry)
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            delay_ms = retry.retry_delay.ToMilliseconds()
    return Refusal(
        code=code,
        message=message,
        reason=info.reason,
        domain=info.domain,
        metadata=dict(info.metadata),
        violations={entry.field: entry.description for entry in bad_request.field_violations},
        retry_delay_ms=delay_ms,
        pushback=pushback,
        everything=f"{message}\n{info}\n{bad_request}\n{status}",
    )
