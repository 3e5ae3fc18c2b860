"""`python -m server audit verify`: whether the audit log is what was written, and which line is the first if not."""

import argparse
from pathlib import Path

from server.storage.audit_chain import BrokenChainError, verify
from server.storage.folder import AUDIT


def add_audit(audit: argparse.ArgumentParser) -> None:
    """Adds the commands of the audit log."""
    verify_log = audit.add_subparsers(required=True, metavar="WHAT").add_parser(
        "verify", help="read the whole log and name the first line that is not as it was written"
    )
    where = verify_log.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", type=Path, help="the data folder; a server may be using it")
    where.add_argument("--audit", type=Path, help="the audit log's own folder, if it is elsewhere")
    verify_log.set_defaults(command=report_on)


def report_on(options: argparse.Namespace) -> int:
    """Verifies the log and prints its head, to be noted elsewhere; 1 if it is broken.

    Raises:
        RuntimeError: there is no log.
        OSError: it cannot be read.
    """
    folder: Path = options.audit or options.data / AUDIT
    if not folder.is_dir():
        raise RuntimeError(f"there is no audit log {folder}")
    try:
        found = verify(folder)
    except BrokenChainError as broken:
        print(f"BROKEN: {broken}")
        return 1
    lines = f"lines {found.first:,} to {found.last.number:,}" if found.last.number >= found.first else "no lines"
    print(f"{folder}: {lines}, as they were written; the head is {found.last.number} {found.last.hash}")
    return 0
