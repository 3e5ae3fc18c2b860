"""Servers in processes of their own, on free loopback ports, and knowing when they are ready."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from loadtest.children import child
from loadtest.workload import Workload

HOST = "127.0.0.1"
READY_WITHIN_S = 120.0
LOG_LINES = 30

ServeCommand = Callable[[Workload, int, str], Sequence[str]]
"""What `python` is called with to serve a workload on a port with a transport."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready."""

    pid: int
    address: str


class ServerFailedError(Exception):
    """A server ended or stayed silent; the message has the end of its log."""


def opportune(workload: Workload, port: int, transport: str) -> Sequence[str]:
    """The decisioning service, keeping nothing on disk."""
    files = ["--catalog", str(workload.catalog), "--models", str(workload.models)]
    where = ["--listen", f"{HOST}:{port}", "--transport", transport, "--drain-seconds", "0"]
    return ["-m", "server", "serve", "--ephemeral", *files, *where]


def durable(data: Path, *settings: str) -> ServeCommand:
    """The decisioning service with everything in a data folder, with more settings if wanted."""

    def command(workload: Workload, port: int, transport: str) -> Sequence[str]:
        ephemeral = opportune(workload, port, transport)
        return [*(part for part in ephemeral if part != "--ephemeral"), "--data", str(data), *settings]

    return command


def empty(reply: Path, port: int) -> Sequence[str]:
    """The empty handler, answering with the bytes of a file."""
    return ["-m", "loadtest.empty", str(port), str(reply)]


def empty_stream(port: int) -> Sequence[str]:
    """The stream that acknowledges everything at once and keeps nothing."""
    return ["-m", "loadtest.empty_stream", str(port)]


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(
    command: Sequence[str],
    port: int,
    log: Path,
    ready: Callable[[grpc.Channel], bool],
    scratch: Path | None = None,
) -> Iterator[Server]:
    """Starts a server, waits until it is ready, and ends it with the block; `scratch` as for `child`."""
    with log.open("w") as output, child(command, stdout=output, stderr=output, scratch=scratch) as process:
        _wait(process, f"{HOST}:{port}", log, ready)
        yield Server(process.pid, f"{HOST}:{port}")


def _wait(process: subprocess.Popen[str], address: str, log: Path, ready: Callable[[grpc.Channel], bool]) -> None:
    give_up = time.monotonic() + READY_WITHIN_S
    with grpc.insecure_channel(address) as channel:
        while not ready(channel):
            if process.poll() is not None or time.monotonic() > give_up:
                tail = "\n".join(log.read_text().splitlines()[-LOG_LINES:])
                raise ServerFailedError(f"{address} did not become ready (exit {process.poll()}):\n{tail}")
            time.sleep(0.1)


def is_healthy(channel: grpc.Channel) -> bool:
    """Whether the standard health service says that the server as a whole is serving."""
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def is_connected(channel: grpc.Channel) -> bool:
    """Whether the port takes connections: all that can be asked of a server without a health service."""
    try:
        grpc.channel_ready_future(channel).result(timeout=2)
    except grpc.FutureTimeoutError:
        return False
    return True
