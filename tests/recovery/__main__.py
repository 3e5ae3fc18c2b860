"""`python -m tests.recovery --kills 1000 [--seed 1]`: the torture of `torture.py` for as long as it takes."""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.recovery.processes import cold
from tests.recovery.torture import TortureError, torture


def main() -> int:
    """Runs it and returns 0 if nothing was lost and nothing was applied twice."""
    parser = argparse.ArgumentParser(prog="python -m tests.recovery", description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000, help="how often to kill a server")
    parser.add_argument("--kills-each", type=int, default=10, help="how often on one data folder")
    parser.add_argument("--side-by-side", type=int, default=2, help="how many servers at once")
    parser.add_argument("--seed", type=int, help="of the first data folder; default: from the clock")
    options = parser.parse_args()
    # The Publisher warns of every stream that ends, which here is every kill.
    logging.getLogger("opportune").setLevel(logging.ERROR)
    seed = int(time.time()) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="opportune-torture-"))
    print(f"seed {seed}, in {folder}")
    try:
        worlds = asyncio.run(
            torture(
                folder,
                seed,
                options.kills,
                begin=cold,
                side_by_side=options.side_by_side,
                kills_each=options.kills_each,
                tell=_progress,
            )
        )
    except TortureError as failure:
        print(f"\n{failure}\nThe data folder is left in {folder}.", file=sys.stderr)
        return 1
    folder.rmdir()
    moments = sum((world.kills for world in worlds), start=type(worlds[0].kills)())
    print(f"\nnothing lost, nothing twice; kills by moment: {dict(moments)}")
    return 0


def _progress(line: str) -> None:
    print(f"\r{line}", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
