"""Profile deltas: what a household's attributes are, in the form in which they reach the profile.

A delta is a customer id and the values to set. Missing values are left out, and so are the zero cells of
keyed attributes: training and serving both read what is absent as NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from model_artifacts.complete_journey import affinities, households
from model_artifacts.complete_journey.dataset import Dataset
from model_artifacts.complete_journey.identifiers import customer_id

Value = float | str | datetime | list[str]
Delta = tuple[str, dict[str, Value]]
"""Customer id and values by attribute, or by `attribute.key` for a cell of a keyed attribute."""


def deltas(dataset: Dataset, day: date, document: dict[str, Any], only: Iterable[int] | None = None) -> Iterator[Delta]:
    """One delta per household, in order of household, as of the morning of `day`.

    The offers of the catalog `document` say which keys the keyed attributes have. `only` leaves all other
    households out. Numbers are floats, bands texts, sets lists of texts, timestamps aware datetimes (UTC).
    """
    table = households.attributes(dataset, day)
    if only is not None:
        table = table[table.index.isin(list(only))]
    cells = _by_household(_cells(dataset, day, document), table.index)
    received = households.memberships(dataset, day).groupby("household")["campaign"].apply(list).to_dict()
    columns = {name: _plain(table[name]) for name in table.columns}
    for row, household in enumerate(table.index):
        values: dict[str, Value] = {}
        for name, column in columns.items():
            if (value := column[row]) is not None:
                values[name] = value
        if household in received:
            values["campaigns"] = [str(campaign) for campaign in received[household]]
        yield customer_id(household), {**values, **cells[household]}


def _cells(dataset: Dataset, day: date, document: dict[str, Any]) -> affinities.Cells:
    offered = [offer["attributes"] for offer in document["offers"]]
    campaigns = {int(attributes["campaign"]) for attributes in offered}
    coupons = dataset.coupons[dataset.coupons["campaign"].isin(campaigns)]
    categories, departments = ({str(offer[name]) for offer in offered} for name in ("category", "department"))
    return affinities.cells(dataset, day, coupons, categories, departments)


def _by_household(cells: affinities.Cells, known: pd.Index) -> dict[int, dict[str, Value]]:
    found: dict[int, dict[str, Value]] = {household: {} for household in known}
    for attribute, table in cells.items():
        told = table[table["household"].isin(known)]
        names = (attribute + "." + told["key"]).tolist()
        for household, name, value in zip(told["household"].tolist(), names, _plain(told["value"]), strict=True):
            if value is not None:
                found[household][name] = value
    return found


def _plain(column: pd.Series) -> list[Value | None]:
    """A column as plain Python values, None where it is missing."""
    missing = column.isna().tolist()
    if pd.api.types.is_datetime64_any_dtype(column):
        seconds = column.astype("datetime64[s]").astype("int64").tolist()
        return [None if gap else _moment(second) for second, gap in zip(seconds, missing, strict=True)]
    return [None if gap else value for value, gap in zip(column.tolist(), missing, strict=True)]


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


_KINDS = ("number", "time", "text", "members")


def write(path: Path, rows: Iterable[Delta]) -> None:
    """Writes the deltas as a Parquet file, one row per value, that `read` gives back."""
    flat = [(customer, name, value) for customer, values in rows for name, value in values.items()]
    table = pd.DataFrame(flat, columns=["customer", "attribute", "value"], dtype=object)
    values = table.pop("value").tolist()
    kinds = np.array([_kind(value) for value in values], dtype=np.int8)
    table = table.astype("category").assign(
        kind=kinds,
        number=[_number(value) for value in values],
        text=[value if isinstance(value, str) else None for value in values],
        members=[value if isinstance(value, list) else None for value in values],
    )
    table.to_parquet(path, index=False, compression="zstd")


def _kind(value: Value) -> int:
    types: tuple[type, ...] = (float, datetime, str, list)
    return next(kind for kind, of in enumerate(types) if isinstance(value, of))


def _number(value: Value) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    return value if isinstance(value, float) else np.nan


def read(path: Path) -> Iterator[Delta]:
    """The deltas of a file that `write` made, in the same order."""
    table = pd.read_parquet(path)
    values: list[Value] = table["number"].tolist()
    kinds = table["kind"].to_numpy()
    for kind, convert in ((1, _moment), (2, str), (3, list)):
        rows = np.flatnonzero(kinds == kind)
        column = table["number" if kind == 1 else _KINDS[kind]].iloc[rows].tolist()
        for row, value in zip(rows.tolist(), column, strict=True):
            values[row] = convert(value)
    triples = zip(table["customer"].tolist(), table["attribute"].tolist(), values, strict=True)
    for customer, cells in groupby(triples, key=itemgetter(0)):
        yield customer, {name: value for _, name, value in cells}
