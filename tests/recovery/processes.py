"""Two ways to begin a server process: from nothing, and faster.

Either is `python -m server serve`, but for one thing: it looks for what a snapshot is due of twenty times a second and
not once, so that snapshots and truncation happen all the time and not only in the servers that live for long.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parents[2]
CHECK_S = 0.05


class Begun(Protocol):
    """A process that was begun."""

    def kill(self) -> None:
        """Kills it, if it has not ended."""
        ...

    def terminate(self) -> None:
        """Asks it to end."""
        ...

    def wait(self) -> int:
        """Waits until it has ended, and returns its exit code."""
        ...


Begin = Callable[[list[str], int], Begun]
"""Begins a server with these flags; the descriptor is for what it writes to standard error."""


def cold(flags: list[str], descriptor: int) -> Begun:
    """Begins a process that imports everything first: about a second of the processor's."""
    command = [sys.executable, "-m", "tests.recovery.processes", *flags]
    return subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=subprocess.DEVNULL, stderr=descriptor)


def warm(flags: list[str], descriptor: int) -> Begun:
    """Begins the same as a fork of a process that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["server.app", "server.cli", "tests.recovery.processes"])
    with Connection(os.dup(descriptor), readable=False) as errors:
        process = context.Process(target=_serve, args=(flags, errors), daemon=True)
        process.start()
    return _Forked(process)


class _Forked:
    """A process of `multiprocessing`."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self) -> int:
        self._process.join()
        return int(self._process.exitcode)


def _serve(flags: list[str], errors: "Connection[Any, Any]") -> None:
    """Runs in the fork."""
    os.dup2(errors.fileno(), 2)
    errors.close()
    for name in os.environ.keys() - _environment().keys():
        del os.environ[name]
    sys.exit(_main(flags))


def _main(flags: list[str]) -> int:
    from server.cli import main
    from server.execution.snapshotter import Snapshotter

    # A killed server leaves its folder of sockets behind, so it is one that is removed with the data.
    tempfile.tempdir = str(Path(flags[flags.index("--data") + 1]).parent)
    run = Snapshotter.run

    async def run_faster(self: Snapshotter, check_s: float = CHECK_S) -> None:
        await run(self, check_s)

    Snapshotter.run = run_faster  # type: ignore[method-assign]
    return main(["serve", *flags])


def _environment() -> dict[str, str]:
    """The environment without the settings of whoever runs the tests."""
    return {name: content for name, content in os.environ.items() if not name.startswith("OPPORTUNE_")}


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
