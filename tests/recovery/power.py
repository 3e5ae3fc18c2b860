"""A disk whose power can be cut: SQLite writes to files through it, and it knows what a cut would leave of them.

What was written since the last sync of a file may be there after a cut, or not, or in part, in any order. What was
synced is there. A sync may also fail, and then nobody knows what it has written, and no later sync writes it again.
"""

import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

import apsw

from server.storage.database import Connector

SECTOR = 512
_names = count()


@dataclass(slots=True)
class Write:
    """Bytes that were written, or with `content` None the end of the file moved, but not synced yet."""

    offset: int
    content: bytes | None

    def apply(self, image: bytearray) -> None:
        """Makes the change."""
        if self.content is None:
            del image[self.offset :]
            return
        image.extend(bytes(max(self.offset - len(image), 0)))
        image[self.offset : self.offset + len(self.content)] = self.content

    def torn(self, rng: random.Random) -> Iterator["Write"]:
        """Some of the write's sectors."""
        if self.content is None:
            return
        start, end = self.offset, self.offset + len(self.content)
        while start < end:
            stop = min((start // SECTOR + 1) * SECTOR, end)
            if rng.random() < 0.5:
                yield Write(start, self.content[start - self.offset : stop - self.offset])
            start = stop


@dataclass(slots=True)
class File:
    """One file: what is durable of it, the writes that are not, and whether its name in the folder is."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)
    is_named: bool = False

    def sync(self) -> None:
        """Makes all writes durable."""
        for write in self.pending:
            write.apply(self.durable)
        self.pending.clear()

    def fail_to_sync(self, rng: random.Random) -> None:
        """Makes some writes durable; the others never will be."""
        self.durable = self.after_cut(rng)
        self.pending.clear()

    def after_cut(self, rng: random.Random) -> bytearray:
        """What may be left of the file's bytes."""
        image, left = bytearray(self.durable), []
        for write in self.pending:
            fate = rng.random()
            if fate < 0.4:
                left.append(write)
            elif fate < 0.6:
                left.extend(write.torn(rng))
        if rng.random() < 0.5:
            rng.shuffle(left)
        for write in left:
            write.apply(image)
        return image


class Disk:
    """The files of one folder, seen through a file system of SQLite's.

    `on_change` is called before everything that changes a file: the moments at which the power may go.
    """

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder = folder
        self.rng = rng
        self.files: dict[str, File] = {}
        self.deleted: dict[str, File] = {}
        self.is_full = False
        self.syncs_that_fail = 0.0
        self.synchronous = "FULL"
        self.on_change: Any = lambda: None
        self.name = f"power{next(_names)}"

    @contextmanager
    def attached(self) -> Iterator[Connector]:
        """Makes connections of SQLite to this disk."""
        file_system = _FileSystem(self)
        try:
            yield lambda path: cast(sqlite3.Connection, _Connection(apsw.Connection(str(path), vfs=self.name), self))
        finally:
            file_system.unregister()

    def after_cut(self, folder: Path) -> None:
        """Writes to a folder what is left of the files if the power goes now."""
        left = {name: file for name, file in self.deleted.items() if self.rng.random() < 0.5}
        left |= {name: file for name, file in self.files.items() if file.is_named or self.rng.random() < 0.5}
        for name, file in left.items():
            (folder / name).write_bytes(file.after_cut(self.rng))

    def delete(self, name: str) -> None:
        """Notes that a file was deleted."""
        file = self.files.pop(name)
        if file.is_named:
            self.deleted[name] = file

    def sync_names(self) -> None:
        """Makes durable which files there are."""
        self.deleted.clear()
        for file in self.files.values():
            file.is_named = True


class _FileSystem(apsw.VFS):
    """The real file system, under notes of what is written."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk.name, "")
        self._disk = disk

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        """Opens a file; those without a name are SQLite's own temporary ones."""
        if name is None:
            return apsw.VFSFile("", name, flags)
        return _OpenFile(self._disk, name, flags)

    def xDelete(self, path: str, durably: bool) -> None:  # noqa: N802
        """Deletes a file."""
        self._disk.on_change()
        super().xDelete(path, durably)
        self._disk.delete(Path(path).name)
        if durably:
            self._disk.sync_names()


class _OpenFile(apsw.VFSFile):
    """A real file that notes what is written to it."""

    def __init__(self, disk: Disk, name: str | apsw.URIFilename, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        base = Path(name if isinstance(name, str) else name.filename()).name
        self._file = disk.files.setdefault(base, File())
        # As SQLite's own files do: the first sync of a log makes its name durable, and with it all of the folder.
        self._names_are_synced = not base.endswith(("-wal", "-journal"))

    def xWrite(self, content: bytes, offset: int) -> None:  # noqa: N802
        """Writes, if there is room."""
        self._disk.on_change()
        if self._disk.is_full and offset + len(content) > self.xFileSize():
            raise _RoomError("there is no room")
        super().xWrite(content, offset)
        self._file.pending.append(Write(offset, bytes(content)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        """Moves the end of the file."""
        self._disk.on_change()
        super().xTruncate(size)
        self._file.pending.append(Write(size, None))

    def xSync(self, flags: int) -> None:  # noqa: N802
        """Makes durable what was written, without troubling the real disk."""
        self._disk.on_change()
        if self._disk.rng.random() < self._disk.syncs_that_fail:
            self._file.fail_to_sync(self._disk.rng)
            raise _SyncError("the disk did not sync")
        self._file.sync()
        if not self._names_are_synced:
            self._disk.sync_names()
            self._names_are_synced = True


class _RoomError(apsw.FullError):
    extendedresult = apsw.SQLITE_FULL


class _SyncError(apsw.IOError):
    extendedresult = apsw.SQLITE_IOERR_FSYNC


class _Rows(list[tuple[Any, ...]]):
    """What a statement has returned, as a cursor."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self


class _Connection:
    """The part of `sqlite3.Connection` that the journal uses, with its errors."""

    def __init__(self, connection: apsw.Connection, disk: Disk) -> None:
        self._connection = connection
        self._disk = disk

    def execute(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> _Rows:
        statement = statement.replace("synchronous = FULL", f"synchronous = {self._disk.synchronous}")
        with _errors_of_sqlite3():
            return _Rows(self._connection.execute(statement, parameters))

    @property
    def in_transaction(self) -> bool:
        return not self._connection.getautocommit()

    def close(self) -> None:
        # SQLite closes whatever becomes of its last checkpoint, and `sqlite3` does not tell.
        with suppress(apsw.Error):
            self._connection.close()


@contextmanager
def _errors_of_sqlite3() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        translated = sqlite3.OperationalError(str(error))
        translated.sqlite_errorcode = cast(Any, error).extendedresult
        raise translated from error
