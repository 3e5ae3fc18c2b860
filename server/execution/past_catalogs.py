"""The catalogs that decisions were made with: the one that is served, or one from the journal, compiled once more."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from cachetools import LRUCache

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import CatalogPublished, Journal, JournalDamagedError, NewerEntryError
from server.domain.model import Calibration, CalibrationLine, Golden, Manifest, ModelFailure, OutputKind
from server.execution.compile import Compilation
from server.execution.compiled import CompiledCatalog
from server.execution.contact_rules import ContactRules
from server.execution.evaluation import Snapshot
from server.execution.facts import Facts
from server.execution.ladder import overheads
from server.execution.scoring import Scorer
from server.execution.snapshot import FactsHeader
from server.execution.state import State

KEPT = 4
"""How many older catalogs are kept compiled."""

_READ_AT_ONCE = 16
_MODEL = re.compile(r"""\bmodel["']?\s*:\s*["']?([A-Za-z0-9._:@/+=-]+)""")

CompileWith = Callable[[str, Mapping[str, Manifest]], Awaitable[Compilation]]
"""Compiles a catalog's text against models somewhere off the event loop."""


class SnapshotHeaders(Protocol):
    """What snapshots say beside their pages."""

    def offsets(self) -> list[int]:
        """The offsets of all snapshots, newest first."""
        ...

    def header(self, offset: int) -> FactsHeader:
        """Reads the header of a snapshot.

        Raises:
            JournalDamagedError, NewerEntryError, OSError: it cannot be read.
        """
        ...


class PastCatalogs:
    """Catalogs by version, without any profile: what explaining a decision reads."""

    def __init__(self, state: State, journal: Journal, snapshots: SnapshotHeaders, compile_text: CompileWith) -> None:
        self._state = state
        self._journal = journal
        self._snapshots = snapshots
        self._compile = compile_text
        self._kept: LRUCache[int, Snapshot] = LRUCache(KEPT)
        self._one_at_a_time = asyncio.Lock()

    async def at(self, version: int) -> Snapshot:
        """The catalog of a version, bound to the models that are loaded.

        Raises:
            OpportuneError: VERSION_GONE if it is nowhere any more, or if this server cannot read it.
            JournalDamagedError, NewerEntryError, OSError: the journal cannot be read.
        """
        if version == self._state.catalog_version:
            return self._state.snapshot()
        # Whoever asks for the same one meanwhile waits for it.
        async with self._one_at_a_time:
            if version not in self._kept:
                self._kept[version] = await self._make(version)
            found: Snapshot = self._kept[version]
            return found

    async def _make(self, version: int) -> Snapshot:
        entry = await self._published(version)
        if entry is None:
            raise gone("catalog", f"catalog version {version} is in neither the journal nor a snapshot any more")
        loaded = {model_id: model.manifest for model_id, model in self._state.models.items()}
        compiled, problems = await self._compile(entry.text, with_unknown(loaded, entry.text))
        if compiled is None:
            raise gone("catalog", f"this server cannot read catalog version {version} any more: {problems[0]}")
        if compiled.customer != entry.schema:
            raise gone("catalog", f"this server lays out catalog version {version} in another way")
        return self._bound(replace(compiled, version=version))

    async def _published(self, version: int) -> CatalogPublished | None:
        after = self._journal.first - 1
        while records := await self._journal.published(after, _READ_AT_ONCE):
            for after, entry in records:  # noqa: B007  # The last one is where to go on.
                assert isinstance(entry, CatalogPublished)
                if entry.version == version:
                    return entry
        return self._in_snapshots(version)

    def _in_snapshots(self, version: int) -> CatalogPublished | None:
        """The catalog as a snapshot has it, of which the entry may be gone."""
        for offset in self._snapshots.offsets():
            try:
                entry = self._snapshots.header(offset).catalog
            except (JournalDamagedError, NewerEntryError, OSError):
                continue
            if entry is not None and entry.version == version:
                return entry
        return None

    def _bound(self, catalog: CompiledCatalog) -> Snapshot:
        facts, models = Facts(catalog.customer), self._state.models
        plans = [placement.model for placement in catalog.placements.values() if placement.model is not None]
        scorers = {}
        for plan in plans:
            # A model that cannot take these offers is like one that is not there.
            with suppress(KeyError, ModelFailure):
                scorers[plan.model_id] = Scorer(plan, models[plan.model_id])
        return Snapshot(catalog, facts.profiles, ContactRules(catalog, facts.contacts), scorers, overheads(), 0)


def gone(missing: str, message: str) -> OpportuneError:
    """What a decision was made with is not at hand any more: `catalog`, `model` or `journal`."""
    return OpportuneError(ErrorReason.VERSION_GONE, message, {"missing": missing})


def with_unknown(loaded: Mapping[str, Manifest], text: str) -> dict[str, Manifest]:
    """The models that are loaded, and for others that a catalog may name a stand-in that no scorer is made for.

    Without it the catalog would not compile, and what does not depend on scores could not be told either.
    """
    named = dict.fromkeys(_MODEL.findall(text))
    return {**{model_id: _unknown(model_id) for model_id in named}, **loaded}


def _unknown(model_id: str) -> Manifest:
    name, _, version = model_id.partition("/")
    return Manifest(
        name=name,
        version=version,
        file=Path(),
        sha256="",
        inputs=(),
        output="",
        output_kind=OutputKind.PROBABILITY,
        calibration=Calibration(CalibrationLine()),
        golden=Golden({}, np.empty(0, np.float32), np.empty(0), ()),
    )
