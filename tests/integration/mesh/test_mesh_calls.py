"""Calls through the mesh: who gets where, and as whom."""

import asyncio
import json
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opportune.client import CHANNEL_OPTIONS
from opportune.v1 import catalog_service_pb2, decision_service_pb2, decision_service_pb2_grpc, profile_service_pb2

from tests.integration.connection import TIMEOUT_S, Connection, connected, delta, refusal
from tests.integration.mesh.certificates import Authority, caller
from tests.integration.mesh.envoys import inbound, outbound, read, running
from tests.integration.mesh.meshes import CUSTOMER_HEADER, Mesh, sidecar_of
from tests.integration.mesh.servers import Server

DECISIONS = decision_service_pb2.DESCRIPTOR.services_by_name["DecisionService"].full_name


def ranking(customer_id: str) -> decision_service_pb2.RankOffersRequest:
    return decision_service_pb2.RankOffersRequest(customer_id=customer_id, placement_id="home")


async def rank(connection: Connection, customer_id: str) -> Any:
    """Ranks as the documentation says: with the header that finds the customer's server."""
    metadata = ((CUSTOMER_HEADER, customer_id),)
    response = await connection.decisions.RankOffers(ranking(customer_id), timeout=TIMEOUT_S, metadata=metadata)
    return response.decision


