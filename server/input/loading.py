"""Bulk loads: columns of many customers into the profile table, page by page instead of cell by cell."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import KEY_COLUMNS, LARGEST, Attribute, AttributeType, FloatRow, IntRow, Schema
from server.domain.clock import EPOCH_DAYS, LATEST_US, MICROSECONDS_PER_DAY
from server.domain.errors import OpportuneError, invalid_field
from server.domain.load import ColumnBatch, LoadColumn
from server.input.change import Change, Operation
from server.input.keys import key_words
from server.input.pages import PAGE_BITS, PAGE_MASK
from server.input.profiles import ProfileTable


class _Columns(NamedTuple):
    """Columns of the table and what goes into them: float32 [customers, columns], NaN where there is nothing."""

    places: IntRow
    values: FloatRow


def check_batch(batch: ColumnBatch, schema: Schema) -> None:
    """Refuses a batch that does not fit a schema.

    Raises:
        OpportuneError: INVALID_FIELD with the first thing that is wrong.
    """
    if len(batch.event_times_us) != len(batch.customer_ids):
        raise invalid_field("event_times_us", "must have an entry for each customer")
    if len(set(batch.customer_ids)) < len(batch.customer_ids):
        raise invalid_field("customer_ids", "has a customer twice")
    times = batch.event_times_us
    if len(times) and not (times.min() >= 0 and times.max() < LATEST_US):
        raise invalid_field("event_time", "is outside the years 1970 to 2200")
    names = [column.name for column in batch.columns]
    if len(set(names)) < len(names):
        raise invalid_field("columns", "has an attribute twice")
    for place, column in enumerate(batch.columns):
        list(_laid_out(column, len(batch.customer_ids), schema, f"columns[{place}]"))


def load(table: ProfileTable, batch: ColumnBatch, version: int) -> None:
    """Sets the attributes of a batch, each cell unless it was set later. Columns that do not fit are left out."""
    columns = _lay_out(batch, table.schema)
    rows = np.array([table.ensure(customer_id) for customer_id in batch.customer_ids], np.intp)
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    bounds = np.flatnonzero(np.diff(rows >> PAGE_BITS, prepend=-1, append=-1))
    for start, end in pairwise(bounds.tolist()):
        mine = order[start:end]
        values = _Columns(columns.places, columns.values[mine])
        _load_page(table, rows[start:end], batch.event_times_us[mine], values, version)


def _load_page(table: ProfileTable, rows: IntRow, times_us: NDArray[np.int64], columns: _Columns, version: int) -> None:
    fits = table.times.stamp_blank(rows, times_us)
    number, places = int(rows[0]) >> PAGE_BITS, rows & PAGE_MASK
    page = table.pages.writable(number)
    values = columns.values
    whole = page.values[places[fits]]
    given = ~np.isnan(values[fits])
    whole[:, columns.places] = np.where(given, values[fits], whole[:, columns.places])
    page.values[places[fits]] = whole
    # Rows whose cells were set at other times go one by one.
    for place in np.flatnonzero(~fits).tolist():
        given = np.flatnonzero(~np.isnan(values[place]))
        changes = [Change(int(columns.places[cell]), Operation.SET, float(values[place, cell])) for cell in given]
        table.update(int(rows[place]), changes, int(times_us[place]), version, int(times_us[place]))
    page.versions[places] = version
    page.updates_us[places] = np.maximum(page.updates_us[places], times_us)
    for row in rows.tolist():
        if table.graph.customer(row) != row:
            table.stale(table.graph.customer(row))


def _lay_out(batch: ColumnBatch, schema: Schema) -> _Columns:
    laid_out: dict[int, FloatRow] = {}
    for column in batch.columns:
        try:
            laid_out |= dict(_laid_out(column, len(batch.customer_ids), schema, column.name))
        except OpportuneError:
            # The catalog has changed between check and commit, and nothing is declared any more that this would set.
            continue
    if not laid_out:
        return _Columns(np.empty(0, np.intp), np.empty((len(batch.customer_ids), 0), np.float32))
    return _Columns(np.array(list(laid_out), np.intp), np.column_stack(list(laid_out.values())))


def _laid_out(column: LoadColumn, customers: int, schema: Schema, field: str) -> Iterator[tuple[int, FloatRow]]:
    """The columns of the table that a column fills, with their values."""
    place = schema.columns.get(column.name)
    attribute = schema.attribute_of_column[place] if place is not None and "#" not in column.name else None
    if attribute is None or place is None or attribute.aggregate is not None:
        raise invalid_field(field, "is not an attribute of the catalog that a load may set")
    if attribute.type is AttributeType.SET:
        yield from _words(column, customers, attribute, schema, field)
        return
    if len(column.values) != customers:
        raise invalid_field(field, "must have a value for each customer, NaN where there is none")
    if attribute.type is AttributeType.KEY:
        hashed = np.array([key_words(text) for text in column.texts] + [(np.nan,) * KEY_COLUMNS], np.float32)
        words = hashed[_places(column, column.values, field)]
        yield from ((schema.columns[name], words[:, word]) for word, name in enumerate(attribute.column_names()))
        return
    yield place, _values(column, attribute, schema, field)


def _values(column: LoadColumn, attribute: Attribute, schema: Schema, field: str) -> FloatRow:
    values = column.values
    present = values[~np.isnan(values)]
    if not np.all(np.abs(present) < np.inf):
        raise invalid_field(field, "must be finite")
    match attribute.type:
        case AttributeType.CATEGORY:
            codes = np.append(_codes(column, attribute, schema, field), np.float32(np.nan))
            return codes[_places(column, values, field)]
        case AttributeType.BOOLEAN if not np.isin(present, (0.0, 1.0)).all():
            raise invalid_field(field, "takes 0 or 1")
        case AttributeType.TIMESTAMP_AGE:
            if not np.all((present >= 0) & (present < LATEST_US)):
                raise invalid_field(field, "is outside the years 1970 to 2200")
            return (values / MICROSECONDS_PER_DAY - EPOCH_DAYS).astype(np.float32)
        case AttributeType.NUMBER if not np.all(np.abs(present) <= LARGEST):
            raise invalid_field(field, "does not fit a 32-bit float")
    return values.astype(np.float32)


def _words(
    column: LoadColumn, customers: int, attribute: Attribute, schema: Schema, field: str
) -> Iterator[tuple[int, FloatRow]]:
    """The words of a set: an integer with a bit for each member."""
    counts = np.maximum(column.lengths, 0)
    if len(counts) != customers or counts.sum() != len(column.values) or np.isnan(column.values).any():
        raise invalid_field(f"{field}.lengths", "must have the number of members of each customer, -1 for no set")
    _codes(column, attribute, schema, field)
    owners = np.repeat(np.arange(customers), counts)
    members = _places(column, column.values, field)
    targets = [schema.member(attribute, text) for text in column.texts]
    for name in attribute.column_names():
        word = schema.columns[name]
        bits = np.array([bit if target == word else 0 for target, bit in targets], np.int32)
        filled = np.zeros(customers, np.int32)
        if len(members):
            np.bitwise_or.at(filled, owners, bits[members])
        yield word, np.where(column.lengths < 0, np.nan, filled).astype(np.float32)


def _codes(column: LoadColumn, attribute: Attribute, schema: Schema, field: str) -> FloatRow:
    codes = schema.codes[attribute.id]
    unknown = [place for place, text in enumerate(column.texts) if text not in codes]
    if unknown:
        description = f"is none of the {len(attribute.values)} declared values"
        raise invalid_field(f"{field}.texts[{unknown[0]}]", description)
    return np.array([codes[text] for text in column.texts], np.float32)


def _places(column: LoadColumn, values: NDArray[np.float64], field: str) -> NDArray[np.intp]:
    """The places in `texts` that values are, one behind the last where there is none."""
    count = len(column.texts)
    present = values[~np.isnan(values)]
    if not np.all((present >= 0) & (present < count) & (present == np.floor(present))):
        raise invalid_field(f"{field}.values", "must be places in `texts`")
    return np.where(np.isnan(values), count, values).astype(np.intp)
