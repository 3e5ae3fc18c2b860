"""The folder with everything that survives, and the lock that keeps it one server's."""

import fcntl
import os
from pathlib import Path
from typing import Self

JOURNAL = "journal.db"
ACKNOWLEDGED = "journal.acknowledged"
SNAPSHOTS = "snapshots"
DECISIONS = "decisions.db"
ERASURES = "erasures"
AUDIT = "audit"


class FolderInUseError(Exception):
    """Another server uses the folder; the message says which folder."""


class DataFolder:
    """One server's folder, from `open` to `close`. Its lock ends with the process, even if that is killed."""

    def __init__(self, path: Path, lock: int | None) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Takes the folder, and makes it, for its owner only, if there is none.

        Raises:
            FolderInUseError: another server has it.
            OSError: it can be neither used nor made.
        """
        if not path.exists():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync(path.parent)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise FolderInUseError(f"another server uses {path}") from None
        return cls(path, lock)

    @classmethod
    def unlocked(cls, path: Path) -> Self:
        """The folder's names, for those who only read: a server may have it."""
        return cls(path, None)

    @property
    def journal(self) -> Path:
        """The journal's database."""
        return self.path / JOURNAL

    @property
    def snapshots(self) -> Path:
        """The folder of snapshots; whoever writes the first one makes it."""
        return self.path / SNAPSHOTS

    @property
    def vault(self) -> Path:
        """The database of identifying texts."""
        return self.path / "vault.db"

    @property
    def decisions(self) -> Path:
        """The database of the decision log."""
        return self.path / DECISIONS

    @property
    def erasures(self) -> Path:
        """The ledger of erased customers, as keyed hashes."""
        return self.path / ERASURES

    def close(self) -> None:
        """Leaves the folder to the next server. The lock's file stays: deleting it would let two servers lock two."""
        if self._lock is not None:
            os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sync(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
