"""A caller of CountAudience: one call after the other, each timed and checked."""

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import numpy as np
from numpy.typing import NDArray
from opportune.v1.audience_service_pb2 import CountAudienceRequest, CountAudienceResponse

from loadtest import bulk
from loadtest.population import Matrix
from loadtest.schema import CUSTOMER
from loadtest.target import Window

METHOD = "/opportune.v1.AudienceService/CountAudience"
DEADLINE_S = 60.0
CONDITION = (
    "customer.a07 < 70.0 && customer.a31 >= 30.0 && "
    'customer.c0 in ["v0", "v1", "v2", "v3", "v4", "v5", "v6"] && customer.b1 == true'
)
"""Four predicates over columns that are far apart in a row, each true for about seven customers in ten."""


class MiscountedError(Exception):
    """A server that counts others than were loaded."""


def holds(matrix: Matrix) -> NDArray[np.bool_]:
    """For which rows of a population `CONDITION` holds, worked out beside the server: bool [rows]."""
    column = {attribute.id: matrix[:, place] for place, attribute in enumerate(CUSTOMER)}
    within: NDArray[np.bool_] = (column["a07"] < 70) & (column["a31"] >= 30) & (column["c0"] < 7) & (column["b1"] == 1)
    return within


def expected(profiles: int) -> int:
    """For how many of the customers that `bulk` loads the condition holds."""
    starts = range(0, profiles, bulk.CUSTOMERS_AT_ONCE)
    sizes = [min(bulk.CUSTOMERS_AT_ONCE, profiles - start) for start in starts]
    return sum(int(holds(bulk.batch(sequence, size)).sum()) for sequence, size in enumerate(sizes, 1))


@dataclass(frozen=True, slots=True)
class Counts:
    """Durations of calls in milliseconds, in their order."""

    taken_ms: Sequence[float]

    @property
    def best_ms(self) -> float:
        """The shortest."""
        return min(self.taken_ms)

    @property
    def median_ms(self) -> float:
        """The median."""
        return statistics.median(self.taken_ms)


@dataclass(slots=True)
class Counter:
    """Counts the audience in a server, where it must come to `matched` of so many customers."""

    channel: grpc.Channel
    customers: int
    matched: int
    beside_ms: list[float] = field(default_factory=list)

    def count(self) -> float:
        """Counts once; returns how long it took, in milliseconds.

        Raises:
            MiscountedError: the answer is wrong.
        """
        call = self.channel.unary_unary(
            METHOD, CountAudienceRequest.SerializeToString, CountAudienceResponse.FromString
        )
        started = time.perf_counter()
        answer: CountAudienceResponse = call(CountAudienceRequest(condition=CONDITION), timeout=DEADLINE_S)
        taken_ms = 1_000 * (time.perf_counter() - started)
        if (answer.count, answer.customers) != (self.matched, self.customers):
            said = f"{answer.count:,} of {answer.customers:,}"
            raise MiscountedError(f"The server counts {said}; they are {self.matched:,} of {self.customers:,}.")
        return taken_ms

    def several(self, runs: int) -> Counts:
        """Counts so many times, after once that does not count."""
        self.count()
        return Counts([self.count() for _ in range(runs)])

    def beside(self, measure: Callable[[], Window]) -> Window:
        """Runs a window while audiences are counted without a pause; keeps how long each took."""
        ended = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            counting = pool.submit(self._until, ended)
            try:
                return measure()
            finally:
                ended.set()
                self.beside_ms += counting.result()

    def _until(self, ended: threading.Event) -> list[float]:
        taken = [self.count()]
        while not ended.is_set():
            taken.append(self.count())
        return taken
