"""Synthetic customers and moments: seeded columns, and the messages that carry them."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from opportune.v1.decision_service_pb2 import Context, RankOffersRequest
from opportune.v1.profile_pb2 import ProfileDelta
from opportune.v1.profile_service_pb2 import ApplyProfileDeltasRequest
from opportune.v1.value_pb2 import Value

from loadtest.schema import CONTEXT, CUSTOMER, NUMBER_MAX, SKEWED, TRUE_SHARE, Attribute

Matrix = NDArray[np.float32]

DELTAS_PER_MESSAGE = 800
"""A delta of 64 attributes takes about 1.1 kB, and a message may hold 1 MiB."""


def sample(attributes: Sequence[Attribute], rows: int, seed: int) -> Matrix:
    """Draws float32 [rows, attributes]: numbers from 0 to 100, truth values as 0 or 1, category codes."""
    rng = np.random.default_rng(seed)
    return np.column_stack([_column(attribute, rows, rng) for attribute in attributes])


def _column(attribute: Attribute, rows: int, rng: np.random.Generator) -> Matrix:
    if attribute.type == "boolean":
        return (rng.random(rows) < TRUE_SHARE).astype(np.float32)
    if attribute.type == "category":
        codes = rng.integers(0, len(attribute.values), rows)
        skewed = attribute.id in SKEWED
        return np.where((rng.random(rows) < TRUE_SHARE) & skewed, 0, codes).astype(np.float32)
    # Steps of 1/64 are exact in float32 and in the text of a condition: both sides compare the same numbers.
    return (rng.integers(0, int(NUMBER_MAX * 64), rows) / 64).astype(np.float32)


def customer_id(row: int) -> str:
    """The identifier of the customer in this row."""
    return f"loadtest:{row}"


def deltas(population: Matrix) -> Iterator[ApplyProfileDeltasRequest]:
    """Messages that set every attribute of every customer. Sequence 0: they may overtake each other."""
    for start in range(0, len(population), DELTAS_PER_MESSAGE):
        request = ApplyProfileDeltasRequest(source="loadtest")
        for row, values in enumerate(population[start : start + DELTAS_PER_MESSAGE].tolist(), start):
            _fill(request.deltas.add(), row, values)
        yield request


def _fill(delta: ProfileDelta, row: int, values: list[float]) -> None:
    delta.customer_id = customer_id(row)
    updates = delta.attributes.set
    for attribute, value in zip(CUSTOMER, values, strict=True):
        _set(updates[attribute.id], attribute, value)


def _set(target: Value, attribute: Attribute, value: float) -> None:
    if attribute.type == "number":
        target.number_value = value
    elif attribute.type == "boolean":
        target.bool_value = value > 0
    else:
        target.string_value = attribute.values[int(value)]


def requests(customers: int, count: int, placement_id: str, seed: int) -> list[bytes]:
    """Serialised RankOffers requests of customers drawn uniformly: the hardest case for every cache."""
    rows = np.random.default_rng(seed).integers(0, customers, count).tolist()
    moments = sample(CONTEXT, count, seed + 1).tolist()
    return [_request(row, moment, placement_id) for row, moment in zip(rows, moments, strict=True)]


def _request(row: int, moment: list[float], placement_id: str) -> bytes:
    context = Context()
    for attribute, value in zip(CONTEXT, moment, strict=True):
        _set(context.attributes[attribute.id], attribute, value)
    request = RankOffersRequest(customer_id=customer_id(row), placement_id=placement_id, context=context)
    return request.SerializeToString()
