"""The last offset that was acknowledged, beside the journal.

SQLite takes a write-ahead log to end at its first damaged frame, without a word: one flipped bit hides the entries
behind it. So each acknowledged offset is also noted here, in memory that the kernel writes back: the note survives the
process, and is never ahead of what is durable. After a power cut it may be old, and then notices less.
"""

import logging
import mmap
import os
import struct
from pathlib import Path
from typing import Self

from xxhash import xxh3_64_intdigest

_LOG = logging.getLogger(__name__)
_NOTE = struct.Struct("<QQ")  # the offset, and its checksum


class Acknowledged:
    """The note of one journal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._note = mmap.mmap(descriptor, _NOTE.size)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens the note and makes it if there is none.

        Raises:
            OSError: it can be neither read nor made.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size != _NOTE.size:
                _make(descriptor)
            return cls(descriptor)
        except OSError:
            os.close(descriptor)
            raise

    def read(self) -> int | None:
        """The offset, or None if the note is unreadable."""
        offset, checksum = _NOTE.unpack_from(self._note)
        return offset if checksum == _checksum(offset) else None

    def write(self, offset: int) -> None:
        """Notes an offset; costs a copy in memory."""
        self._note[:] = _NOTE.pack(offset, _checksum(offset))

    def sync(self) -> None:
        """Makes the note durable if that is possible; an old one is only less sharp. Blocks while the disk works."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            _LOG.warning("what was acknowledged last is not durable: %s", error)

    def close(self) -> None:
        """Makes the note durable and lets go of the file."""
        self.sync()
        self._note.close()
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_note(path: Path) -> int | None:
    """The offset that a note says, without opening it for writing; None if there is none or it is unreadable."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(content) != _NOTE.size:
        return None
    offset, checksum = _NOTE.unpack(content)
    return offset if checksum == _checksum(offset) else None


def _make(descriptor: int) -> None:
    """The bytes are on the disk before they are mapped: a full disk must not stop a write to memory."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, _NOTE.pack(0, ~_checksum(0) & 0xFFFF_FFFF_FFFF_FFFF), 0)
    os.fsync(descriptor)


def _checksum(offset: int) -> int:
    return xxh3_64_intdigest(offset.to_bytes(8, "little"))
