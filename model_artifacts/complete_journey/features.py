"""Features of pairs, assembled by the server's own code: what training reads is what serving reads.

The catalog document is compiled as the server compiles it, the deltas are applied to a profile table, and each
household's variables and the offers' columns become the model's input tensor.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model_artifacts.complete_journey import schema
from model_artifacts.complete_journey.catalog import Document
from model_artifacts.complete_journey.deltas import Delta, Value
from server.domain import attribute as attributes
from server.domain.attribute import AttributeType, days_since_epoch
from server.domain.clock import microseconds_of
from server.domain.model import Feature, ModelInput, Scope
from server.domain.profile import AttributeUpdates
from server.execution.compile import compile_catalog
from server.execution.compiled import CompiledCatalog
from server.input.deltas import compile_updates
from server.input.features import compile_features
from server.input.profiles import ProfileTable
from server.intelligence.catalog_file import read_catalog

Matrix = NDArray[np.float32]

_INPUT = "features"


def assemble(
    document: Document, deltas: Iterable[Delta], pairs: pd.DataFrame, feature_names: Sequence[str], now: datetime
) -> Matrix:
    """The features of each pair: float32 [pairs, features], in the order given.

    `pairs` has the columns customer (customer id) and offer (offer id); a customer without a delta has only
    missing values. Raises ValueError for a document or a feature that the server refuses, KeyError for an
    unknown offer.
    """
    catalog = _compiled(document)
    features = tuple(_feature(name) for name in feature_names)
    model_input = ModelInput(_INPUT, Scope.PAIR, features)
    plan = compile_features((model_input,), catalog.customer, catalog.context, catalog.offers)
    profiles = _profiles(catalog, deltas, now)
    channel = catalog.context.by_id["channel"].values[0]
    offers = np.array([catalog.offers.index[offer] for offer in pairs["offer"]], np.intp)
    matrix = np.empty((len(pairs), len(features)), np.float32)
    for customer, rows in pairs.groupby("customer", sort=False).indices.items():
        variables = catalog.variables.read(profiles.read(str(customer)), channel, {}, days_since_epoch(now))
        matrix[rows] = plan.assemble(variables, offers[rows])[_INPUT]
    return matrix


def _compiled(document: Document) -> CompiledCatalog:
    """The catalog without its models, which need not exist yet when their features are assembled."""
    placements = [{**placement, "model": ""} for placement in document["placements"]]
    catalog, problems = read_catalog(json.dumps({**document, "placements": placements}))
    compiled, more = compile_catalog(catalog, {})
    if problems or more:
        raise ValueError("; ".join(map(str, [*problems, *more])))
    return compiled


def _feature(name: str) -> Feature:
    declared = schema.feature_type(name)
    return Feature(name, AttributeType(declared["type"]), tuple(declared.get("values", ())))


def _profiles(catalog: CompiledCatalog, deltas: Iterable[Delta], now: datetime) -> ProfileTable:
    profiles = ProfileTable(catalog.customer)
    now_us = microseconds_of(now)
    for version, (customer, values) in enumerate(deltas, 1):
        changes = compile_updates(AttributeUpdates(set=_domain(values)), catalog.customer)
        row = profiles.ensure(customer)
        profiles.update(row, changes, now_us, version, now_us)
        for purpose in catalog.customer.purposes:
            profiles.record_consent(row, purpose, True, now_us, version)
    return profiles


def _domain(values: Mapping[str, Value]) -> dict[str, attributes.Value]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
