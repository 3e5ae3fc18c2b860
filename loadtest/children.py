"""Child processes that never outlive the load test: each is ended by its own pid, whatever happens."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
"""The root of the repository: where `python -m server` and `python -m loadtest.…` are found."""

GRACE_S = 8.0
PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def child(
    command: Sequence[str],
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[str] | None = None,
    stderr: int | IO[str] | None = None,
    scratch: Path | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Runs `python ARGUMENTS` from the root until the block ends, then SIGTERM and, 8 s later, SIGKILL.

    A session of its own keeps the terminal's Ctrl-C from it: the parent unwinds and ends it. If the parent is
    killed instead, the kernel ends it (`tether`). Its temporary files go to `scratch`, where one that is killed may
    leave them.
    """
    tethered = [sys.executable, "-m", "loadtest.children", str(os.getpid()), *command]
    environment = None if scratch is None else os.environ | {"TMPDIR": str(scratch)}
    process = subprocess.Popen(
        tethered,
        cwd=ROOT,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Ends a child and waits until it is gone."""
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            # A generator that died with a command unread leaves a pipe that cannot be flushed.
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def tether(parent: int) -> None:
    """Asks the kernel to end this process when its parent dies; survives `exec` (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("The load test is gone already.")


if __name__ == "__main__":
    tether(int(sys.argv[1]))
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
