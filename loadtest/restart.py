"""Starting a server, on a folder that a killed one has left or on none, timed to a few milliseconds."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from loadtest.children import child
from loadtest.ground import Ground
from loadtest.marker import Marker
from loadtest.procfs import MachineTime, cpu_seconds
from loadtest.progress import say
from loadtest.read_back import NotKeptError
from loadtest.serving import HOST, READY_WITHIN_S, ServerFailedError, free_port, is_healthy

STEP_S = 0.005


@dataclass(frozen=True, slots=True)
class Restart:
    """One start: from exec to the first SERVING, and from there until the last acknowledged delta was read."""

    ready_s: float
    first_answer_s: float
    server_cpu_s: float
    steal_percent: float
    others_percent: float


@dataclass(frozen=True, slots=True)
class Started:
    """A server that was started: when, how long it took until it said SERVING, and a channel to it."""

    pid: int
    began_s: float
    ready_s: float
    channel: grpc.Channel


@contextlib.contextmanager
def started(command: Sequence[str], port: int, log: Path, scratch: Path | None = None) -> Iterator[Started]:
    """Starts a server and waits until it says SERVING; it is killed with the block.

    Raises:
        ServerFailedError: it does not serve.
    """
    with log.open("w") as output:
        began_s = time.monotonic()
        with child(command, stdout=output, stderr=output, scratch=scratch) as process:
            with _serving(process, port, log) as channel:
                yield Started(process.pid, began_s, time.monotonic() - began_s, channel)
            process.kill()


def restart(ground: Ground, marker: Marker, settings: Sequence[str]) -> Restart:
    """Starts a server, requires the marker of it as soon as it says that it serves, and kills it.

    Raises:
        NotKeptError: it said that it serves before it had caught up.
        ServerFailedError: it does not serve.
    """
    port = free_port()
    machine, own_s = MachineTime.now(), cpu_seconds(os.getpid())
    with started(ground.command(port, *settings), port, ground.log, ground.directory) as server:
        _require(marker, server.channel)
        answered_s = time.monotonic() - server.began_s
        spent_s, after = cpu_seconds(os.getpid()) - own_s, MachineTime.now()
        server_cpu_s = cpu_seconds(server.pid)
    say(f"SERVING after {server.ready_s:.2f} s, and the last acknowledged delta is there")
    return Restart(
        server.ready_s,
        answered_s - server.ready_s,
        server_cpu_s,
        after.steal_percent_since(machine),
        after.others_percent_since(machine, spent_s),
    )


def _serving(process: subprocess.Popen[str], port: int, log: Path) -> grpc.Channel:
    """A channel to the server, as soon as it is SERVING.

    A channel that has found nobody waits longer and longer before it looks again, so a plain socket looks first.
    """
    give_up = time.monotonic() + READY_WITHIN_S
    while not listens(port):
        if process.poll() is not None or time.monotonic() > give_up:
            raise ServerFailedError(f"No server came up (exit {process.poll()}):\n{log.read_text()}")
        time.sleep(STEP_S)
    channel = grpc.insecure_channel(f"{HOST}:{port}")
    while not is_healthy(channel):
        if process.poll() is not None or time.monotonic() > give_up:
            raise ServerFailedError(f"The server does not serve (exit {process.poll()}):\n{log.read_text()}")
        time.sleep(STEP_S)
    return channel


def listens(port: int) -> bool:
    """Whether somebody takes connections on a port of the loopback interface."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _require(marker: Marker, channel: grpc.Channel) -> None:
    try:
        marker.require(channel)
    except grpc.RpcError as error:
        raise NotKeptError(f"It was SERVING, and then did not know the last acknowledged delta: {error}") from error
