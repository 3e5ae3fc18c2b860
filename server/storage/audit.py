"""The audit log on disk: lines in files of a folder, chained, and a head that says how far they go.

Entries that come while others are being written are written together after them, in a thread, with one sync. Lines
are synced before the head, so the log may be ahead of its head after a power cut, and is never behind it. An attempt
that fails may leave a head that knows its lines: before they are cut off, the head is made the old one again.
"""

import asyncio
import fcntl
import hmac
import logging
import os
import secrets
from collections import deque
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Self

from server.domain.audit import AuditEntry
from server.domain.errors import ErrorReason, OpportuneError
from server.storage.audit_chain import HEAD, BrokenChainError, Link, chained, files_of, name_of, verify_end

KEY = "key"
MAX_NOTES = 10_000
"""Notes that wait for a disk that cannot be written; those that come then are lost, and counted."""

_KEY_BYTES = 32
_HASH_BYTES = 16
_LOG = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    """An entry to be written, and who waits for it."""

    entry: AuditEntry
    done: asyncio.Future[None] | None


class FileAuditLog:
    """`AuditLog` in a folder, which it has to itself. Use it in one event loop."""

    def __init__(self, folder: Path, head: int, key: bytes, max_file_bytes: int) -> None:
        """For `open`."""
        self._folder = folder
        self._head = head
        self._key = key
        self._max_file_bytes = max_file_bytes
        self._last = Link()
        self._file = -1
        self._size = 0
        self._waiting: deque[_Waiting] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._lost = 0
        self._failed = False
        self._is_head_sure = True
        self._is_closed = False

    @classmethod
    def open(cls, folder: Path, *, max_file_bytes: int) -> Self:
        """Opens the log and makes it, for its owner only, if there is none; a line that a crash has torn is cut off.

        Raises:
            BrokenChainError: it is not what was written, or another server writes it.
            OSError: it cannot be written.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        head = os.open(folder / HEAD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        log = cls(folder, head, _key_of(folder), max_file_bytes)
        try:
            fcntl.flock(head, fcntl.LOCK_EX | fcntl.LOCK_NB)
            log._resume()
        except BlockingIOError:
            log._close_files()
            raise BrokenChainError(f"another server writes the audit log {folder}") from None
        except BaseException:
            log._close_files()
            raise
        return log

    async def record(self, entry: AuditEntry) -> None:
        """See `AuditLog`."""
        if self._is_closed:
            raise _refused()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(_Waiting(entry, done))
        await done

    def note(self, entry: AuditEntry) -> None:
        """See `AuditLog`."""
        if self._is_closed or len(self._waiting) >= MAX_NOTES:
            self._lost += 1
            return
        self._put(_Waiting(entry, None))

    async def close(self) -> None:
        """Writes what waits, if it can be written, and lets go of the folder; takes nothing any more."""
        self._is_closed = True
        if self._writing is not None:
            await self._writing
        if self._waiting:
            await self._start_writing()
        if self._waiting or self._lost:
            _LOG.error("%d notes of the audit log could not be written", len(self._waiting) + self._lost)
        self._close_files()

    def _put(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        if self._writing is None:
            self._start_writing()

    def _start_writing(self) -> "asyncio.Task[None]":
        self._writing = asyncio.create_task(self._write_all(), name="audit-log")
        return self._writing

    async def _write_all(self) -> None:
        """Writes until nothing waits, or nothing can be written."""
        try:
            while self._waiting:
                batch = list(self._waiting)
                self._waiting.clear()
                try:
                    await asyncio.get_running_loop().run_in_executor(None, self._write, [each.entry for each in batch])
                except Exception as error:
                    self._fail(batch, error)
                    return
                self._succeed(batch)
        finally:
            self._writing = None

    def _succeed(self, batch: list[_Waiting]) -> None:
        if self._failed:
            _LOG.info("the audit log can be written again; %d notes were lost", self._lost)
            self._failed, self._lost = False, 0
        for each in batch:
            if each.done is not None and not each.done.done():
                each.done.set_result(None)

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        """Refuses what waits for an answer, and keeps the notes for the next time."""
        if not self._failed:
            why = getattr(error, "strerror", None) or type(error).__name__
            _LOG.error("the audit log cannot be written: %s; what must not go unnoticed is refused", why)
        self._failed = True
        everything = [*batch, *self._waiting]
        notes = [each for each in everything if each.done is None]
        self._waiting = deque(notes[:MAX_NOTES])
        self._lost += len(notes) - len(self._waiting)
        for each in everything:
            if each.done is not None and not each.done.done():
                each.done.set_exception(_refused())

    def _write(self, entries: list[AuditEntry]) -> None:
        """Writes entries as lines, and the head behind them. Runs in a thread, one at a time."""
        last, lines = self._last, bytearray()
        if self._size >= self._max_file_bytes:
            self._begin_file(last.number + 1)
        for entry in entries:
            line, last = chained(last, self._content(entry))
            lines += line
        if not self._is_head_sure:
            self._write_head(self._last)
        # What an attempt before this one has left behind is cut off.
        os.ftruncate(self._file, self._size)
        _write_at(self._file, lines, self._size)
        os.fsync(self._file)
        self._write_head(last)
        self._last, self._size = last, self._size + len(lines)

    def _write_head(self, link: Link) -> None:
        self._is_head_sure = False
        _write_at(self._head, link.text().encode(), 0)
        os.fsync(self._head)
        self._is_head_sure = True

    def _content(self, entry: AuditEntry) -> dict[str, Any]:
        time = datetime.fromtimestamp(entry.time_us / 1e6, UTC).isoformat(timespec="microseconds")
        subjects = [
            hmac.new(self._key, subject.encode(), sha256).digest()[:_HASH_BYTES].hex() for subject in entry.subjects
        ]
        return {
            "time": time,
            "caller": entry.caller,
            "method": entry.method,
            "phase": entry.phase.value,
            "status": entry.status,
            "counts": dict(entry.counts),
            "details": dict(entry.details),
            "subjects": subjects,
        }

    def _begin_file(self, number: int) -> None:
        begun = os.open(self._folder / name_of(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size = begun, 0
        _sync_folder(self._folder)

    def _resume(self) -> None:
        """Goes on behind the last line that is whole.

        Raises:
            BrokenChainError: the newest files or the head are not what was written.
        """
        found = verify_end(self._folder)
        if not found.files:
            # Before the first file, so that a head that is missing later was taken away.
            _write_at(self._head, Link().text().encode(), 0)
            os.fsync(self._head)
            self._begin_file(1)
            return
        self._file = os.open(files_of(self._folder)[-1], os.O_RDWR | os.O_CLOEXEC)
        self._last, self._size = found.last, found.end
        os.ftruncate(self._file, self._size)

    def _close_files(self) -> None:
        for descriptor in (self._file, self._head):
            if descriptor >= 0:
                os.close(descriptor)
        # What comes after this fails, and writes to nobody else's file.
        self._file = self._head = -1


def _refused() -> OpportuneError:
    return OpportuneError(ErrorReason.AUDIT_FAILED, "the audit log cannot be written")


def _key_of(folder: Path) -> bytes:
    """The key of the hashes of identifiers, made with the log. Without it nobody can tell whose hash a hash is."""
    path = folder / KEY
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write_at(descriptor, secrets.token_bytes(_KEY_BYTES), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _sync_folder(folder)
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise BrokenChainError(f"{path} is not the key that was made for this audit log")
    return key


def _write_at(descriptor: int, content: bytes | bytearray, offset: int) -> None:
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written:], offset + written)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
