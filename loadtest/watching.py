"""What a server says of itself: its metrics, scraped over HTTP every second as Prometheus would."""

import contextlib
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client.parser import text_string_to_metric_families

from loadtest.serving import HOST, free_port

EVERY_S = 1.0
SCRAPED_WITHIN_S = 10.0
LAG, TASKS = "opportune_loop_lag_seconds", "opportune_loop_tasks"
SNAPSHOT_AGE = "opportune_snapshot_age_seconds"

Scrape = Mapping[str, float]
"""The samples that have no label but `le`; a bucket is named `…_bucket le`."""

_Measured = TypeVar("_Measured")


@dataclass(slots=True)
class LoopLag:
    """How late the event loop was: how many turns were no later than each edge, in seconds."""

    turns: Counter[float] = field(default_factory=Counter)

    def add(self, before: Scrape, after: Scrape) -> None:
        """Adds what two scrapes have between them."""
        for name, count in after.items():
            if name.startswith(f"{LAG}_bucket "):
                self.turns[float(name.split()[1])] += int(count - before.get(name, 0.0))

    def at_most_ms(self, percent: float) -> float:
        """An edge, in milliseconds, that at least so many percent of the turns did not pass; else infinite."""
        whole = self.turns[float("inf")]
        return 1_000 * min(edge for edge, turns in self.turns.items() if 100 * turns >= percent * whole)


class Watching:
    """Scrapes a server while it is open.

    Attributes:
        snapshots: How many were written meanwhile.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.snapshots = 0
        # Of the first look nobody knows whether the snapshot was there before.
        self._age_s = 0.0

    def scrape(self) -> Scrape:
        """All samples of now.

        Raises:
            OSError: there is no answer.
        """
        with urllib.request.urlopen(f"http://{self._address}/metrics", timeout=SCRAPED_WITHIN_S) as answer:
            text = answer.read().decode()
        samples: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if not sample.labels.keys() - {"le"}:
                    samples[" ".join([sample.name, *sample.labels.values()])] = sample.value
        return samples

    def during(self, lag: LoopLag, measure: Callable[[], _Measured]) -> _Measured:
        """Adds the loop's lag while something is measured."""
        before = self.scrape()
        measured = measure()
        after = self.scrape()
        lag.add(before, after)
        return measured

    @contextlib.contextmanager
    def open(self) -> Iterator["Watching"]:
        """Scrapes until the block ends."""
        self._thread.start()
        try:
            yield self
        finally:
            self._closed.set()
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(EVERY_S):
            # A server that does not answer is found out by whoever measures it.
            with contextlib.suppress(OSError):
                self._look_at(self.scrape())

    def _look_at(self, scrape: Scrape) -> None:
        age_s = scrape.get(SNAPSHOT_AGE, float("inf"))
        self.snapshots += age_s < self._age_s
        self._age_s = age_s


def metrics_address() -> str:
    """Where a server shall serve its metrics, with the setting `--metrics-listen`."""
    return f"{HOST}:{free_port()}"
