"""The real catalog, households and model of the demo as a workload."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import yaml
from opportune.v1.decision_service_pb2 import RankOffersRequest
from opportune.v1.profile_service_pb2 import ApplyProfileDeltasRequest

from loadtest.progress import say
from model_artifacts.complete_journey import prepared
from model_artifacts.complete_journey.demo import NOON, PLACEMENTS
from model_artifacts.complete_journey.requests import apply_requests


class DemoWorkload:
    """The households of Complete Journey and the coupons of the demo's day; `prepared` makes the files."""

    def __init__(self) -> None:
        prepared.prepare(say)
        document = yaml.load(prepared.CATALOG.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        running: set[object] = {offer["attributes"]["campaign"] for offer in document["offers"]}
        rows = list(prepared.profiles())
        self.catalog: Path = prepared.CATALOG
        self.models: Path = prepared.ROOT / "model_artifacts"
        self.offers = len(document["offers"])
        self.profiles = len(rows)
        # Households that received none of the running campaigns are eligible for nothing and cost next to nothing.
        self._recipients = [
            customer
            for customer, values in rows
            if isinstance(received := values.get("campaigns"), list) and running.intersection(received)
        ]

    def deltas(self) -> Iterator[ApplyProfileDeltasRequest]:
        """Messages that make every household's profile."""
        return apply_requests(prepared.profiles(), prepared.DAY)

    def requests(self, count: int) -> list[bytes]:
        """Requests of households that received a running campaign, in both placements."""
        shuffled = random.Random(1).sample(self._recipients, len(self._recipients))
        pairs = itertools.product(shuffled, PLACEMENTS)
        requests = []
        for customer, placement in itertools.islice(itertools.cycle(pairs), count):
            request = RankOffersRequest(customer_id=customer, placement_id=placement)
            request.context.time.FromDatetime(NOON)
            requests.append(request.SerializeToString())
        return requests
