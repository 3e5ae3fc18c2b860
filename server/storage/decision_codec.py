"""How decision records are written: many at once, as columns.

A record of its own costs twenty calls of Python and numpy; a column of a hundred records costs one. Queries stand apart
from the rest and as they are, so that an erasure finds a customer in them without reading anything else. Layouts are on
disks for ever: one that changes gets the next version, and its decoder joins the old ones, which stay.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, chain
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from server.domain.decision import Context, RankQuery
from server.domain.decision_record import DecisionRecord
from server.domain.journal import JournalDamagedError, NewerEntryError

_PLAIN_BYTES = 3_000
"""What a record takes in memory beside its query and its longest arrays: mostly the objects around its arrays."""

_SHOWN_BYTES = 24
_HIGHEST = 2**63 - 1


class Encoded(NamedTuple):
    """Records as they are stored."""

    version: int
    queries: bytes
    columns: bytes


Waiting = tuple[DecisionRecord, bytes, int]
"""A record that waits to be written, its query as it will be written, and how many bytes of memory they take.

A plain tuple, as one is made while a decision waits.
"""

# The read-only view of a dict is the only type in a query that MessagePack has no word for.
pack = msgspec.msgpack.Encoder(enc_hook=MappingProxyType.copy).encode
"""A customer's identifier stands in a packed query as `pack` makes it, so that no other identifier is taken for it."""
_unpack = msgspec.msgpack.Decoder().decode


def waiting(record: DecisionRecord) -> Waiting:
    """The record with its query packed, which also is the only way to know what a query weighs.

    Raises:
        Exception: the record cannot be written.
    """
    query = pack(record.query)
    arrays = record.variables.nbytes + record.truth.nbytes + _SHOWN_BYTES * len(record.shown)
    return record, query, _PLAIN_BYTES + 2 * len(query) + arrays


def encoding(group: Sequence[Waiting]) -> Iterator[bytes]:
    """The queries, then the parts of the columns: some ten microseconds for each at most.

    Raises:
        Exception: some record is not as its type says.
    """
    records, queries, _ = zip(*group, strict=True)
    yield b"".join(queries)
    columns = dict(zip(DecisionRecord._fields, zip(*records, strict=True), strict=True))
    yield _numbers(columns, queries)
    yield pack([columns[name] for name in _PLAIN])
    for block in _BLOCKS:
        lengths = _lengths(columns[block[0].name])
        yield lengths.tobytes()
        total = int(lengths.sum())
        for array in block:
            yield _flat(columns[array.name], array, total)


def encode(group: Sequence[Waiting]) -> Encoded:
    """The newest layout of records, at one go.

    Raises:
        Exception: some record is not as its type says.
    """
    return joined(list(encoding(group)))


def joined(parts: Sequence[bytes]) -> Encoded:
    """What `encoding` has made, whole: the sizes of the columns' parts, and the parts."""
    queries, *columns = parts
    sizes = struct.pack(f"<{len(columns)}I", *map(len, columns))
    return Encoded(len(_DECODERS), queries, b"".join((sizes, *columns)))


def decode(encoded: Encoded, first: int = 0, last: int = _HIGHEST) -> list[DecisionRecord]:
    """The records with numbers from `first` to `last`, as they were put, in the order in which they were put.

    Raises:
        NewerEntryError: the version is not known here.
        JournalDamagedError: the bytes are not of this layout.
    """
    version, queries, columns = encoded
    if version > len(_DECODERS):
        raise NewerEntryError(f"decision records of version {version}: a newer server wrote them")
    if version < 1:
        raise JournalDamagedError(f"decision records have no version {version}")
    try:
        return _DECODERS[version - 1](queries, columns, range(first, last + 1))
    except Exception as error:  # Whatever a decoder trips over: these are not the bytes that its encoder made.
        raise JournalDamagedError(f"decision records of version {version} do not decode: {type(error)}") from None


# Version 1


class _Array(NamedTuple):
    """A field with an array: its type on disk and its type in a record."""

    name: str
    dtype: str
    in_memory: type[np.generic]


# Arrays of one block are equally long within a record.
_BLOCKS = (
    (_Array("variables", "<f4", np.float32),),
    (_Array("truth", "?", np.bool_),),
    (_Array("capped", "<i4", np.intp), _Array("capped_by", "<i4", np.intp)),
    (_Array("repeated", "<i4", np.intp), _Array("repeated_propensity", "<f8", np.float64)),
    (
        _Array("shown", "<i4", np.intp),
        _Array("shown_at", "<i4", np.intp),
        _Array("propensity", "<f8", np.float64),
        _Array("expected_value", "<f8", np.float64),
    ),
    (
        _Array("lost", "<i4", np.intp),
        _Array("lost_propensity", "<f4", np.float32),
        _Array("lost_expected_value", "<f4", np.float32),
    ),
)
_SIGNED = ("number", "time_us", "profile_version", "catalog_version")
_UNSIGNED = ("tag",)
_PLAIN = ("result", "rung", "model_id", "plans", "granted", "counted", "timings_ns")
_PARTS = 2 + sum(1 + len(block) for block in _BLOCKS)
_NUMBERS_BYTES = 8 * len(_SIGNED + _UNSIGNED) + 4


