"""What is ranked for whom: the server's files, the profiles it is given, the requests it gets."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Protocol

from opportune.v1.profile_service_pb2 import ApplyProfileDeltasRequest

from loadtest import manifest, population
from loadtest.catalog import PLACEMENT, catalog
from loadtest.schema import CUSTOMER

SEED = 20_201


class Workload(Protocol):
    """A catalog, its models, and the customers who ask."""

    @property
    def catalog(self) -> Path:
        """The catalog file."""
        ...

    @property
    def models(self) -> Path:
        """The directory of the models that the catalog names."""
        ...

    @property
    def offers(self) -> int:
        """How many offers the catalog has."""
        ...

    @property
    def profiles(self) -> int:
        """How many customers there are."""
        ...

    def deltas(self) -> Iterator[ApplyProfileDeltasRequest]:
        """Messages that make every profile; they may be applied in any order."""
        ...

    def requests(self, count: int) -> list[bytes]:
        """Serialised RankOffers requests of many different customers."""
        ...


class SyntheticWorkload:
    """Seeded offers, customers and model, written below a directory of its own."""

    def __init__(self, directory: Path, offers: int, profiles: int, today: date) -> None:
        self.catalog = directory / "catalog.yaml"
        self.models = directory / "models"
        self.offers = offers
        self.profiles = profiles
        manifest.write(self.models, SEED)
        self.catalog.write_text(catalog(offers, manifest.MODEL, today, SEED))

    def deltas(self) -> Iterator[ApplyProfileDeltasRequest]:
        """Messages that set all 64 attributes of every customer."""
        return population.deltas(population.sample(CUSTOMER, self.profiles, SEED))

    def requests(self, count: int) -> list[bytes]:
        """Requests of customers drawn uniformly, each with four context attributes."""
        return population.requests(self.profiles, count, PLACEMENT, SEED)
