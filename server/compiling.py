"""Compiles a catalog in a process of its own: `python -m server.compiling`, pickles in and out.

Compiling may take seconds, which on the event loop would hold up every ranking, and in a thread beside it would fight
for the GIL. A process for each catalog needs no care: it is killed with its call, and ends with its work, which it has
nobody to hand to where its server was killed.
"""

import asyncio
import pickle
import sys
from collections.abc import Mapping

from server.domain.model import Manifest
from server.elsewhere import run_elsewhere
from server.execution.compile import Compilation, compile_text
from server.pieces import pack, unpack


async def compile_elsewhere(text: str, manifests: Mapping[str, Manifest]) -> Compilation:
    """Compiles a catalog's text in another process, which is killed if the caller is cancelled.

    Raises:
        RuntimeError: the process ended without an answer.
    """
    ended = await run_elsewhere("server.compiling", given=pickle.dumps((text, dict(manifests))))
    if ended.code != 0:
        raise RuntimeError(f"compiling a catalog ended with exit code {ended.code}")
    for compilation in unpack(pickle.loads(ended.output)):
        if compilation is not None:
            return compilation
        # Rankings have their turn between two pieces.
        await asyncio.sleep(0)
    raise AssertionError("the last piece is the compilation")


def main() -> None:
    """Reads one catalog and the manifests from standard input and writes what became of it to standard output."""
    text, manifests = pickle.load(sys.stdin.buffer)
    pickle.dump(pack(compile_text(text, manifests)), sys.stdout.buffer)


if __name__ == "__main__":
    main()