def _format(count: int) -> str:
    """Of the numbers of so many records, and of how long each query is."""
    return f"<{count * len(_SIGNED)}q{count * len(_UNSIGNED)}Q{count}I"


def _numbers(columns: dict[str, tuple[Any, ...]], queries: Sequence[bytes]) -> bytes:
    numbers = chain.from_iterable(columns[name] for name in _SIGNED + _UNSIGNED)
    return struct.pack(_format(len(queries)), *numbers, *map(len, queries))


def _lengths(arrays: Sequence[NDArray[Any]]) -> NDArray[np.uint32]:
    return np.fromiter(map(len, arrays), "<u4", len(arrays))


def _flat(arrays: Sequence[NDArray[Any]], array: _Array, total: int) -> bytes:
    """The arrays one after the other, truth values as bits.

    Raises:
        Exception: they are not as long as they should be, or not of this type.
    """
    whole = _joined(arrays, np.dtype(array.in_memory), total)
    if array.dtype == "?":
        return np.packbits(np.frombuffer(whole, np.bool_)).tobytes()
    if array.dtype == np.dtype(array.in_memory).str:
        return whole
    return np.frombuffer(whole, array.in_memory).astype(array.dtype).tobytes()


def _joined(arrays: Sequence[NDArray[Any]], dtype: np.dtype[Any], total: int) -> bytes:
    """The bytes of arrays as they are, which takes a third of the time, or else as they should be."""
    if arrays[0].dtype == dtype:
        with suppress(TypeError):  # One of them is not contiguous.
            whole = b"".join(cast(Sequence[bytes], arrays))
            if len(whole) == total * dtype.itemsize:
                return whole
    flat = np.concatenate(arrays, dtype=dtype, casting="same_kind")
    if len(flat) != total:
        raise ValueError("arrays that belong together are not equally long")
    return flat.tobytes()


def _decode_1(queries: bytes, columns: bytes, wanted: range) -> list[DecisionRecord]:
    numbers, plain, *arrays = _split(columns)
    fields, query_lengths = _read_numbers(numbers)
    places = [place for place, number in enumerate(fields["number"]) if number in wanted]
    # To find one record among hundreds, only what it has is cut out.
    fields = {name: [values[place] for place in places] for name, values in fields.items()}
    for name, values in zip(_PLAIN, _unpack(plain), strict=True):
        fields[name] = [values[place] for place in places]
    fields["timings_ns"] = map(tuple, fields["timings_ns"])
    for name in ("plans", "counted"):
        fields[name] = [tuple(map(tuple, rows)) for rows in fields[name]]
    fields["query"] = map(_query, _cut(queries, query_lengths, places))
    fields |= _read_blocks(arrays, places)
    rows = zip(*map(fields.__getitem__, DecisionRecord._fields), strict=True)
    return list(map(DecisionRecord._make, rows))


def _split(columns: bytes) -> list[bytes]:
    """The parts behind their sizes."""
    sizes = struct.unpack_from(f"<{_PARTS}I", columns)
    return _cut(columns[4 * _PARTS :], sizes, range(_PARTS))


def _read_numbers(part: bytes) -> tuple[dict[str, Any], Sequence[int]]:
    """The numbers by field, and how long each query is."""
    count = len(part) // _NUMBERS_BYTES
    values = struct.unpack(_format(count), part)
    of_fields = [values[start : start + count] for start in range(0, len(values), count)]
    return dict(zip(_SIGNED + _UNSIGNED, of_fields[:-1], strict=True)), of_fields[-1]


def _read_blocks(parts: Sequence[bytes], places: Sequence[int]) -> dict[str, Any]:
    """The arrays of the records in these places, by field."""
    fields = {}
    remaining = iter(parts)
    for block in _BLOCKS:
        lengths = np.frombuffer(next(remaining), "<u4").tolist()
        for array in block:
            fields[array.name] = _cut(_unflat(next(remaining), array, sum(lengths)), lengths, places)
    return fields


def _unflat(part: bytes, array: _Array, total: int) -> NDArray[Any]:
    """The array of all records, of its own type in memory, which may not be as it lies in the bytes."""
    if array.dtype != "?":
        return np.frombuffer(part, array.dtype).astype(array.in_memory)
    return np.unpackbits(np.frombuffer(part, np.uint8))[:total].astype(np.bool_)


def _cut(whole: Any, lengths: Sequence[int], places: Sequence[int]) -> list[Any]:
    """Some of the pieces of these lengths of which something is made.

    Raises:
        ValueError: it is longer or shorter.
    """
    ends = list(accumulate(lengths, initial=0))
    if ends[-1] != len(whole):
        raise ValueError("its parts are longer or shorter than it says")
    return [whole[ends[place] : ends[place + 1]] for place in places]


def _query(packed: bytes) -> RankQuery:
    """The query, with tuples where it had tuples."""
    customer_id, placement_id, context, max_offers, candidates, *others, further = _unpack(packed)
    channel, locale, time, attributes = context
    values = {name: tuple(value) if type(value) is list else value for name, value in attributes.items()}
    resolved = Context(channel, locale, time, values)
    return RankQuery._make(
        (customer_id, placement_id, resolved, max_offers, tuple(candidates), *others, tuple(further))
    )


_DECODERS: tuple[Callable[[bytes, bytes, range], list[DecisionRecord]], ...] = (_decode_1,)
