"""How entries are written: a number for the kind, one for the version of its layout, and a body in MessagePack.

These numbers and layouts are on disks for ever. A layout that changes gets the next version, and its decoder joins the
old ones, which stay. Bodies are arrays, without names; identifiers stand in them as plain UTF-8, so that a search of
the bytes finds them. Deltas are written as columns: one call each way handles a whole request.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from server.domain.aggregate import Aggregate, Operation
from server.domain.attribute import Attribute, AttributeType, MergeRule, Schema, Value
from server.domain.contact import ContactPolicy
from server.domain.identity import IdentityPolicy
from server.domain.journal import (
    CatalogPublished,
    DecisionsMade,
    DeltasReceived,
    DeltasRejected,
    Entry,
    IdentifiersLinked,
    IdentifierUnlinked,
    JournalDamagedError,
    NewerEntryError,
    OutcomesReported,
    ProfileErased,
    ProfilesLoaded,
    Redacted,
)
from server.domain.load import ColumnBatch, LoadColumn
from server.domain.matching import Form, MatchPart, MatchRule
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta


class Encoded(NamedTuple):
    """An entry as it is stored."""

    kind: int
    version: int
    body: bytes


class _Layout(NamedTuple):
    """How the entries of one kind are written now, and how those of every version are read, the first version first."""

    kind: int
    encode: Callable[[Any], bytes]
    decoders: tuple[Callable[[bytes], Entry], ...]


# The only type in an entry that MessagePack has no word for is the read-only view of a dict; a copy is a dict.
_pack = msgspec.msgpack.Encoder(enc_hook=MappingProxyType.copy).encode
_unpack = msgspec.msgpack.Decoder().decode


def encode(entry: Entry) -> Encoded:
    """The entry in its newest layout.

    Raises:
        UnicodeEncodeError: a text has half a surrogate pair, which no check of a request lets through.
    """
    layout = _LAYOUTS[type(entry)]
    return Encoded(layout.kind, len(layout.decoders), layout.encode(entry))


def decode(encoded: Encoded) -> Entry:
    """The entry as it was before `encode`. Arrays are read-only.

    Raises:
        NewerEntryError: the kind or the version is not known here.
        JournalDamagedError: the body is not of this layout.
    """
    kind, version, body = encoded
    layout = _LAYOUT_OF_KIND.get(kind)
    if layout is None or version > len(layout.decoders):
        raise NewerEntryError(f"an entry of kind {kind}, version {version}: a newer server wrote it")
    if version < 1:
        raise JournalDamagedError(f"an entry of kind {kind} has no version {version}")
    try:
        return layout.decoders[version - 1](body)
    except Exception as error:  # Whatever a decoder trips over: these are not the bytes that its encoder made.
        raise JournalDamagedError(f"an entry of kind {kind}, version {version} does not decode: {error!r}") from error


# Deltas


class _DeltaColumns(NamedTuple):
    """The columns of version 1; `changes` are the fields of each change, whose type `tags` tells."""

    time_us: int
    source: str
    sequence: int
    customer_ids: tuple[str, ...]
    event_times_us: tuple[int, ...]
    tags: bytes
    changes: tuple[Any, ...]
    other_ids: tuple[tuple[str, ...], ...]
    match_keys: tuple[tuple[bytes, ...], ...]


_unpack_deltas = msgspec.msgpack.Decoder(_DeltaColumns).decode
_TAGS: Mapping[type, int] = {type(None): 0, AttributeUpdates: 1, Event: 2, ConsentUpdate: 3}


def _encode_deltas(entry: DeltasReceived) -> bytes:
    customer_ids, times, changes, other_ids, match_keys = zip(*entry.deltas, strict=True) if entry.deltas else ((),) * 5
    tags = bytes(map(_TAGS.__getitem__, map(type, changes)))
    return _pack((*entry[:3], customer_ids, times, tags, changes, other_ids, match_keys))


def _decode_deltas(body: bytes) -> DeltasReceived:
    time_us, source, sequence, customer_ids, times, tags, fields, other_ids, match_keys = _unpack_deltas(body)
    changes = [_CHANGES[tag](of_change) for tag, of_change in zip(tags, fields, strict=True)]
    deltas = map(ProfileDelta._make, zip(customer_ids, times, changes, other_ids, match_keys, strict=True))
    return DeltasReceived(time_us, source, sequence, tuple(deltas))


def _updates(fields: list[dict[str, Any]]) -> AttributeUpdates:
    values, increment, append, remove = fields
    return AttributeUpdates(_values(values), increment, append and _tuples(append), remove and _tuples(remove))


def _event(fields: list[Any]) -> Event:
    name, properties = fields
    return Event(name, _values(properties))


def _consent(fields: list[Any]) -> ConsentUpdate:
    return ConsentUpdate(*fields)


def _values(values: dict[str, Any]) -> dict[str, Value]:
    """Values as they were: MessagePack tells all types apart but lists and tuples."""
    if list in map(type, values.values()):
        return {name: tuple(value) if type(value) is list else value for name, value in values.items()}
    return values


def _tuples(lists: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(members) for name, members in lists.items()}


_CHANGES: tuple[Callable[[Any], Any], ...] = (lambda nothing: None, _updates, _event, _consent)


# Loads


def _encode_load(entry: ProfilesLoaded) -> bytes:
    batch = entry.batch
    columns = [(column.name, _raw(column.values), column.texts, _raw(column.lengths)) for column in batch.columns]
    return _pack((*entry[:3], batch.customer_ids, _raw(batch.event_times_us), columns))


def _decode_load(body: bytes) -> ProfilesLoaded:
    time_us, source, sequence, customer_ids, times, columns = _unpack(body)
    loaded = (
        LoadColumn(name, _array(values), tuple(texts), _array(lengths)) for name, values, texts, lengths in columns
    )
    return ProfilesLoaded(time_us, source, sequence, ColumnBatch(tuple(customer_ids), _array(times), tuple(loaded)))


def _raw(array: NDArray[Any]) -> tuple[str, bytes]:
    """Type and bytes of a vector, little-endian on every machine."""
    little = array.dtype.newbyteorder("<")
    return little.str, array.astype(little, copy=False).tobytes()


def _array(raw: tuple[str, bytes]) -> NDArray[Any]:
    dtype, content = raw
    return np.frombuffer(content, dtype)


# Catalogs


def _encode_catalog(entry: CatalogPublished) -> bytes:
    attributes = [_attribute_fields(attribute) for attribute in entry.schema.attributes]
    rules = [
        (rule.id, [(part.attribute, part.form, part.first) for part in rule.parts]) for rule in entry.identity.rules
    ]
    return _pack((*entry[:4], attributes, entry.identity.max_identifiers, rules, entry.contacts, entry.schema.consents))


def _attribute_fields(of: Attribute) -> tuple[Any, ...]:
    kept = of.aggregate
    aggregate = kept and (kept.event, kept.operation, kept.property, kept.window_days, kept.half_life_days)
    return (of.id, of.type, of.values, of.by, of.keys, of.purpose, of.merge, aggregate)


def _decode_catalog(body: bytes) -> CatalogPublished:
    *fields, contacts, consents = _unpack(body)
    entry = _catalog(fields)
    schema = Schema(entry.schema.attributes, tuple(consents))
    return entry._replace(schema=schema, contacts=ContactPolicy(*contacts))


def _decode_catalog_1(body: bytes) -> CatalogPublished:
    """Version 1 had neither a contact policy nor purposes beside those of attributes."""
    return _catalog(_unpack(body))


def _catalog(fields: list[Any]) -> CatalogPublished:
    time_us, version, etag, text, attributes, max_identifiers, rules = fields
    schema = Schema(tuple(map(_attribute, attributes)))
    policy = IdentityPolicy(max_identifiers, tuple(_match_rule(*fields) for fields in rules))
    return CatalogPublished(time_us, version, etag, text, schema, policy)


def _attribute(fields: list[Any]) -> Attribute:
    name, of_type, values, by, keys, purpose, merge, aggregate = fields
    return Attribute(
        name,
        AttributeType(of_type),
        values=tuple(values),
        by=by,
        keys=tuple(keys),
        purpose=purpose,
        merge=MergeRule(merge),
        aggregate=None if aggregate is None else _aggregate(aggregate),
    )


def _aggregate(fields: list[Any]) -> Aggregate:
    event, operation, of_property, window_days, half_life_days = fields
    return Aggregate(event, Operation(operation), of_property, window_days, half_life_days)


def _match_rule(name: str, parts: list[Any]) -> MatchRule:
    return MatchRule(name, tuple(MatchPart(attribute, Form(form), first) for attribute, form, first in parts))


# The registry. The entries below that name only their type are plain enough for MessagePack to read by itself.


def _plain(kind: int, of_type: type[Any]) -> _Layout:
    return _Layout(kind, _pack, (msgspec.msgpack.Decoder(of_type).decode,))


_LAYOUTS: Mapping[type, _Layout] = MappingProxyType(
    {
        CatalogPublished: _Layout(1, _encode_catalog, (_decode_catalog_1, _decode_catalog)),
        DeltasReceived: _Layout(2, _encode_deltas, (_decode_deltas,)),
        DeltasRejected: _plain(3, DeltasRejected),
        ProfilesLoaded: _Layout(4, _encode_load, (_decode_load,)),
        IdentifiersLinked: _plain(5, IdentifiersLinked),
        IdentifierUnlinked: _plain(6, IdentifierUnlinked),
        ProfileErased: _plain(7, ProfileErased),
        Redacted: _plain(8, Redacted),
        DecisionsMade: _plain(9, DecisionsMade),
        OutcomesReported: _plain(10, OutcomesReported),
    }
)
_LAYOUT_OF_KIND = {layout.kind: layout for layout in _LAYOUTS.values()}

PUBLISHED_KIND = _LAYOUTS[CatalogPublished].kind
"""The kind that is indexed, as there are few among many."""

REJECTED_KIND = _LAYOUTS[DeltasRejected].kind
"""The kind that is indexed by its source."""
