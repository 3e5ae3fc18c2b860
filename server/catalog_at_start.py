"""The catalog that a server serves from its start on: that of a file, or the one in force when it was stopped."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from server.domain.audit import AuditEntry, AuditLog, Phase
from server.domain.clock import microseconds_of
from server.domain.model import Manifest
from server.execution.catalog import publish, refusal
from server.execution.compile import compile_text
from server.execution.compiled import CompiledCatalog
from server.execution.state import Clock, State
from server.execution.writer import Writer

ACT = "serve"
"""What the audit log calls it, as no method was called and nobody has said who they are."""


async def serve_catalog(
    state: State, writer: Writer, clock: Clock, path: Path | None, audit: AuditLog | None = None
) -> None:
    """Serves the catalog of the file, or, if there is none or it is the same, the one of the journal.

    One that was not in force before is in the audit log before it is published.

    Raises:
        OpportuneError: the catalog has problems, or AUDIT_FAILED.
        OSError: the file cannot be read.
    """
    known = state.facts.catalog
    manifests = {model_id: model.manifest for model_id, model in state.models.items()}
    given = None if path is None else _compiled(path.read_text(encoding="utf-8"), manifests)
    if given is not None and (known is None or given.etag != known.etag):
        new = replace(given, version=1 if known is None else known.version + 1)
    elif known is None:
        return
    else:
        same = replace(_compiled(known.text, manifests), version=known.version)
        if same.customer == known.schema:
            state.serve(state.prepare(same))
            return
        # This version lays the same catalog out in another way.
        new = replace(same, version=known.version + 1)
    counts = {"offers": len(new.offers), "placements": len(new.placements)}
    details = {"catalog_version": str(new.version)}
    if audit is not None:
        await audit.record(AuditEntry(microseconds_of(clock()), "", ACT, Phase.BEGUN, "", counts, details))
    await publish(state, writer, new, clock())
    if audit is not None:
        await audit.record(AuditEntry(microseconds_of(clock()), "", ACT, Phase.ENDED, "OK", counts, details))


def _compiled(text: str, manifests: Mapping[str, Manifest]) -> CompiledCatalog:
    compiled, problems = compile_text(text, manifests)
    if compiled is None:
        raise refusal(problems)
    return compiled
