"""Compiles a catalog in a process of its own: `python -m server.compiling`, pickles in and out.

Compiling may take seconds, which on the event loop would hold up every ranking, and in a thread beside it would fight
for the GIL. A process for each catalog needs no care: it ends with its work, and it is killed with its server.
"""

import asyncio
import os
import pickle
import sys
from collections.abc import Mapping

from server.domain.model import Manifest
from server.execution.compile import Compilation, compile_text
from server.pieces import pack, unpack

NICE = 10
"""How far these processes stand back: rankings, and the threads that carry them, come first."""


async def compile_elsewhere(text: str, manifests: Mapping[str, Manifest]) -> Compilation:
    """Compiles a catalog's text in another process, which is killed if the caller is cancelled.

    Raises:
        RuntimeError: the process ended without an answer.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server.compiling", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        answer, _ = await process.communicate(pickle.dumps((text, dict(manifests))))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"compiling a catalog ended with exit code {process.returncode}")
    for compilation in unpack(pickle.loads(answer)):
        if compilation is not None:
            return compilation
        # Rankings have their turn between two pieces.
        await asyncio.sleep(0)
    raise AssertionError("the last piece is the compilation")


def main() -> None:
    """Reads one catalog and the manifests from standard input and writes what became of it to standard output."""
    os.nice(NICE)
    text, manifests = pickle.load(sys.stdin.buffer)
    pickle.dump(pack(compile_text(text, manifests)), sys.stdout.buffer)


if __name__ == "__main__":
    main()
