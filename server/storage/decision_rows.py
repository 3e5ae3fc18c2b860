"""Batches of decision records as rows, with the statements for them. Each has a checksum, as entries of the journal."""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from xxhash import xxh3_64

from server.domain.decision_record import DecisionRecord
from server.domain.journal import JournalDamagedError, NewerEntryError
from server.storage.decision_codec import Encoded, decode

BLANK_BYTES = 4_096
"""What stands before everything that says something of a customer; see `migrations.DECISIONS`."""

INSERT = f"""
    INSERT INTO batches (batch, gone, first, last, oldest_us, newest_us, records, bytes, version, checksum, blank,
    queries, columns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, zeroblob({BLANK_BYTES}), ?, ?)
"""
REPLACE = """
    UPDATE batches SET records = ?, bytes = ?, version = ?, checksum = ?, queries = ?, columns = ? WHERE batch = ?
"""
DELETE = "DELETE FROM batches WHERE batch = ?"
DELETE_OLDER = """
    DELETE FROM batches WHERE batch IN (SELECT batch FROM batches WHERE newest_us < ? ORDER BY newest_us LIMIT 64)
    RETURNING records
"""

_COLUMNS = "batch, first, last, oldest_us, newest_us, version, checksum, queries, columns"
OF_BATCH = f"SELECT {_COLUMNS} FROM batches WHERE batch = ?"
# Batches may overlap a little, as decisions that are made at the same time may be put in another order.
OF_NUMBERS = f"SELECT {_COLUMNS} FROM batches INDEXED BY numbers WHERE last >= ? AND first <= ?"
WHERE_NUMBERS = "SELECT batch, first FROM batches INDEXED BY numbers WHERE last >= ? AND first <= ? ORDER BY first"
MENTIONING = """
    SELECT batch FROM batches WHERE batch > ? AND batch <= ? AND EXISTS (
    SELECT 1 FROM json_each(?) WHERE instr(queries, substr(?, value ->> 0, value ->> 1)))
"""
STOCK = "SELECT (SELECT max(batch) FROM batches), (SELECT total(bytes) FROM batches INDEXED BY times)"
LAST_NUMBER = "SELECT max(last) FROM batches"
OLDEST = "SELECT batch, bytes, oldest_us FROM batches WHERE batch > ? ORDER BY batch LIMIT 128"

_PAGE_BYTES = 4_096
_BOUNDS = struct.Struct("<qqqqqq")


class Bounds(NamedTuple):
    """What is known of a batch without looking into it; those of a batch that was rewritten stay what they were."""

    first: int
    last: int
    oldest_us: int
    newest_us: int
    """When it was written: callers may decide for any time, and retention must not believe them."""


def bounds_of(records: Sequence[DecisionRecord], now_us: int) -> Bounds:
    """The lowest and the highest number of records that are written now, and their times."""
    numbers = [record.number for record in records]
    return Bounds(min(numbers), max(numbers), min(now_us, *(record.time_us for record in records)), now_us)


def bytes_of(encoded: Encoded) -> int:
    """What a batch takes on disk: whole pages."""
    content = BLANK_BYTES + len(encoded.queries) + len(encoded.columns)
    return _PAGE_BYTES * (1 + -(-content // (_PAGE_BYTES - 4)))


def checksum(batch: int, bounds: Bounds, encoded: Encoded) -> int:
    """64 bits over a batch and its place, signed, as SQLite's integers are."""
    hashed = xxh3_64(_BOUNDS.pack(batch, *bounds, encoded.version))
    hashed.update(len(encoded.queries).to_bytes(8, "little"))
    hashed.update(encoded.queries)
    hashed.update(encoded.columns)
    return int.from_bytes(hashed.digest(), "big", signed=True)


def records(row: Sequence[Any], file: object, first: int, last: int) -> list[DecisionRecord]:
    """The records of a row with numbers from `first` to `last`.

    Raises:
        JournalDamagedError: it is not what was written; names the file and the batch.
        NewerEntryError: a newer server wrote it.
    """
    batch, *bounds, version, expected, queries, columns = row
    encoded = Encoded(version, queries, columns)
    if not _is_intact(batch, bounds, encoded, expected):
        raise JournalDamagedError(f"{file}: batch {batch} is not what was written: its checksum differs")
    try:
        return decode(encoded, first, last)
    except (JournalDamagedError, NewerEntryError) as error:
        raise type(error)(f"{file}: batch {batch}: {error}") from error


def written_us(row: Sequence[Any]) -> int:
    """When the batch of a row was written."""
    written: int = row[4]
    return written


def _is_intact(batch: int, bounds: Sequence[Any], encoded: Encoded, expected: int) -> bool:
    try:
        return checksum(batch, Bounds(*bounds), encoded) == expected
    except (struct.error, TypeError):  # A flipped bit can turn a number into a text or into nothing.
        return False
