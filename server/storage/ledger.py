"""The erasure ledger: a text file that only grows, a line for each step of each erasure.

Identifiers stand in it as hashes that are keyed with the file's own salt. Each line ends with a checksum over itself
and the line before, so that a line that was changed, dropped or moved is found at start. It must survive what backups
bring back, so it belongs in none of them: another path can be set for it.
"""

import asyncio
import errno
import logging
import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Self

from xxhash import xxh3_64_hexdigest

from server.domain.erasure import Cut
from server.domain.journal import JournalDamagedError, NewerEntryError, journal_failed, journal_full

_HASH_BYTES = 16
_SALT_BYTES = 32
_HEADER = "opportune-erasures"
_VERSION = 1
_FOREVER_US = 2**63 - 1
_EVERYTHING = Cut(0, _FOREVER_US, _FOREVER_US)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOG = logging.getLogger(__name__)

_Line = tuple[str, ...]


class MemoryLedger:
    """`ErasureLedger` of a server that is to forget everything when it stops."""

    def __init__(self, salt: bytes | None = None) -> None:
        self._salt = salt or secrets.token_bytes(_SALT_BYTES)
        self._cuts: dict[bytes, Cut] = {}
        self._begun: dict[bytes, int] = {}
        self._open: set[bytes] = set()
        self._newest_us = 0
        self._offset = 0

    def __len__(self) -> int:
        """How many identifiers were ever erased."""
        return len(self._cuts)

    @property
    def newest_us(self) -> int:
        """What was stored later than this is nobody's who was erased."""
        return _FOREVER_US if self._open else self._newest_us

    @property
    def offset(self) -> int:
        """The highest offset of a cut."""
        return self._offset

    @property
    def unfinished(self) -> bool:
        """Whether an erasure was begun and not completed."""
        return bool(self._begun)

    def covers(self, identifier: str, time_us: int) -> bool:
        """Whether what was received of an identifier at a time was erased since."""
        return time_us <= self.newest_us and time_us <= self._cut_of(identifier).received_us

    def covers_stored(self, identifier: str, time_us: int) -> bool:
        """Whether what was stored of an identifier at a time was erased since."""
        return time_us <= self.newest_us and time_us <= self._cut_of(identifier).stored_us

    async def begin(self, identifiers: Sequence[str], time_us: int) -> None:
        """Notes that identifiers are being erased, with everything of them."""
        await self._note(("begin", digest, str(time_us)) for digest in self._hashes(identifiers))

    async def cut(self, identifiers: Sequence[str], cut: Cut) -> None:
        """Notes that what comes behind the cut is a new customer's."""
        await self._note(("cut", digest, *map(str, cut)) for digest in self._hashes(identifiers))

    async def complete(self, identifiers: Sequence[str], time_us: int) -> None:
        """Notes that nothing is left of what was begun up to a time."""
        await self._note(("complete", digest, str(time_us)) for digest in self._hashes(identifiers))

    async def finish(self, cut: Cut) -> None:
        """Notes that nothing is left of any erasure, and cuts those that were not."""
        await self._note([("finish", *map(str, cut))])

    async def _note(self, lines: Iterable[_Line]) -> None:
        for line in lines:
            self._take(line)

    def _take(self, line: _Line) -> None:
        """Knows what a line says.

        Raises:
            ValueError: there is no such line.
        """
        match line:
            case ("begin", digest, time_us):
                self._begin(bytes.fromhex(digest), int(time_us))
            case ("cut", digest, offset, received_us, stored_us):
                self._cut(bytes.fromhex(digest), Cut(int(offset), int(received_us), int(stored_us)))
            case ("complete", digest, time_us):
                if self._begun.get(bytes.fromhex(digest), _FOREVER_US) <= int(time_us):
                    del self._begun[bytes.fromhex(digest)]
            case ("finish", offset, received_us, stored_us):
                self._finish(Cut(int(offset), int(received_us), int(stored_us)))
            case _:
                raise ValueError("there is no such line")

    def _begin(self, digest: bytes, time_us: int) -> None:
        self._begun[digest] = time_us
        self._open.add(digest)
        self._cuts[digest] = _EVERYTHING

    def _cut(self, digest: bytes, cut: Cut) -> None:
        if self._begun.get(digest, 0) > cut.received_us:
            # Another erasure was begun since, and everything counts as erased until that one is cut.
            return
        self._open.discard(digest)
        self._cuts[digest] = cut
        self._newest_us = max(self._newest_us, cut.received_us, cut.stored_us)
        self._offset = max(self._offset, cut.offset)

    def _finish(self, cut: Cut) -> None:
        for digest in list(self._open):
            self._begun[digest] = 0
            self._cut(digest, cut)
        self._begun.clear()
        self._offset = cut.offset

    def _cut_of(self, identifier: str) -> Cut:
        return self._cuts.get(self._hash(identifier), _NOTHING)

    def _hash(self, identifier: str) -> bytes:
        return blake2b(identifier.encode(), digest_size=_HASH_BYTES, key=self._salt).digest()

    def _hashes(self, identifiers: Iterable[str]) -> list[str]:
        return [self._hash(identifier).hex() for identifier in identifiers]


