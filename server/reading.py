"""Reads what a server knows from its data folder, in another process, and beside the server if one runs.

Whoever works over all customers, or over the past, is one more reader of snapshot and journal: it takes no lock, writes
nothing, and has a copy of the facts for itself.
"""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from server.domain.journal import CatalogPublished, JournalDamagedError, Record
from server.domain.model import Model
from server.execution.catalog import refusal
from server.execution.compile import compile_text
from server.execution.compiled import CompiledCatalog
from server.execution.evaluation import Snapshot
from server.execution.facts import Facts
from server.execution.recovery import Recovered, recover
from server.execution.state import State
from server.stores import open_read_only

ATTEMPTS = 5
"""How often a folder is read whose server lets go of what is being read; each time from a newer snapshot."""


async def read_facts(data: Path, erasures: Path | None, tell: Callable[[str], None]) -> Recovered:
    """The facts of a data folder as of the last entry that its journal has now.

    Args:
        erasures: The file of the erasure ledger; None: where a server without this setting has it.
        tell: Told of progress, in sentences.

    Raises:
        FileNotFoundError: there is no journal in the folder.
        JournalDamagedError, NewerEntryError: what is there cannot be trusted or read.
        OSError, RuntimeError: a file cannot be used, or the ledger is missing.
    """
    problem: Exception | None = None
    there: object = None
    for _ in range(ATTEMPTS):
        async with AsyncExitStack() as stack:
            stores = await open_read_only(data, erasures, stack)
            before, there = there, (stores.snapshots.offsets(), stores.journal.first)
            # Only a server that has moved on since explains why something was missing.
            if problem is not None and there == before:
                break
            try:
                return await recover(stores.journal, stores.snapshots, stores.ledger, tell)
            except (JournalDamagedError, FileNotFoundError) as error:
                problem = error
    assert problem is not None
    raise problem


def snapshot_of(facts: Facts, models: Mapping[str, Model], text: str | None = None) -> Snapshot:
    """What decisions over these facts read, with the facts' own catalog or with another one, which nobody publishes.

    With another one the facts are laid out anew for it, and belong to the snapshot from then on.

    Args:
        models: All that the catalog's placements name, by `name/version`.
        text: The text of the other catalog.

    Raises:
        OpportuneError: INVALID_CATALOG, with a model that is missing among its problems.
        RuntimeError: there is no catalog.
    """
    known, offset = facts.catalog, facts.offset
    if known is None and text is None:
        raise RuntimeError("no catalog has been applied yet; name one")
    compiled = _compiled(known.text if text is None and known is not None else text or "", models)
    version = 0 if known is None else known.version
    is_known = known is not None and compiled.etag == known.etag
    compiled = replace(compiled, version=version if is_known else version + 1)
    if known is None or not is_known or compiled.customer != known.schema:
        facts.apply(Record(offset + 1, _entry(compiled, 0 if known is None else known.time_us)))
    state = State(models)
    state.facts = facts
    state.serve(state.prepare(compiled))
    return state.snapshot()._replace(profile_version=offset)


def _compiled(text: str, models: Mapping[str, Model]) -> CompiledCatalog:
    compiled, problems = compile_text(text, {model_id: model.manifest for model_id, model in models.items()})
    if compiled is None:
        raise refusal(problems)
    return compiled


def _entry(catalog: CompiledCatalog, time_us: int) -> CatalogPublished:
    return CatalogPublished(
        time_us,
        catalog.version,
        catalog.etag,
        catalog.text,
        catalog.customer,
        identity=catalog.identity,
        contacts=catalog.contacts,
    )
