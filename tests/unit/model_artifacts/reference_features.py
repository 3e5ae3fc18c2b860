"""Features of pairs by look-ups in plain Python: the independent reference for the server's feature assembly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model_artifacts.complete_journey.catalog import Document
from model_artifacts.complete_journey.deltas import Delta, Value
from model_artifacts.complete_journey.schema import OFFER_BANDS

Matrix = NDArray[np.float32]

_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_FEATURE = re.compile(r"(?P<scope>customer|offer)\.(?P<name>\w+)(?:\[offer\.(?P<by>\w+)\])?")


def days(moment: datetime) -> np.float32:
    """Days since 2020-01-01 as the profile keeps them; five seconds is the finest step it can tell."""
    return np.float32((moment - _EPOCH).total_seconds() / 86_400.0)


def assemble(
    document: Document, deltas: Iterable[Delta], pairs: pd.DataFrame, feature_names: Sequence[str], now: datetime
) -> Matrix:
    """The features of each pair: float32, [pairs, features], in the order given.

    `pairs` has the columns customer (customer id) and offer (offer id); a customer without a delta has only
    missing values. Raises ValueError for a feature whose name cannot be read, KeyError for an unknown offer.
    """
    customers, rows = np.unique(pairs["customer"].to_numpy(dtype=object), return_inverse=True)
    offers = {offer["id"]: offer["attributes"] for offer in document["offers"]}
    identifiers, columns = np.unique(pairs["offer"].to_numpy(dtype=object), return_inverse=True)
    chosen = [offers[identifier] for identifier in identifiers]
    profiles = dict(deltas)
    known = [profiles.get(customer, {}) for customer in customers]
    declared = {attribute["id"]: attribute for attribute in document["attributes"]}
    matrix = np.empty((len(pairs), len(feature_names)), dtype=np.float32)
    for position, feature in enumerate(feature_names):
        scope, name, by = _parse(feature)
        if scope == "offer":
            matrix[:, position] = _offer_column(chosen, name)[columns]
        elif by is None:
            matrix[:, position] = _column(known, name, declared[name], now)[rows]
        else:
            keys, key_of = np.unique([str(offer[by]) for offer in chosen], return_inverse=True)
            cells = [_column(known, f"{name}.{key}", declared[name], now) for key in keys]
            matrix[:, position] = np.stack(cells)[key_of[columns], rows]
    return matrix


def _parse(feature: str) -> tuple[str, str, str | None]:
    match = _FEATURE.fullmatch(feature)
    if match is None or (match["scope"] == "offer" and match["by"]):
        raise ValueError(f"not a feature: {feature}")
    return match["scope"], match["name"], match["by"]


def _offer_column(offers: Sequence[Mapping[str, Any]], name: str) -> Matrix:
    values = OFFER_BANDS.get(name)
    found = [offer.get(name, np.nan) for offer in offers]
    return np.array([values.index(value) for value in found] if values else found, dtype=np.float32)


def _column(known: Sequence[Mapping[str, Value]], name: str, declared: Mapping[str, Any], now: datetime) -> Matrix:
    found = [profile.get(name) for profile in known]
    if declared["type"] == "timestamp_age":
        moments = [np.float32(np.nan) if moment is None else days(moment) for moment in found]  # type: ignore[arg-type]
        return days(now) - np.array(moments, dtype=np.float32)
    if declared["type"] == "category":
        found = [None if value is None else declared["values"].index(value) for value in found]
    return np.array([np.nan if value is None else value for value in found], dtype=np.float32)
