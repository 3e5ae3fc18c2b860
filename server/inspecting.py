"""Inspects models in a process of its own, before the server touches them: `python -m server.inspecting FOLDER`.

A file that is made to hurt does so here: memory, CPU time and files are limited, and a crash takes nothing with it. The
server then loads only files whose hash is one that was inspected.
"""

import asyncio
import json
import resource
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from server.domain.model import ModelFailure, Scope
from server.elsewhere import Ended, run_elsewhere
from server.inference.manifest import MANIFEST, ModelRefusedError
from server.inference.model import OnnxModel, load_model

MEMORY_BYTES = 2 * 2**30
"""What all models together may take to be loaded and run, beside the process itself."""

CPU_S = 60
WALL_S = 90.0
ROWS = 4_096
"""Each model scores so many rows, as for a large catalog: some ask for memory only then."""

_NO_FILES_BYTES = 0


async def inspect_elsewhere(root: Path, model_ids: Sequence[str] = (), wall_s: float = WALL_S) -> Mapping[str, str]:
    """The hash of every model file below a folder, by `name/version`; all of them may be loaded.

    Args:
        model_ids: Only these of them; none for all.

    Raises:
        ModelRefusedError: one of them may not, or its inspection did not come to an end.
    """
    inspection = run_elsewhere("server.inspecting", str(root), *model_ids, is_quiet=True)
    try:
        ended = await asyncio.wait_for(inspection, wall_s)
    except TimeoutError:
        raise ModelRefusedError(str(root), f"inspecting the models below took longer than {wall_s:.0f} s") from None
    return _verdicts(root, ended)


def _verdicts(root: Path, ended: Ended) -> dict[str, str]:
    hashes: dict[str, str] = {}
    begun = str(root)
    for line in ended.output.splitlines():
        said = json.loads(line)
        begun = said["model"]
        if "problem" in said:
            raise ModelRefusedError(begun, said["problem"])
        if "sha256" in said:
            hashes[begun] = said["sha256"]
    if ended.code:
        ending = f"with {signal.Signals(-ended.code).name}" if ended.code < 0 else f"with exit code {ended.code}"
        raise ModelRefusedError(begun, f"its inspection ended {ending}")
    return hashes


def main(root: Path, model_ids: Sequence[str] = ()) -> None:
    """Says of each of these models below a folder, or of all, that its inspection begins, then its hash or problem."""
    _limit()
    every = sorted(path.parent for path in root.glob(f"*/*/{MANIFEST}"))
    for folder in [root / model_id for model_id in model_ids] or every:
        for said in _inspected(folder):
            print(json.dumps(said), flush=True)


def _inspected(folder: Path) -> Iterator[dict[str, str]]:
    name = f"{folder.parent.name}/{folder.name}"
    yield {"model": name}
    try:
        model = load_model(folder)
        _score_many(model)
    except ModelRefusedError as error:
        yield {"model": name, "problem": error.problem}
    except (ModelFailure, MemoryError) as error:
        yield {"model": name, "problem": f"it does not score {ROWS:,} rows: {error or 'not enough memory'}"}
    else:
        yield {"model": name, "sha256": model.manifest.sha256}


def _score_many(model: OnnxModel) -> None:
    """Scores the golden vectors again and again."""
    golden = model.manifest.golden
    times = -(-ROWS // len(golden.output))
    inputs = {
        entry.name: golden.inputs[entry.name]
        if entry.scope is Scope.CUSTOMER
        else np.tile(golden.inputs[entry.name], (times, 1))
        for entry in model.manifest.inputs
    }
    of_offers = {entry.name for entry in model.manifest.inputs if entry.scope is Scope.OFFER}
    tensors = model.precompute({name: rows for name, rows in inputs.items() if name in of_offers})
    scores = model.run({name: rows for name, rows in inputs.items() if name not in of_offers} | tensors)
    if len(scores) != times * len(golden.output):
        raise ModelFailure(f"it gave {len(scores)} scores for {times * len(golden.output)} rows")


def _limit() -> None:
    """Takes from this process what a model has no use for."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    address_space = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_NO_FILES_BYTES, _NO_FILES_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
