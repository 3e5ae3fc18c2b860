"""The shelf: models that catalogs need are loaded while the server serves, and let go when no catalog needs them.

A catalog that names a model which is not loaded has it inspected first, in a process of its own like all models at the
start (`inspecting.py`), and then loaded on the event loop, a step of a few milliseconds at a time: sessions hold the
GIL while they are made, so that another thread would not be kinder to the rankings that go on meanwhile.
"""

import asyncio
from collections import deque
from pathlib import Path

from server import tuning
from server.compiling import compile_elsewhere
from server.domain.catalog import Problem
from server.execution.compile import Compilation
from server.execution.compiled import CompiledCatalog
from server.execution.state import State
from server.inference.manifest import MANIFEST, ModelRefusedError
from server.inference.model import OnnxModel, load_in_steps
from server.inference.watchdog import Watchdog
from server.inspecting import inspect_elsewhere

CATALOGS = 4
"""The models of so many catalogs are kept: explaining a decision needs those of the catalog that it was made with."""


class Shelf:
    """Compiles catalogs, with every model that they name and the folder has."""

    def __init__(self, state: State, root: Path | None, watchdog: Watchdog) -> None:
        """Takes the state's models as they are: those that no catalog has ever named stay."""
        self._state = state
        self._root = root
        self._watchdog = watchdog
        self._tried: set[str] = set()
        self._needed: deque[frozenset[str]] = deque(maxlen=CATALOGS)

    async def compile(self, text: str) -> Compilation:
        """Compiles a catalog's text in another process, models first. One call at a time."""
        self._let_go(self._tried)
        try:
            await self._load(self._missing(text))
        except ModelRefusedError as refused:
            return Compilation(None, [Problem("placements", str(refused))])
        manifests = {model_id: model.manifest for model_id, model in self._state.models.items()}
        return await compile_elsewhere(text, manifests)

    def served(self, catalog: CompiledCatalog) -> None:
        """Takes note that a catalog is served from now on, and lets go what only older ones needed."""
        before = set().union(*self._needed)
        self._needed.append(
            frozenset(placement.model.model_id for placement in catalog.placements.values() if placement.model)
        )
        self._let_go(before | self._tried)
        self._tried.clear()
        tuning.keep()

    def _missing(self, text: str) -> list[str]:
        """The models that the folder has, that the text names, and that are not loaded.

        The text, which may be megabytes of anything, is not parsed here but searched for the names that there are. One
        that stands elsewhere in it loads a model too many, for a while.
        """
        if self._root is None:
            return []
        there = {f"{path.parts[-3]}/{path.parts[-2]}" for path in self._root.glob(f"*/*/{MANIFEST}")}
        return sorted(name for name in there.difference(self._state.models) if name in text)

    async def _load(self, model_ids: list[str]) -> None:
        if not model_ids or self._root is None:
            return
        inspected = await inspect_elsewhere(self._root, model_ids)
        for model_id in model_ids:
            model = await self._in_turns(self._root / model_id, inspected.get(model_id, ""))
            self._state.models = {**self._state.models, model_id: model}
            self._tried.add(model_id)

    async def _in_turns(self, folder: Path, sha256: str) -> OnnxModel:
        steps = load_in_steps(folder, self._watchdog, sha256)
        while True:
            try:
                next(steps)
            except StopIteration as loaded:
                model: OnnxModel = loaded.value
                return model
            # Everything else on the loop has its turn.
            await asyncio.sleep(0)

    def _let_go(self, model_ids: set[str]) -> None:
        """Forgets those of these models that none of the last catalogs needs."""
        gone = model_ids.difference(*self._needed)
        if gone:
            self._state.models = {name: model for name, model in self._state.models.items() if name not in gone}
