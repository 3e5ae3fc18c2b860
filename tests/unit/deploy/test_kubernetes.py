"""The manifests are valid, and ask for no more than a server needs."""

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from kubernetes_validate import SchemaNotFoundError, validate  # type: ignore[import-untyped]
from opportune.client import service_config

from server.settings import Settings
from tests.unit.deploy.rendered import KUBERNETES, ROOT, VARIANTS, of_kind, only, resources

SCHEMAS: dict[str, Any] = json.loads((KUBERNETES / "schemas" / "istio.json").read_text(encoding="utf-8"))
ISTIO = {"AuthorizationPolicy", "DestinationRule", "PeerAuthentication", "VirtualService"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_resource_is_what_its_schema_says(variant: str) -> None:
    for resource in resources(variant):
        if resource["kind"] in ISTIO:
            jsonschema.validate(resource, {**SCHEMAS, "$ref": f"#/$defs/{resource['kind']}"})
        else:
            validate(resource, "1.37", strict=True)


@pytest.mark.parametrize(
    ("kind", "field"), [("DestinationRule", "hots"), ("VirtualService", "htp"), ("AuthorizationPolicy", "rule")]
)
def test_misspelt_field_of_istio_is_refused(kind: str, field: str) -> None:
    resource = of_kind("overlays/istio", kind)[0]
    resource["spec"][field] = []

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(resource, {**SCHEMAS, "$ref": f"#/$defs/{kind}"})
    with pytest.raises(SchemaNotFoundError):
        validate(resource, "1.37", strict=True)


def test_policy_that_allows_everybody_is_refused() -> None:
    resource = of_kind("overlays/istio", "AuthorizationPolicy")[0]
    assert resource["spec"]["action"] == "ALLOW"
    del resource["spec"]["rules"][0]["from"]

    with pytest.raises(jsonschema.ValidationError, match="'from' is a required property"):
        jsonschema.validate(resource, {**SCHEMAS, "$ref": "#/$defs/AuthorizationPolicy"})


def test_base_has_all_that_a_deployment_is_made_of() -> None:
    kinds = sorted(resource["kind"] for resource in resources("base"))

    assert kinds == [
        "ConfigMap", "HorizontalPodAutoscaler", "Namespace", "NetworkPolicy", "PodDisruptionBudget",
        "Service", "Service", "ServiceAccount", "StatefulSet",
    ]  # fmt: skip
    assert {kind["kind"] for kind in resources("overlays/istio")} - set(kinds) == ISTIO


@pytest.mark.parametrize("variant", VARIANTS)
def test_server_runs_as_nobody_and_writes_to_its_volumes_alone(variant: str) -> None:
    pod = only(variant, "StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}

    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod["automountServiceAccountToken"]
    assert {path for path, read_only in mounts.items() if not read_only} == {"/data", "/erasures", "/tmp"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_settings_are_ones_that_the_server_takes(variant: str) -> None:
    settings = tomllib.loads(only(variant, "ConfigMap")["data"]["opportune.toml"])

    assert settings.keys() <= Settings.model_fields.keys()
    mounted = {mount["mountPath"] for mount in _container(variant)["volumeMounts"]}
    # What is written is written to a volume, and erasures to another one than data.
    assert settings["data"] in mounted
    assert str(Path(settings["erasures"]).parent) in mounted - {settings["data"]}


@pytest.mark.parametrize("variant", VARIANTS)
def test_environment_is_of_settings_that_the_server_has(variant: str) -> None:
    names = [entry["name"] for entry in _container(variant)["env"] if entry["name"].startswith("OPPORTUNE_")]

    assert names
    assert {name.removeprefix("OPPORTUNE_").lower() for name in names} <= Settings.model_fields.keys()


def test_every_server_can_be_called_by_name_and_all_of_them_together() -> None:
    services = {service["metadata"]["name"]: service["spec"] for service in of_kind("base", "Service")}
    istio = {service["metadata"]["name"]: service["spec"] for service in of_kind("overlays/istio", "Service")}

    assert only("base", "StatefulSet")["spec"]["serviceName"] == "opportune-servers"
    assert services["opportune-servers"]["publishNotReadyAddresses"]
    assert {name: spec["clusterIP"] for name, spec in services.items()} == dict.fromkeys(services, "None")
    # Istio balances no headless service.
    assert "clusterIP" not in istio["opportune"]
    assert istio["opportune-servers"]["clusterIP"] == "None"


def test_mesh_has_the_deadlines_and_retries_of_the_service_config() -> None:
    routes = only("overlays/istio", "VirtualService")["spec"]["http"]
    said = {
        match["uri"]["exact"]: (route["timeout"], route["retries"]["attempts"] + 1)
        for route in routes
        for match in route["match"]
    }

    assert said == {
        f"/{name['service']}/{name['method']}": (
            entry.get("timeout", "0s"),
            entry.get("retryPolicy", {}).get("maxAttempts", 1),
        )
        for entry in json.loads(service_config())["methodConfig"]
        for name in entry["name"]
    }


def test_istio_allows_what_the_sidecar_of_envoy_allows() -> None:
    import yaml

    inbound = yaml.safe_load((ROOT / "deploy" / "envoy-inbound.yaml").read_text(encoding="utf-8"))
    chain = inbound["static_resources"]["listeners"][0]["filter_chains"][0]
    rbac = chain["filters"][0]["typed_config"]["http_filters"][0]["typed_config"]["rules"]
    by_envoy = {
        (principal["authenticated"]["principal_name"]["exact"].partition("/ns/")[2], _path(permission))
        for name, policy in rbac["policies"].items()
        if name != "health"
        for permission in policy["permissions"]
        for principal in policy["principals"]
    }
    by_istio = {
        (principal.partition("/ns/")[2], path)
        for policy in of_kind("overlays/istio", "AuthorizationPolicy")
        if policy["spec"]["action"] == "ALLOW" and policy["metadata"]["name"] != "opportune-health"
        for rule in policy["spec"]["rules"]
        for principal in rule["from"][0]["source"]["principals"]
        for path in rule["to"][0]["operation"]["paths"]
    }

    assert by_istio == by_envoy


def test_istio_refuses_packed_requests_to_every_port_of_the_servers() -> None:
    (denied,) = [
        policy["spec"]
        for policy in of_kind("overlays/istio", "AuthorizationPolicy")
        if policy["spec"]["action"] == "DENY"
    ]

    assert denied["selector"] == only("overlays/istio", "PeerAuthentication")["spec"]["selector"]
    (rule,) = denied["rules"]
    assert list(rule) == ["when"]
    assert rule["when"] == [{"key": "request.headers[grpc-encoding]", "values": ["gzip", "deflate", "zstd", "snappy"]}]


def _container(variant: str) -> dict[str, Any]:
    (container,) = only(variant, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def _path(permission: dict[str, Any]) -> str:
    path = permission["url_path"]["path"]
    return str(path["exact"]) if "exact" in path else f"{path['prefix']}*"
