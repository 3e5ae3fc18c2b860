"""Audit entries, and a log that keeps them in memory."""

import json
from pathlib import Path
from typing import Any

from server.domain.audit import AuditEntry, Phase
from server.domain.errors import ErrorReason, OpportuneError


class FakeAuditLog:
    """`AuditLog` in memory. While it is broken, what waits is refused and notes are kept all the same."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.is_broken = False

    async def record(self, entry: AuditEntry) -> None:
        """See `AuditLog`."""
        if self.is_broken:
            raise OpportuneError(ErrorReason.AUDIT_FAILED, "the audit log cannot be written")
        self.entries.append(entry)

    def note(self, entry: AuditEntry) -> None:
        """See `AuditLog`."""
        self.entries.append(entry)


def entry(number: int = 1, **fields: Any) -> AuditEntry:
    """An entry like many others."""
    defaults: dict[str, Any] = {"counts": {"identifiers": 1}, "subjects": ("loyalty:42",), "status": "OK"}
    return AuditEntry(number * 1_000_000, "desk", "ProfileService.EraseProfile", Phase.ENDED, **{**defaults, **fields})


def written(folder: Path) -> list[dict[str, Any]]:
    """The lines of a log, as anybody would read them."""
    files = sorted(folder.glob("audit-*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]
