"""The error model over both transports: canonical code, reason, field path, and nothing about the customer."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from opportune.v1 import catalog_service_pb2, decision_service_pb2, error_reason_pb2, profile_service_pb2
from opportune.v1.decision_service_pb2 import Context, RankOffersRequest
from opportune.v1.value_pb2 import StringList, Value

from tests.integration.connection import Connection, context, delta, refusal, refusal_of

CUSTOMER = "loyalty:4711"
REASONS = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name}
SERVICES = [
    decision_service_pb2.DESCRIPTOR.services_by_name["DecisionService"],
    profile_service_pb2.DESCRIPTOR.services_by_name["ProfileService"],
    catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"],
]
METHODS = [f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods]


def time(seconds: int, nanos: int = 0) -> dict[str, Any]:
    return {"context": Context(time=Timestamp(seconds=seconds, nanos=nanos))}


BAD_REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "no customer": ({"customer_id": ""}, "customer_id"),
    "customer too long": ({"customer_id": "4711" * 33}, "customer_id"),
    "customer with a space": ({"customer_id": f"{CUSTOMER} x"}, "customer_id"),
    "customer with a newline": ({"customer_id": f"{CUSTOMER}\n"}, "customer_id"),
    "customer with a NUL": ({"customer_id": f"{CUSTOMER}\0"}, "customer_id"),
    "customer that is not ASCII": ({"customer_id": f"{CUSTOMER}é"}, "customer_id"),
    "no placement": ({"placement_id": ""}, "placement_id"),
    "placement too long": ({"placement_id": "p" * 129}, "placement_id"),
    "placement with bad characters": ({"placement_id": "ho me"}, "placement_id"),
    "negative max_offers": ({"max_offers": -1}, "max_offers"),
    "smallest max_offers": ({"max_offers": -(1 << 31)}, "max_offers"),
    "negative min_profile_version": ({"min_profile_version": -1}, "min_profile_version"),
    "too many candidates": ({"candidate_offer_ids": ["o"] * 1_001}, "candidate_offer_ids"),
    "empty candidate": ({"candidate_offer_ids": ["small", ""]}, "candidate_offer_ids[1]"),
    "candidate with bad characters": ({"candidate_offer_ids": ["a b"]}, "candidate_offer_ids[0]"),
    "candidate too long": ({"candidate_offer_ids": ["o" * 129]}, "candidate_offer_ids[0]"),
    "request_id too long": ({"request_id": "r" * 129}, "request_id"),
    "request_id with bad characters": ({"request_id": "r!"}, "request_id"),
    "channel of another placement": ({"context": Context(channel="kiosk")}, "context.channel"),
    "channel of nobody": ({"context": Context(channel="x" * 200)}, "context.channel"),
    "locale too long": ({"context": Context(locale="x" * 36)}, "context.locale"),
    "time before 1970": (time(-1), "context.time"),
    "time in the year 2200": (time(7_258_118_400), "context.time"),
    "negative nanoseconds": (time(1, -1), "context.time"),
    "a second of nanoseconds": (time(1, 1_000_000_000), "context.time"),
    "NaN": ({"context": context(hour=float("nan"))}, 'context.attributes["hour"]'),
    "infinity": ({"context": context(hour=float("inf"))}, 'context.attributes["hour"]'),
    "minus infinity": ({"context": context(hour=float("-inf"))}, 'context.attributes["hour"]'),
    "number beyond 32 bits": ({"context": context(hour=1e39)}, 'context.attributes["hour"]'),
    "text for a number": ({"context": context(hour="noon")}, 'context.attributes["hour"]'),
    "truth value for a number": ({"context": context(hour=True)}, 'context.attributes["hour"]'),
    "list for a number": ({"context": context(hour=["1"])}, 'context.attributes["hour"]'),
    "number for a truth value": ({"context": context(holiday=1)}, 'context.attributes["holiday"]'),
    "number for a category": ({"context": context(daypart=1)}, 'context.attributes["daypart"]'),
    "category that is not declared": ({"context": context(daypart="noon")}, 'context.attributes["daypart"]'),
    "text too long": ({"context": context(daypart="x" * 257)}, 'context.attributes["daypart"]'),
    "text of too many bytes": ({"context": context(daypart="é" * 129)}, 'context.attributes["daypart"]'),
    "list too long": (
        {"context": context(daypart=Value(list_value=StringList(values=["x"] * 1_025)))},
        'context.attributes["daypart"]',
    ),
    "value without a kind": ({"context": Context(attributes={"hour": Value()})}, 'context.attributes["hour"]'),
    "unknown context attribute": ({"context": context(houre=1)}, 'context.attributes["houre"]'),
    "too many context attributes": (
        {"context": context(**{f"a{number}": 1 for number in range(65)})},
        "context.attributes",
    ),
    "filter that does not parse": ({"filter": "offer.level >"}, "filter"),
    "filter over an unknown attribute": ({"filter": "offer.price > 1.0"}, "filter"),
    "filter over customers": ({"filter": "customer.visits > 1.0"}, "filter"),
    "filter of another type": ({"filter": 'offer.level == "x"'}, "filter"),
    "filter too long": ({"filter": "x" * 4_097}, "filter"),
    "filter that is not ASCII": ({"filter": "offer.level > 1.0 é"}, "filter"),
    "unknown order": ({"order_by": "margin"}, "order_by"),
    "order by a text": ({"order_by": "offer.department"}, "order_by"),
    "order with a suffix": ({"order_by": "value asc"}, "order_by"),
}


@pytest.mark.parametrize("problem", BAD_REQUESTS)
async def test_bad_field_is_invalid_argument_with_its_path_and_without_the_customer(
    server: Connection, problem: str
) -> None:
    fields, field = BAD_REQUESTS[problem]

    refused = await refusal(server.rank(**{"customer_id": CUSTOMER, "placement_id": "home", **fields}))

    assert (refused.code, refused.reason, refused.domain) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "opportune",
    )
    assert refused.reason in REASONS
    assert list(refused.violations) == [field]
    assert refused.violations[field]
    assert "4711" not in refused.everything


async def test_condition_that_does_not_compile_is_pointed_at_by_line_and_column(server: Connection) -> None:
    refused = await refusal(server.rank(CUSTOMER, filter='offer.level > 0.1 &&\n  offer.departmant == "toys"'))

    assert "2:3" in refused.violations["filter"]
    assert "department" in refused.violations["filter"]


async def test_text_that_is_not_ascii_reaches_the_caller_unharmed(server: Connection) -> None:
    refused = await refusal(server.rank(CUSTOMER, filter="offer.level > 1.0 Ω"))

    assert "Ω" in refused.message
    assert "Ω" in refused.violations["filter"]


async def test_locale_of_too_many_bytes_is_refused(server: Connection) -> None:
    refused = await refusal(server.rank(CUSTOMER, context=Context(locale="é" * 35)))

    assert list(refused.violations) == ["context.locale"]


async def test_unknown_context_attribute_with_a_long_name_is_still_named(server: Connection) -> None:
    refused = await refusal(server.rank(CUSTOMER, context=context(**{"n" * 5_000: 1})))

    assert len(refused.violations) == 1


async def test_unknown_placement_is_not_found_by_its_id(server: Connection) -> None:
    refused = await refusal(server.rank(CUSTOMER, "nowhere"))

    assert (refused.code, refused.reason, refused.domain) == (
        grpc.StatusCode.NOT_FOUND,
        "PLACEMENT_NOT_FOUND",
        "opportune",
    )
    assert refused.metadata == {"placement_id": "nowhere", "catalog_version": "1"}
    assert "4711" not in refused.everything


async def test_profiles_that_are_behind_are_unavailable_with_a_time_to_retry(
    spare_server: Connection,
) -> None:
    ahead = RankOffersRequest(customer_id=CUSTOMER, placement_id="home", min_profile_version=1 << 62)

    refused = await refusal(spare_server.decisions.RankOffers(ahead, timeout=2))

    assert (refused.code, refused.reason, refused.domain) == (
        grpc.StatusCode.UNAVAILABLE,
        "PROFILE_BEHIND",
        "opportune",
    )
    assert refused.retry_delay_ms == 50
    assert refused.metadata["profile_version"].isdigit()
    assert "4711" not in refused.everything


async def test_time_to_retry_also_comes_as_pushback_where_the_transport_takes_it(
    spare_server: Connection, transport: str
) -> None:
    ahead = RankOffersRequest(customer_id=CUSTOMER, placement_id="home", min_profile_version=1 << 62)

    refused = await refusal(spare_server.decisions.RankOffers(ahead, timeout=2))

    # The native transport takes no metadata whose key begins with grpc-, but for the status details.
    assert refused.pushback == (None if transport == "native" else "50")


async def test_request_id_with_another_body_is_a_failed_precondition(server: Connection) -> None:
    await server.rank(CUSTOMER, request_id="errors-reused")

    refused = await refusal(server.rank(CUSTOMER, request_id="errors-reused", max_offers=1))

    assert (refused.code, refused.reason, refused.domain) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "REQUEST_ID_REUSED",
        "opportune",
    )
    assert refused.metadata == {"request_id": "errors-reused"}
    assert "4711" not in refused.everything


MALFORMED = {
    "field number zero": b"\x00\x01",
    "length beyond the end": b"\x0a\xff\xff\xff\x7f4711",
    "endless varint": b"\xff" * 11,
    "half a message": RankOffersRequest(customer_id=CUSTOMER).SerializeToString()[:-4],
    "group that never ends": b"\x0b",
}


@pytest.mark.parametrize("path", METHODS)
@pytest.mark.parametrize("problem", MALFORMED)
async def test_malformed_bytes_are_invalid_argument_on_every_method(
    server: Connection, path: str, problem: str
) -> None:
    refused = await refusal(server.send(path, MALFORMED[problem]))

    assert (refused.code, refused.reason, refused.domain) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "MALFORMED_REQUEST",
        "opportune",
    )
    assert "4711" not in refused.everything


async def test_text_that_is_not_utf8_is_malformed(server: Connection) -> None:
    refused = await refusal(server.send("/opportune.v1.DecisionService/RankOffers", b"\x0a\x02\xff\xfe"))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


@pytest.mark.parametrize(
    ("path", "limit_bytes"),
    [
        ("/opportune.v1.DecisionService/RankOffers", 256 * 1024),
        ("/opportune.v1.DecisionService/BatchRankOffers", 4 * 1024 * 1024),
        ("/opportune.v1.ProfileService/ApplyProfileDeltas", 1024 * 1024),
        ("/opportune.v1.ProfileService/GetProfile", 256 * 1024),
        ("/opportune.v1.CatalogService/ListOffers", 256 * 1024),
    ],
)
async def test_request_larger_than_its_method_takes_is_refused_with_the_limit(
    server: Connection, path: str, limit_bytes: int
) -> None:
    # Field 15 is nobody's: it makes a message larger and means nothing.
    def padding(size: int) -> bytes:
        length = size - 1
        while True:
            header = b"\x7a" + _varint(length)
            if len(header) + length <= size:
                return header + b"x" * length
            length -= 1

    refused = await refusal(server.send(path, padding(limit_bytes) + b"\x78\x01"))
    allowed = await _outcome(server, path, padding(limit_bytes))

    assert (refused.code, refused.reason, refused.domain) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "REQUEST_TOO_LARGE",
        "opportune",
    )
    assert refused.metadata == {"limit_bytes": str(limit_bytes)}
    assert allowed != "REQUEST_TOO_LARGE"


@pytest.mark.parametrize("path", ["/opportune.v1.DecisionService/Rank", "/opportune.v1.Decision/RankOffers", "/x/y"])
async def test_unknown_method_is_unimplemented(server: Connection, path: str) -> None:
    refused = await refusal(server.send(path, b""))

    assert refused.code == grpc.StatusCode.UNIMPLEMENTED


async def test_server_answers_as_before_after_all_that(server: Connection) -> None:
    decision = await server.rank("errors:after")

    assert [offer.offer_id for offer in decision.offers] == ["welcome", "small"]


def before_the_first_catalog(server: Connection) -> Iterator[Any]:
    yield server.rank(CUSTOMER)
    yield server.apply_deltas(delta(CUSTOMER, visits=1))
    yield server.list_offers()


async def test_without_a_catalog_calls_are_a_failed_precondition(bare_server: Connection) -> None:
    for call in before_the_first_catalog(bare_server):
        refused = await refusal(call)

        assert (refused.code, refused.reason, refused.domain) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "NO_CATALOG",
            "opportune",
        )
        assert "4711" not in refused.everything


async def test_without_a_catalog_bad_fields_are_still_refused_first(bare_server: Connection) -> None:
    refused = await refusal(bare_server.rank(""))

    assert refused.reason == "INVALID_FIELD"


async def test_without_a_catalog_profiles_are_not_found(bare_server: Connection) -> None:
    refused = await refusal(bare_server.profile(CUSTOMER))

    assert refused.reason == "PROFILE_NOT_FOUND"


async def _outcome(server: Connection, path: str, payload: bytes) -> str:
    """`OK`, or the reason of the refusal."""
    try:
        await server.send(path, payload)
    except aio.AioRpcError as error:
        return refusal_of(error).reason
    return "OK"


def _varint(number: int) -> bytes:
    encoded = b""
    while number >= 128:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])
