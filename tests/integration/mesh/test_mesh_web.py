"""Browsers: JSON and gRPC-Web through the mesh, from where they may, and without a trace of whom they asked for."""

import asyncio
import json
import struct
from http.client import HTTPConnection
from typing import Any, NamedTuple

import pytest
from opportune.v1 import decision_service_pb2

from tests.integration.connection import TIMEOUT_S
from tests.integration.mesh.envoys import Envoy
from tests.integration.mesh.meshes import CUSTOMER_HEADER, Mesh, sidecar_of

SHOP = "https://shop.example"
RANK = "/opportune.v1.DecisionService/RankOffers"


class Answer(NamedTuple):
    """What a browser gets."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    shop: Mesh,
    method: str,
    path: str,
    body: bytes | dict[str, Any] | None = None,
    by: Envoy | None = None,
    **headers: Any,
) -> Answer:
    """An HTTP/1.1 request, as a browser sends it, perhaps by another gateway; underscores in headers are dashes."""
    sent = {name.replace("_", "-"): content for name, content in headers.items()}
    payload = json.dumps(body).encode() if isinstance(body, dict) else body

    def exchange() -> Answer:
        connection = HTTPConnection("127.0.0.1", (by or shop.envoy).ports["web"], timeout=TIMEOUT_S)
        connection.request(method, path, payload, {"content-type": "application/json", **sent})
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return answer

    return await asyncio.to_thread(exchange)


async def test_json_ranks_reports_and_explains(shop: Mesh) -> None:
    customer: dict[str, Any] = {CUSTOMER_HEADER.replace("-", "_"): "json:1"}

    ranked = await ask(shop, "POST", "/v1/decisions:rank", {"customerId": "json:1", "placementId": "home"}, **customer)
    decision = ranked.json["decision"]
    outcome = {
        "outcomeId": "json:1:1",
        "attributionToken": decision["offers"][0]["attributionToken"],
        "kind": "OUTCOME_KIND_CLICK",
        "eventTime": decision["createTime"],
    }
    reported = await ask(shop, "POST", "/v1/outcomes:report", {"outcomes": [outcome]}, **customer)
    why = f"/v1/decisions/{decision['decisionId']}"
    async with sidecar_of(shop, shop.authority, "support") as support, asyncio.timeout(TIMEOUT_S):
        # The decision log is written a little later.
        while (explained := await ask(shop, "GET", why, by=support, **customer)).status != 200:
            await asyncio.sleep(0.05)
    to_the_shop = await ask(shop, "GET", why, **customer)

    assert ranked.status == 200
    assert decision["offers"][0]["offerId"] == "welcome"
    assert reported.json["results"][0]["attribution"] == "ATTRIBUTION_ATTRIBUTED"
    assert to_the_shop.status == 403
    assert {exclusion["offerId"] for exclusion in explained.json["exclusions"]} == {"frequent", "regular", "spender"}


async def test_error_comes_as_json_with_its_reason_and_field(shop: Mesh) -> None:
    refused = await ask(
        shop, "POST", "/v1/decisions:rank", {"customerId": "json:2", "placementId": "home", "maxOffers": -1}
    )

    assert refused.status == 400
    assert refused.json["code"] == 3
    details = {detail["@type"].rpartition(".")[2]: detail for detail in refused.json["details"]}
    assert details["ErrorInfo"]["reason"] == "INVALID_FIELD"
    assert details["BadRequest"]["fieldViolations"][0]["field"] == "max_offers"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/opportune.v1.ProfileService/EraseProfile", b"{}", 404),
        ("POST", "/opportune.v1.CatalogService/ApplyCatalog", b"{}", 404),
        ("POST", "/opportune.v1.DecisionService/ReplayDecision", b"{}", 404),
        ("GET", "/v1/profiles/web:1", b"", 404),
        ("POST", "/v1/decisions:rank?customer=1", b"{}", 400),
        ("POST", "/v1/decisions:rank", b"{", 400),
    ],
)
async def test_what_browsers_may_not_ask_is_refused(
    method: str, path: str, body: bytes, status: int, shop: Mesh
) -> None:
    grpc_web = await ask(shop, method, path, framed(b""), content_type="application/grpc-web+proto")
    plain = await ask(shop, method, path, body)

    assert plain.status == status
    # Envoy itself refuses what has no route, before anything of gRPC: an answer of a server would be a 200.
    assert (grpc_web.status, grpc_web.body) == (404, b"")
    assert "grpc-status" not in grpc_web.headers


async def test_grpc_web_ranks(shop: Mesh) -> None:
    request = decision_service_pb2.RankOffersRequest(customer_id="grpc-web:1", placement_id="home").SerializeToString()

    answer = await ask(
        shop, "POST", RANK, framed(request), content_type="application/grpc-web+proto", x_grpc_web="1", origin=SHOP
    )

    (message, trailers) = _frames(answer.body)
    response = decision_service_pb2.RankOffersResponse.FromString(message)
    assert answer.headers["content-type"] == "application/grpc-web+proto"
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert [offer.offer_id for offer in response.decision.offers] == ["welcome"]
    assert b"grpc-status:0" in trailers.replace(b" ", b"")


@pytest.mark.parametrize(("origin", "allowed"), [(SHOP, True), ("https://elsewhere.example", False)])
async def test_pages_of_the_shop_alone_may_ask(origin: str, allowed: bool, shop: Mesh) -> None:
    asked: dict[str, Any] = {"origin": origin, "access_control_request_method": "POST"}

    preflight = await ask(
        shop, "OPTIONS", RANK, **asked, access_control_request_headers="content-type,x-grpc-web,x-opportune-customer"
    )

    assert preflight.headers.get("access-control-allow-origin") == (origin if allowed else None)
    if allowed:
        assert preflight.status == 200
        assert CUSTOMER_HEADER in preflight.headers["access-control-allow-headers"]


async def test_access_logs_have_nothing_that_a_caller_chose(shop: Mesh) -> None:
    planted = [f"planted-{number}" for number in range(8)]
    body = {"customerId": planted[0], "placementId": planted[1], planted[2]: planted[3]}
    headers: dict[str, Any] = {"x_opportune_customer": planted[4], "x_request_id": planted[5], "user_agent": planted[6]}
    await ask(shop, "POST", "/v1/decisions:rank", body, **headers)
    await ask(shop, "POST", f"/v1/decisions:rank?customer={planted[7]}", b'{"' + planted[2].encode(), **headers)
    await ask(shop, "GET", f"/v1/decisions/{planted[7]}?who={planted[0]}", **headers)
    await ask(shop, "GET", f"/v1/{planted[7]}", **headers)
    await ask(shop, "GET", "/", referer=f"https://shop.example/{planted[0]}", host=f"{planted[1]}.example")
    await shop.connection().rank(planted[0])

    logs = [await envoy.logged() for envoy in (shop.envoy, *shop.sidecars)]

    assert all(log.count("\n") for log in logs)
    assert not [text for text in planted if any(text in log for log in logs)]


async def test_access_log_tells_what_became_of_a_call(shop: Mesh) -> None:
    before = (await shop.envoy.logged()).count("\n")
    arrived = [(await sidecar.logged()).count("\n") for sidecar in shop.sidecars]

    await ask(shop, "POST", "/v1/decisions:rank", {"customerId": "logged:1", "placementId": "home"})

    line = json.loads((await shop.envoy.logged()).splitlines()[before])
    assert {key: line[key] for key in ("route", "code", "grpc_status", "attempts")} == {
        "route": "RankOffers",
        "code": 200,
        "grpc_status": "OK",
        "attempts": 1,
    }
    seen = [
        json.loads(entry)["peer"]
        for sidecar, known in zip(shop.sidecars, arrived, strict=True)
        for entry in (await sidecar.logged()).splitlines()[known:]
    ]
    assert set(seen) == {"spiffe://opportune.example/ns/shop/sa/web"}


def framed(message: bytes) -> bytes:
    """A message as gRPC-Web sends it."""
    return b"\0" + struct.pack(">I", len(message)) + message


def _frames(body: bytes) -> list[bytes]:
    """The frames of a gRPC-Web answer: messages, and the trailers last."""
    frames = []
    while body:
        length = struct.unpack_from(">I", body, 1)[0]
        frames.append(body[5 : 5 + length])
        body = body[5 + length :]
    return frames
