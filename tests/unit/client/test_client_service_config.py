"""The published service config names every method, and retries none for which a second attempt has a second effect."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
from opportune.client import CHANNEL_OPTIONS, service_config
from opportune.v1 import (
    audience_service_pb2,
    catalog_service_pb2,
    decision_service_pb2,
    outcome_service_pb2,
    profile_service_pb2,
)

SOURCE = Path(__file__).parents[3] / "protos" / "service_config.json"
MODULES: tuple[Any, ...] = (
    audience_service_pb2,
    catalog_service_pb2,
    decision_service_pb2,
    outcome_service_pb2,
    profile_service_pb2,
)
NOT_REPEATABLE = {
    # Without a sequence, deltas are applied as often as they come.
    "ApplyProfileDeltas",
    # The second time the answer is another one: NOT_LINKED, NOT_FOUND, a new version.
    "UnlinkIdentifier",
    "EraseProfile",
    "ApplyCatalog",
    # A stream is resumed from its watermark, by whoever knows what comes behind it.
    "StreamProfileDeltas",
    "LoadProfiles",
}


def configured() -> list[tuple[str, dict[str, Any]]]:
    """Each name with its configuration."""
    config = json.loads(service_config())
    return [
        (f"{name['service']}/{name['method']}", entry) for entry in config["methodConfig"] for name in entry["name"]
    ]


def test_installed_config_is_that_of_the_repository() -> None:
    assert service_config() == SOURCE.read_text(encoding="utf-8")
    assert dict(CHANNEL_OPTIONS)["grpc.service_config"] == service_config()


def test_every_method_of_every_service_is_configured_once() -> None:
    methods = [
        f"{service.full_name}/{method.name}"
        for module in MODULES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]

    assert Counter(name for name, _ in configured()) == Counter(methods)


def test_what_cannot_be_repeated_is_not_retried_and_all_else_is() -> None:
    not_retried = {name.partition("/")[2] for name, entry in configured() if "retryPolicy" not in entry}

    assert not_retried == NOT_REPEATABLE


def test_only_unavailable_is_retried() -> None:
    codes = {code for _, entry in configured() for code in entry.get("retryPolicy", {}).get("retryableStatusCodes", ())}

    assert codes == {grpc.StatusCode.UNAVAILABLE.name}


def test_every_call_has_a_deadline_and_streams_of_deltas_have_none() -> None:
    without = {name.partition("/")[2] for name, entry in configured() if "timeout" not in entry}

    assert without == {"StreamProfileDeltas", "LoadProfiles"}
