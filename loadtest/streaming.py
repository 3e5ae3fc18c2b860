"""The synthetic workload with deltas streaming in: a catalog that takes events and probes, and the messages.

A delta changes one of the customers, drawn uniformly. Nine in ten set two of the 56 numbers; one in ten is a purchase,
which feeds three aggregates: count and sum of 30 days, and the last time.
"""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from opportune.v1.decision_service_pb2 import RankOffersRequest
from opportune.v1.profile_pb2 import ProfileDelta
from opportune.v1.profile_service_pb2 import StreamProfileDeltasRequest

from loadtest import population
from loadtest.catalog import PLACEMENT
from loadtest.probe_offer import probe_attribute, probe_offer
from loadtest.schema import NUMBER_MAX, NUMBERS
from loadtest.workload import SEED, SyntheticWorkload

EVENT_EVERY = 10
A_DELTA = "nine in ten set two numbers of one of the customers, one in ten is a purchase that feeds three aggregates"


class StreamingWorkload(SyntheticWorkload):
    """The synthetic workload with aggregates, and with an offer by which one sees that a delta has arrived."""

    def __init__(self, directory: Path, offers: int, profiles: int, today: date) -> None:
        super().__init__(directory, offers, profiles, today)
        self.catalog.write_text(streaming_catalog(self.catalog.read_text()))

    def messages(self, deltas: int, deltas_per_message: int) -> Iterator[bytes]:
        """So many deltas as serialised messages of a stream; they have no sequence yet."""
        rng = np.random.default_rng((SEED, deltas_per_message))
        rows = rng.integers(0, self.profiles, deltas).tolist()
        first, steps = rng.integers(0, len(NUMBERS), deltas), rng.integers(1, len(NUMBERS), deltas)
        attributes = np.column_stack([first, (first + steps) % len(NUMBERS)]).tolist()
        values = np.round(rng.uniform(0, NUMBER_MAX, (deltas, 2)), 2).tolist()
        # All at one time: of equal times the last to arrive counts, so that every round of the messages has its effect.
        now = Timestamp()
        now.FromDatetime(datetime.now(UTC))
        for start in range(0, deltas, deltas_per_message):
            message = StreamProfileDeltasRequest()
            for index in range(start, min(start + deltas_per_message, deltas)):
                delta = message.deltas.add(customer_id=population.customer_id(rows[index]), event_time=now)
                _fill(delta, index, attributes[index], values[index])
            yield message.SerializeToString()

    def probes(self, count: int, seed: int) -> list[bytes]:
        """Serialised RankOffers requests, each of another customer; those of different seeds differ as well."""
        rows = np.random.default_rng(SEED).permutation(self.profiles)[seed * count : (seed + 1) * count].tolist()
        return [
            _addressed(request, population.customer_id(row))
            for request, row in zip(population.requests(self.profiles, len(rows), PLACEMENT, SEED), rows, strict=True)
        ]


def streaming_catalog(text: str) -> str:
    """A synthetic catalog with three aggregates, and the offer of the probes."""
    catalog = json.loads(text)
    catalog["attributes"].append(probe_attribute())
    catalog["aggregates"] = [
        {"id": "purchases_30d", "event": "purchase", "op": "count", "window": "30d"},
        {"id": "spend_30d", "event": "purchase", "op": "sum", "property": "amount", "window": "30d"},
        {"id": "last_purchase", "event": "purchase", "op": "last"},
    ]
    catalog["offers"].append(probe_offer())
    return json.dumps(catalog)


def _fill(delta: ProfileDelta, index: int, attributes: list[int], values: list[float]) -> None:
    if index % EVENT_EVERY == EVENT_EVERY - 1:
        delta.event.type = "purchase"
        delta.event.properties["amount"].number_value = values[0]
        return
    for attribute, value in zip(attributes, values, strict=True):
        delta.attributes.set[NUMBERS[attribute].id].number_value = value


def _addressed(request: bytes, customer_id: str) -> bytes:
    addressed = RankOffersRequest.FromString(request)
    addressed.customer_id = customer_id
    return addressed.SerializeToString()
