"""The manifests are valid, and ask for no more than a server needs."""

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from kubernetes_validate import SchemaNotFoundError, validate  # type: ignore[import-untyped]
from opportune.client import service_config

from server.inspecting import MEMORY_BYTES
from server.settings import Settings
from tests.unit.deploy.rendered import KUBERNETES, ROOT, VARIANTS, named, of_kind, only, resources

SCHEMAS: dict[str, Any] = json.loads((KUBERNETES / "schemas" / "istio.json").read_text(encoding="utf-8"))
ISTIO = {"AuthorizationPolicy", "DestinationRule", "PeerAuthentication", "VirtualService"}
WITHOUT_CODE = {"cancelled", "connect-failure", "refused-stream", "reset"}
"""What a mesh repeats that the service config has no code for; `deploy/envoy.yaml` says why."""


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


def test_route_for_every_method_that_repeats_is_refused() -> None:
    resource = named("overlays/istio", "VirtualService", "opportune-servers")
    (route,) = resource["spec"]["http"]
    assert "match" not in route
    route["retries"] = {"attempts": 1}

    with pytest.raises(jsonschema.ValidationError, match="0 was expected"):
        jsonschema.validate(resource, {**SCHEMAS, "$ref": "#/$defs/VirtualService"})


def test_base_has_all_that_a_deployment_is_made_of() -> None:
    kinds = sorted(resource["kind"] for resource in resources("base"))

    assert kinds == [
        "ConfigMap", "HorizontalPodAutoscaler", "Namespace", "NetworkPolicy", "PodDisruptionBudget",
        "Service", "Service", "ServiceAccount", "StatefulSet",
    ]  # fmt: skip
    assert {kind["kind"] for kind in resources("overlays/istio")} - set(kinds) == ISTIO


@pytest.mark.parametrize("variant", VARIANTS)
def test_server_runs_as_nobody_and_writes_to_its_volumes_alone(variant: str) -> None:
    pod, container = _pod(variant), _container(variant)
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


@pytest.mark.parametrize("variant", ["base", "overlays/istio"])
def test_a_hostile_model_may_be_inspected_beside_what_a_server_asks_for(variant: str) -> None:
    resources_of = _container(variant)["resources"]
    sizes = [int(resources_of[name]["memory"].removesuffix("Gi")) * 2**30 for name in ("requests", "limits")]

    assert sizes[1] - sizes[0] >= MEMORY_BYTES


def test_number_of_servers_is_the_autoscalers_alone() -> None:
    scaler = only("base", "HorizontalPodAutoscaler")["spec"]

    assert scaler["minReplicas"] == 2
    for variant in ("base", "overlays/istio"):
        assert "replicas" not in only(variant, "StatefulSet")["spec"]
    # Where there is no autoscaler, somebody has to say it.
    assert not of_kind("overlays/dev", "HorizontalPodAutoscaler")
    assert only("overlays/dev", "StatefulSet")["spec"]["replicas"] == 1


def test_vault_is_the_secret_that_the_readme_has_made() -> None:
    said = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    (volume,) = [each for each in _pod("base")["volumes"] if each["name"] == "vault"]
    (mount,) = [each for each in _container("base")["volumeMounts"] if each["name"] == "vault"]
    file = Path(tomllib.loads(only("base", "ConfigMap")["data"]["opportune.toml"])["vault_key_file"])

    assert str(file.parent) == mount["mountPath"]
    assert "optional" not in volume["secret"]
    assert f"create secret generic {volume['secret']['secretName']} --from-literal={file.name}=" in said


