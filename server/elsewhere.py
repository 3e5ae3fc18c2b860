"""Runs a module in a process of its own: what takes long, or may go wrong, does so there and not in the server.

The standard library starts the process, not the loop: uvloop forks, which copies the page tables of all profiles while
nobody is answered (10 to 20 ms with 100,000 of them); `subprocess` lets the kernel lend the memory instead (vfork).
"""

import asyncio
import subprocess
import sys
from typing import NamedTuple

from server.standing_back import stand_back


class Ended(NamedTuple):
    """What a process wrote to its standard output, and its exit code; minus a signal's number if that ended it."""

    output: bytes
    code: int


async def run_elsewhere(module: str, *arguments: str, given: bytes = b"", is_quiet: bool = False) -> Ended:
    """Runs `python -m module arguments…` to its end. It is killed if the caller is cancelled.

    Args:
        given: What it reads from its standard input, all of it before it answers.
        is_quiet: Whether what it writes to standard error is dropped.

    Raises:
        OSError: the process could not be started.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if is_quiet else None,
    )
    try:
        # From its first instruction on: importing is a good part of the work.
        stand_back(process.pid)
        # Shielded, as a thread that was cancelled before it began would leave a process that nobody waits for.
        return await asyncio.shield(asyncio.create_task(asyncio.to_thread(_converse, process, given)))
    finally:
        # Without effect on one that has ended. The thread collects what is left of it.
        process.kill()


def _converse(process: subprocess.Popen[bytes], given: bytes) -> Ended:
    """In few large reads and writes: each is a turn at the GIL. `communicate` would make hundreds."""
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout:
        try:
            with process.stdin:
                process.stdin.write(given)
        except BrokenPipeError:
            # It has ended already; its exit code says more.
            pass
        output = process.stdout.read()
    return Ended(output, process.wait())