_NOTHING = Cut(0, -1, -1)


class FileLedger(MemoryLedger):
    """`ErasureLedger` in a file, which is opened for each note alone: erasures are rare."""

    def __init__(self, path: Path, salt: bytes, checksum: str, size: int) -> None:
        """Takes over what `open` has read: the last line's checksum, and the size up to which all lines are whole."""
        super().__init__(salt)
        self._path = path
        self._checksum = checksum
        self._size = size
        self._failed = False
        self._turn = asyncio.Lock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Reads a ledger, and makes one if there is none. A last line that was not written to its end is cut off.

        Raises:
            JournalDamagedError: a line is not what was written; names file and line.
            NewerEntryError: a newer server wrote it.
            OSError: it can be neither read nor made.
        """
        content = path.read_bytes() if path.exists() else b""
        if b"\n" not in content:
            if content:
                _LOG.warning("%s: its first line was not written to its end; it is made again", path)
            return cls._make(path)
        whole = content[: content.rindex(b"\n") + 1]
        if len(whole) < len(content):
            _LOG.warning("%s: its last line was not written to its end, and is cut off", path)
            _append(path, len(whole), b"")
        return cls._read(path, whole)

    @classmethod
    def view(cls, path: Path) -> MemoryLedger:
        """Reads a ledger that a server may be writing; an empty one if there is none. It is not for noting anything.

        Raises:
            JournalDamagedError, NewerEntryError, OSError: as `open`.
        """
        content = path.read_bytes() if path.exists() else b""
        return cls._read(path, content[: content.rindex(b"\n") + 1]) if b"\n" in content else MemoryLedger()

    @classmethod
    def _make(cls, path: Path) -> Self:
        salt = secrets.token_bytes(_SALT_BYTES)
        line, checksum = _checked((_HEADER, str(_VERSION), salt.hex()), "")
        _append(path, 0, line)
        return cls(path, salt, checksum, len(line))

    @classmethod
    def _read(cls, path: Path, content: bytes) -> Self:
        # Whatever a damaged byte is, it is some character, and the checksum tells.
        lines = content[:-1].decode("latin-1").split("\n")
        header = lines[0].split(" ")
        if header[0] == _HEADER and header[1:2] != [str(_VERSION)]:
            raise NewerEntryError(f"{path}: a newer server wrote it")
        checksum = ""
        ledger: Self | None = None
        for number, line in enumerate(lines, 1):
            *fields, found = line.split(" ")
            _, checksum = _checked(fields, checksum)
            try:
                if found != checksum:
                    raise ValueError("its checksum differs")
                if ledger is None:
                    ledger = cls(path, bytes.fromhex(fields[2]), checksum, len(content))
                else:
                    ledger._take(tuple(fields))
            except (ValueError, IndexError) as error:
                raise JournalDamagedError(f"{path}: line {number} is not what was written: {error}") from None
        assert ledger is not None
        ledger._checksum = checksum
        return ledger

    async def _note(self, lines: Iterable[_Line]) -> None:
        await asyncio.shield(asyncio.create_task(self._write(list(lines))))

    async def _write(self, lines: list[_Line]) -> None:
        async with self._turn:
            if self._failed:
                raise journal_failed()
            content, checksum = b"", self._checksum
            for line in lines:
                added, checksum = _checked(line, checksum)
                content += added
            await self._append(content)
            self._checksum = checksum
            self._size += len(content)
            for line in lines:
                self._take(line)

    async def _append(self, content: bytes) -> None:
        try:
            await asyncio.to_thread(_append, self._path, self._size, content)
        except OSError as error:
            _LOG.error("%s: %s", self._path, error.strerror)
            # Whole lines of a note that was refused must not be there at the next start.
            with suppress(OSError):
                await asyncio.to_thread(_append, self._path, self._size, b"")
            # After another error nobody knows what became of the bytes; only a new start can find out.
            self._failed = error.errno not in _FULL
            raise (journal_failed() if self._failed else journal_full()) from error


def _checked(fields: Sequence[str], before: str) -> tuple[bytes, str]:
    """A line with its checksum, and the checksum."""
    text = " ".join(fields)
    checksum = xxh3_64_hexdigest(f"{before} {text}".encode())
    return f"{text} {checksum}\n".encode("latin-1"), checksum


def _append(path: Path, size: int, content: bytes) -> None:
    """Cuts a file off behind its whole lines, puts more behind them, and waits for the disk."""
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, size)
        written = 0
        while written < len(content):
            written += os.pwrite(descriptor, content[written:], size + written)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
