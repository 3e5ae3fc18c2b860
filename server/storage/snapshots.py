"""Snapshot files: all facts as of one offset, in frames that each carry a checksum.

A file is written beside, synced, and only then named `<offset>.snapshot`, so that a name stands for a whole file. A
frame is its header's size (4 bytes), its payload's size (8) and the checksum of both (8), then the header, a
MessagePack array, and the payload. The first frame has the facts that are not in pages, the last one the number of
frames.
"""

import asyncio
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import numpy as np
from xxhash import xxh3_64

from server.domain.journal import CatalogPublished, JournalDamagedError, NewerEntryError
from server.execution.snapshot import Capture, FactsHeader
from server.input.contact_book import BookHeader
from server.input.pages import SavedPage, view
from server.storage import codec

MAGIC = b"OPPORTUNE SNAPSHOT\n"
LAYOUT = 1
WRITTEN_AT_ONCE_BYTES = 1 << 20
"""About so much is copied on the event loop before rankings have their turn: a quarter of a millisecond."""

_SUFFIX = ".snapshot"
_PREFIX = struct.Struct("<IQQ")


class SnapshotFolder:
    """The snapshots of a data folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def offsets(self) -> list[int]:
        """The offsets of all snapshots, newest first."""
        names = (path.stem for path in self._path.glob(f"*{_SUFFIX}"))
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def path(self, offset: int) -> Path:
        """The file of a snapshot."""
        return self._path / f"{offset:020d}{_SUFFIX}"

    def remove(self, offset: int) -> None:
        """Removes a snapshot."""
        self.path(offset).unlink(missing_ok=True)

    async def write(self, capture: Capture) -> None:
        """Writes a snapshot while its pages are captured, about a megabyte at a time.

        Raises:
            OSError: it cannot be written; nothing of it is left.
        """
        self._path.mkdir(mode=0o700, exist_ok=True)
        partial = self.path(capture.header.offset).with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                await asyncio.to_thread(file.write, MAGIC + _frame(["facts", LAYOUT], [_packed(capture.header)])[0])
                frames = 1
                for pages in _some_at_a_time(capture.pages):
                    frames += len(pages)
                    await asyncio.to_thread(_write_pages, file, pages)
                await asyncio.to_thread(_finish, file, frames)
            partial.rename(self.path(capture.header.offset))
            await asyncio.to_thread(_sync_folder, self._path)
        finally:
            partial.unlink(missing_ok=True)

    def read(self, offset: int) -> tuple[FactsHeader, list[SavedPage]]:
        """Reads a snapshot and checks every byte of it.

        Raises:
            JournalDamagedError: something in it is not what was written; the message names file and place.
            NewerEntryError: a newer server wrote it.
            OSError: it cannot be read.
        """
        path = self.path(offset)
        with path.open("rb") as file:
            return _read_facts(file, path, offset), list(_read_pages(file, path))

    def header(self, offset: int) -> FactsHeader:
        """Reads of a snapshot what is not in pages.

        Raises:
            JournalDamagedError, NewerEntryError, OSError: as `read`.
        """
        path = self.path(offset)
        with path.open("rb") as file:
            return _read_facts(file, path, offset)


def _some_at_a_time(pages: Iterator[SavedPage]) -> Iterator[list[SavedPage]]:
    some: list[SavedPage] = []
    size = 0
    for page in pages:
        some.append(page)
        size += sum(array.nbytes for array in page.arrays.values())
        if size >= WRITTEN_AT_ONCE_BYTES:
            yield some
            some, size = [], 0
    yield some


def _write_pages(file: BinaryIO, pages: list[SavedPage]) -> None:
    for page in pages:
        shapes = [[name, array.dtype.str, array.shape] for name, array in page.arrays.items()]
        file.writelines(_frame([page.name, page.number, shapes], list(page.arrays.values())))


def _frame(header: list[Any], parts: Sequence[Any]) -> list[Any]:
    """The bytes of a frame, in parts that can be written one after the other."""
    packed = msgspec.msgpack.encode(header)
    digest = xxh3_64(packed)
    # An empty array has no bytes that could be seen as such.
    contents = [
        view(np.ascontiguousarray(part).reshape(-1).view(np.uint8)) if hasattr(part, "dtype") else part
        for part in parts
    ]
    for content in contents:
        digest.update(content)
    size = sum(len(content) for content in contents)
    first = _PREFIX.pack(len(packed), size, digest.intdigest()) + packed
    return [first + contents[0]] if len(contents) == 1 else [first, *contents]


def _finish(file: BinaryIO, frames: int) -> None:
    file.writelines(_frame(["end", frames], []))
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_facts(file: BinaryIO, path: Path, offset: int) -> FactsHeader:
    if file.read(len(MAGIC)) != MAGIC:
        raise JournalDamagedError(f"{path}: is not a snapshot")
    header, payload = _read_frame(file, path)
    if header[0] != "facts" or header[1] > LAYOUT:
        raise NewerEntryError(f"{path}: was written by a newer version, in layout {header[1]}")
    facts = _unpacked(bytes(payload))
    if facts.offset != offset:
        raise JournalDamagedError(f"{path}: is the snapshot of offset {facts.offset}")
    return facts


def _read_pages(file: BinaryIO, path: Path) -> Iterator[SavedPage]:
    frames = 1
    while True:
        header, payload = _read_frame(file, path)
        if header[0] == "end":
            if header[1] != frames or file.read(1):
                raise JournalDamagedError(f"{path}: has {frames} frames and should have {header[1]}, or goes on behind")
            return
        frames += 1
        name, number, shapes = header
        arrays = {}
        start = 0
        for column, dtype, shape in shapes:
            size = np.dtype(dtype).itemsize * int(np.prod(shape))
            # The payload is the page's own memory from now on; nothing is copied.
            arrays[column] = np.frombuffer(payload, dtype, int(np.prod(shape)), start).reshape(shape)
            start += size
        yield SavedPage(name, number, arrays)


def _read_frame(file: BinaryIO, path: Path) -> tuple[list[Any], bytearray]:
    place = file.tell()
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        raise JournalDamagedError(f"{path}: ends at byte {place}, within a frame")
    header_size, payload_size, checksum = _PREFIX.unpack(prefix)
    left = os.fstat(file.fileno()).st_size - file.tell()
    if header_size + payload_size > left:
        raise JournalDamagedError(f"{path}: the frame at byte {place} is longer than the file")
    header = file.read(header_size)
    payload = bytearray(payload_size)
    file.readinto(payload)  # type: ignore[attr-defined]
    digest = xxh3_64(header)
    digest.update(payload)
    if digest.intdigest() != checksum:
        raise JournalDamagedError(f"{path}: the frame at byte {place} is not what was written")
    decoded: list[Any] = msgspec.msgpack.decode(header)
    return decoded, payload


def _packed(header: FactsHeader) -> bytes:
    catalog = None if header.catalog is None else codec.encode(header.catalog)
    fields: list[Any] = list(header._replace(catalog=None))
    return msgspec.msgpack.encode([*fields, catalog])


def _unpacked(packed: bytes) -> FactsHeader:
    *fields, catalog = msgspec.msgpack.decode(packed)
    header = FactsHeader(*fields)
    contacts = msgspec.convert(header.contacts, BookHeader)
    entry = None if catalog is None else codec.decode(codec.Encoded(*catalog))
    return header._replace(
        catalog=cast(CatalogPublished | None, entry),
        free=tuple(header.free),
        key_free=tuple(header.key_free),
        apart=tuple((left, right) for left, right in header.apart),
        contacts=contacts,
    )