def test_metrics_are_scraped_past_the_sidecar_and_through_the_network_policy() -> None:
    annotations = only("overlays/istio", "StatefulSet")["spec"]["template"]["metadata"]["annotations"]
    (port,) = [each["containerPort"] for each in _container("overlays/istio")["ports"] if each["name"] == "metrics"]
    settings = tomllib.loads(only("overlays/istio", "ConfigMap")["data"]["opportune.toml"])
    rules = only("overlays/istio", "NetworkPolicy")["spec"]["ingress"]
    scraping = [rule["from"] for rule in rules if {"protocol": "TCP", "port": port} in rule["ports"]]

    assert annotations["traffic.sidecar.istio.io/excludeInboundPorts"] == str(port)
    assert settings["metrics_listen"].rpartition(":")[2] == str(port)
    # Nothing else guards it then.
    assert scraping == [[{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]]


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
    routes = named("overlays/istio", "VirtualService", "opportune")["spec"]["http"]
    said = {
        match["uri"]["exact"]: (route["timeout"], route["retries"]["attempts"] + 1, _repeated(route["retries"]))
        for route in routes
        for match in route["match"]
    }

    assert said == {
        f"/{name['service']}/{name['method']}": (
            entry.get("timeout", "0s"),
            entry.get("retryPolicy", {}).get("maxAttempts", 1),
            set(entry.get("retryPolicy", {}).get("retryableStatusCodes", ())),
        )
        for entry in json.loads(service_config())["methodConfig"]
        for name in entry["name"]
    }


def test_mesh_repeats_nothing_that_is_sent_to_a_server_by_its_name() -> None:
    service = only("overlays/istio", "StatefulSet")["spec"]["serviceName"]
    by_name = named("overlays/istio", "VirtualService", service)["spec"]
    host = f"{service}.opportune.svc.cluster.local"

    # Of the service itself: Istio has its routes under `*.host` too, and passes over what names no service.
    assert by_name["hosts"] == [host]
    (route,) = by_name["http"]
    assert "match" not in route
    assert (route["timeout"], route["retries"]) == ("0s", {"attempts": 0})
    assert [each["destination"] for each in route["route"]] == [{"host": host, "port": {"number": 50051}}]


def test_envoy_calls_the_servers_by_the_names_that_they_have() -> None:
    stateful_set = only("base", "StatefulSet")
    domain = f"{stateful_set['spec']['serviceName']}.{stateful_set['metadata']['namespace']}.svc.cluster.local"
    outbound, inbound = (_envoy(name) for name in ("envoy.yaml", "envoy-inbound.yaml"))
    (cluster,) = outbound["clusters"]
    endpoints = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    (listener,) = inbound["listeners"]
    port = listener["address"]["socket_address"]["port_value"]
    names = [f"{stateful_set['metadata']['name']}-{number}" for number in range(len(endpoints))]

    assert [each["endpoint"]["address"]["socket_address"] for each in endpoints] == [
        {"address": f"{name}.{domain}", "port_value": port} for name in names
    ]
    assert [each["metadata"]["filter_metadata"]["envoy.lb"]["server"] for each in endpoints] == names


def test_istio_allows_what_the_sidecar_of_envoy_allows() -> None:
    chain = _envoy("envoy-inbound.yaml")["listeners"][0]["filter_chains"][0]
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


def _pod(variant: str) -> dict[str, Any]:
    pod: dict[str, Any] = only(variant, "StatefulSet")["spec"]["template"]["spec"]
    return pod


def _container(variant: str) -> dict[str, Any]:
    (container,) = _pod(variant)["containers"]
    found: dict[str, Any] = container
    return found


def _envoy(name: str) -> dict[str, Any]:
    """What a configuration of Envoy has from the start."""
    resources: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / name).read_text(encoding="utf-8"))["static_resources"]
    return resources


def _repeated(retries: dict[str, Any]) -> set[str]:
    """The codes that a route of Istio repeats."""
    conditions = set(retries["retryOn"].split(",")) if retries["attempts"] else set()
    assert not conditions or conditions > WITHOUT_CODE
    assert retries.keys() <= {"attempts", "retryOn"}
    return {name.replace("-", "_").upper() for name in conditions - WITHOUT_CODE}


def _path(permission: dict[str, Any]) -> str:
    path = permission["url_path"]["path"]
    return str(path["exact"]) if "exact" in path else f"{path['prefix']}*"
