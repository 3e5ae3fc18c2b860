"""The sidecars of `deploy/`, as far as they can be read without running them."""

from typing import Any

import yaml

from tests.unit.deploy.rendered import ROOT


def inbound_routes() -> list[dict[str, Any]]:
    """The routes to a server, in the order in which they are tried."""
    config = yaml.safe_load((ROOT / "deploy" / "envoy-inbound.yaml").read_text(encoding="utf-8"))
    (listener,) = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    routes: list[dict[str, Any]] = host["routes"]
    return routes


def test_packed_requests_are_refused_before_any_route_leads_to_the_server() -> None:
    first, *others = inbound_routes()

    assert (first["name"], first["match"]["prefix"], first["direct_response"]["status"]) == ("packed", "/", 404)
    assert [route["name"] for route in others] == ["health", "server"]
