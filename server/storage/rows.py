"""Entries as rows, with the statements for them. Each has a checksum: SQLite's pages do not notice a flipped bit."""

import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from xxhash import xxh3_64_digest

from server.domain.journal import DeltasRejected, JournalDamagedError, NewerEntryError, Record
from server.storage.codec import PUBLISHED_KIND, REJECTED_KIND, Encoded, decode, encode

_COLUMNS = "offset, kind, version, checksum, body"
_OF_BATCH = """
    SELECT value ->> 0 AS offset, value ->> 1 AS kind, value ->> 2 AS version, value ->> 3 AS source,
    value ->> 4 AS checksum, substr(:bodies, value ->> 5, value ->> 6) AS body FROM json_each(:places)
"""

# Of a `Batch`:
INSERT = f"INSERT INTO entries (offset, kind, version, source, checksum, body) {_OF_BATCH}"
UPDATE = f"""
    UPDATE entries SET kind = new.kind, version = new.version, source = new.source, checksum = new.checksum,
    body = new.body FROM ({_OF_BATCH}) AS new WHERE entries.offset = new.offset
"""

# Their rows are for `record`; of offsets above the first parameter, up to the second:
READ = f"SELECT {_COLUMNS} FROM entries WHERE offset > ? AND offset <= ? ORDER BY offset"
REJECTED = f"""
    SELECT {_COLUMNS} FROM entries INDEXED BY rejected
    WHERE kind = {REJECTED_KIND} AND offset > ? AND offset <= ? AND ? IN ('', source) ORDER BY offset LIMIT ?
"""
PUBLISHED = f"""
    SELECT {_COLUMNS} FROM entries INDEXED BY published
    WHERE kind = {PUBLISHED_KIND} AND offset > ? AND offset <= ? ORDER BY offset LIMIT ?
"""
MENTIONING = f"""
    SELECT {_COLUMNS} FROM entries WHERE offset > ? AND offset <= ?
    AND EXISTS (SELECT 1 FROM json_each(?) WHERE instr(body, CAST(value AS BLOB))) ORDER BY offset LIMIT ?
"""

BOUNDS = """
    SELECT (SELECT min(offset) FROM entries), (SELECT max(offset) FROM entries),
    (SELECT through FROM truncated), (SELECT checksum FROM truncated)
"""
FORGET = "DELETE FROM entries WHERE offset <= ?"
FORGOTTEN = "INSERT OR REPLACE INTO truncated (one, through, checksum) VALUES (1, ?, ?)"

_PLACE = struct.Struct("<qqq")


class Batch(NamedTuple):
    """Many rows as two parameters, for one statement: it takes the loop's lock once and not once for each row.

    `places` is JSON: `[offset, kind, version, source, checksum, start, length]` of each row; the last two say where in
    `bodies` its body is, counted from 1.
    """

    places: str
    bodies: bytes


def batch(records: Iterable[Record]) -> Batch:
    """The rows of these entries."""
    places, bodies, start = [], [], 1
    for offset, entry in records:
        kind, version, body = encoded = encode(entry)
        source = entry.source if isinstance(entry, DeltasRejected) else None
        places.append((offset, kind, version, source, checksum(offset, encoded), start, len(body)))
        bodies.append(body)
        start += len(body)
    return Batch(msgspec.json.encode(places).decode(), b"".join(bodies))


def wanted(identifiers: Sequence[str]) -> str:
    """What `MENTIONING` looks for."""
    return msgspec.json.encode(identifiers).decode()


def bounds(row: Sequence[Any], file: object) -> tuple[int, int]:
    """The offsets of the oldest entry that is kept and of the last one, of the row of `BOUNDS`.

    Raises:
        JournalDamagedError: the oldest entries are missing, or nobody can tell.
    """
    oldest, newest, through, expected = row
    through = through or 0
    if through and checksum_of_bound(through) != expected:
        raise JournalDamagedError(f"{file}: the offset up to which entries are forgotten is damaged")
    first, head = through + 1, through if newest is None else newest
    if oldest not in (None, first):
        raise JournalDamagedError(f"{file}: entry {first} is missing; the first is {oldest}")
    return first, head


def require_all(offsets: Sequence[int], expected: range, file: object) -> None:
    """Raises unless the offsets end with those that are expected, in order."""
    if list(offsets[max(len(offsets) - len(expected), 0) :]) == list(expected):
        return
    missing = set(expected).difference(offsets)
    what = (
        f"entry {min(missing)} is missing" if missing else f"entries {expected[0]} to {expected[-1]} are out of order"
    )
    raise JournalDamagedError(f"{file}: {what}")


def record(row: Sequence[Any], file: object) -> Record:
    """The entry of a row.

    Raises:
        JournalDamagedError: it is not what was written; names the file and the offset.
        NewerEntryError: a newer server wrote it.
    """
    offset, kind, version, expected, body = row
    encoded = Encoded(kind, version, body)
    if not _is_intact(offset, encoded, expected):
        raise JournalDamagedError(f"{file}: entry {offset} is not what was written: its checksum differs")
    try:
        return Record(offset, decode(encoded))
    except (JournalDamagedError, NewerEntryError) as error:
        raise type(error)(f"{file}: entry {offset}: {error}") from error


def checksum(offset: int, encoded: Encoded) -> int:
    """64 bits over an entry and its place, signed, as SQLite's integers are."""
    place = _PLACE.pack(offset, encoded.kind, encoded.version)
    return int.from_bytes(xxh3_64_digest(place + encoded.body), "big", signed=True)


def checksum_of_bound(offset: int) -> int:
    """64 bits over the last offset that was forgotten."""
    return checksum(offset, Encoded(0, 0, b""))


def _is_intact(offset: int, encoded: Encoded, expected: int) -> bool:
    try:
        return checksum(offset, encoded) == expected
    except (struct.error, TypeError):  # A flipped bit can turn a number into a text or into nothing.
        return False