async def test_customer_is_always_ranked_by_the_same_server_and_both_servers_rank(shop: Mesh) -> None:
    connection = shop.connection()
    customers = [f"ring:{number}" for number in range(40)]
    before = (await shop.envoy.logged()).count("\n")

    for customer in 3 * customers:
        await rank(connection, customer)

    lines = (await shop.envoy.logged()).splitlines()[before:]
    servers = [json.loads(line)["server"] for line in lines]
    assert len(servers) == 120
    assert servers[:40] == servers[40:80] == servers[80:]
    assert sorted({servers.count(server) // 3 >= 10 for server in servers}) == [True]
    assert len(set(servers)) == 2


async def test_server_is_called_itself_by_its_own_name(shop: Mesh, servers: tuple[Server, Server]) -> None:
    for number, server in enumerate(servers):
        async with connected(server.port) as direct:
            await direct.apply_deltas(delta(f"named:{number}", visits=5))

    # Each knows its own customer, and only by asking the right one do both decisions come out so.
    for number in range(2):
        decision = await rank(shop.connection(f"opportune-{number}"), f"named:{number}")
        other = await rank(shop.connection(f"opportune-{1 - number}"), f"named:{number}")
        assert "frequent" in [offer.offer_id for offer in decision.offers]
        assert "frequent" not in [offer.offer_id for offer in other.offers]


async def test_health_is_not_passed_on_and_channels_with_the_service_config_call_all_the_same(shop: Mesh) -> None:
    connection = shop.connection()
    stub: Any = health_pb2_grpc.HealthStub(connection.channel)
    address = f"127.0.0.1:{shop.envoy.ports['outbound']}"
    async with aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        decisions: Any = decision_service_pb2_grpc.DecisionServiceStub(channel)  # type: ignore[no-untyped-call]
        answer = await decisions.RankOffers(ranking("config:1"), wait_for_ready=True, timeout=TIMEOUT_S)

    assert (await refusal(stub.Check(health_pb2.HealthCheckRequest()))).code is grpc.StatusCode.UNIMPLEMENTED
    assert answer.decision.decision_id


CALLS: dict[str, Any] = {
    "RankOffers": lambda to: to.decisions.RankOffers(ranking("rbac:1"), timeout=TIMEOUT_S),
    "GetDecision": lambda to: to.decisions.GetDecision(
        decision_service_pb2.GetDecisionRequest(decision_id="0" * 32), timeout=TIMEOUT_S
    ),
    "ApplyProfileDeltas": lambda to: to.profiles.ApplyProfileDeltas(
        profile_service_pb2.ApplyProfileDeltasRequest(source="rbac"), timeout=TIMEOUT_S
    ),
    "GetProfile": lambda to: to.profiles.GetProfile(
        profile_service_pb2.GetProfileRequest(customer_id="rbac:none"), timeout=TIMEOUT_S
    ),
    "ListOffers": lambda to: to.catalogs.ListOffers(catalog_service_pb2.ListOffersRequest(), timeout=TIMEOUT_S),
}


@pytest.mark.parametrize(
    ("account", "allowed"),
    [
        ("checkout", {"RankOffers"}),
        ("web", {"RankOffers"}),
        ("crm", {"ApplyProfileDeltas"}),
        ("support", {"GetDecision", "GetProfile"}),
        ("campaigns", {"ListOffers"}),
        ("stranger", set()),
    ],
)
async def test_account_may_call_what_its_spiffe_id_is_allowed(account: str, allowed: set[str], shop: Mesh) -> None:
    async with sidecar_of(shop, shop.authority, account) as envoy:
        connection = Connection(envoy.ports["outbound"])
        codes = {name: await _code(call(connection)) for name, call in CALLS.items()}

    assert {name for name, code in codes.items() if code is not grpc.StatusCode.PERMISSION_DENIED} == allowed


@pytest.mark.parametrize("account", ["checkout", "web"])
async def test_packed_request_is_refused_before_anybody_unpacks_it(account: str, shop: Mesh) -> None:
    # 100 KB on their way, 100 MiB once they are unpacked.
    payload = b"\x0a\x80\x80\x80\x32" + bytes(100 * 2**20)
    async with sidecar_of(shop, shop.authority, account) as envoy:
        channel = Connection(envoy.ports["outbound"]).channel
        call: Any = channel.unary_unary(f"/{DECISIONS}/RankOffers")
        packed = call(payload, timeout=TIMEOUT_S, compression=grpc.Compression.Gzip)

        assert await _code(packed) is grpc.StatusCode.UNIMPLEMENTED
        assert await packed.details() == "packed requests are not taken"

        as_it_is = ranking("packed:1").SerializeToString()
        said = call(as_it_is, timeout=TIMEOUT_S, compression=grpc.Compression.NoCompression)
        assert await _code(said) is grpc.StatusCode.OK


async def test_certificate_of_another_authority_is_refused(shop: Mesh) -> None:
    async with sidecar_of(shop, Authority("another"), "checkout", healthy=0) as envoy:
        assert await _code(CALLS["RankOffers"](Connection(envoy.ports["outbound"]))) is grpc.StatusCode.UNAVAILABLE


async def test_caller_without_certificate_is_refused(shop: Mesh) -> None:
    config = read("envoy.yaml")
    cluster = config["static_resources"]["clusters"][0]
    del cluster["transport_socket"]["typed_config"]["common_tls_context"]["tls_certificates"]
    for entry, sidecar in zip(cluster["load_assignment"]["endpoints"][0]["lb_endpoints"], shop.sidecars, strict=True):
        address = {"address": "127.0.0.1", "port_value": sidecar.ports["inbound"]}
        entry["endpoint"]["address"]["socket_address"] = address
    async with running(shop.folder / "no-certificate", config, shop.folder / "caller-tls") as envoy:
        await envoy.until_checked("opportune", 4)
        connection = Connection(envoy.ports["outbound"])
        assert await _code(CALLS["RankOffers"](connection)) is grpc.StatusCode.UNAVAILABLE
    # Refused by TLS itself, not only by the policies behind it.
    assert await shop.sidecars[0].stat(r"listener\..*\.ssl\.fail_verify_no_cert") > 0


async def test_server_with_another_name_is_not_called(shop: Mesh, servers: tuple[Server, Server]) -> None:
    impostor = shop.authority.issue(shop.folder / "impostor-tls", caller("checkout"))
    async with inbound(shop.folder / "impostor", impostor, servers[0].port) as sidecar:
        ports = [sidecar.ports["inbound"]] * 2
        async with outbound(shop.folder / "deceived", shop.folder / "caller-tls", ports) as envoy:
            await envoy.until_checked("opportune", 4)
            connection = Connection(envoy.ports["outbound"])
            assert await _code(CALLS["RankOffers"](connection)) is grpc.StatusCode.UNAVAILABLE


async def test_sidecar_takes_no_call_without_tls(shop: Mesh) -> None:
    connection = Connection(shop.sidecars[0].ports["inbound"])

    assert await _code(CALLS["RankOffers"](connection)) is grpc.StatusCode.UNAVAILABLE


async def _code(call: Any) -> grpc.StatusCode:
    try:
        await asyncio.wait_for(asyncio.ensure_future(call), TIMEOUT_S)
    except aio.AioRpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK
