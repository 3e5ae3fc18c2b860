"""What the load test reads of a server's metrics."""

import pytest
from prometheus_client import CollectorRegistry, Gauge, Histogram, start_http_server

from loadtest.watching import LAG, SNAPSHOT_AGE, TASKS, LoopLag, Watching, metrics_address


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def watching(registry: CollectorRegistry) -> Watching:
    address = metrics_address()
    host, _, port = address.rpartition(":")
    start_http_server(int(port), host, registry)
    return Watching(address)


def test_lag_is_that_of_the_turns_between_two_scrapes(registry: CollectorRegistry, watching: Watching) -> None:
    lateness = Histogram(LAG, "How late.", buckets=(0.001, 0.01, 0.1), registry=registry)
    lag = LoopLag()
    for _ in range(1_000):
        lateness.observe(5.0)

    def work() -> str:
        for seconds, turns in ((0.0005, 98), (0.005, 1), (0.05, 1)):
            for _ in range(turns):
                lateness.observe(seconds)
        return "done"

    assert watching.during(lag, work) == "done"
    assert [lag.at_most_ms(percent) for percent in (50, 98, 98.5, 99, 99.9)] == [1.0, 1.0, 10.0, 10.0, 100.0]


def test_lag_beyond_all_edges_is_infinite(registry: CollectorRegistry, watching: Watching) -> None:
    lateness, lag = Histogram(LAG, "How late.", buckets=(0.001,), registry=registry), LoopLag()

    watching.during(lag, lambda: lateness.observe(1.0))

    assert lag.at_most_ms(99.9) == float("inf")


def test_samples_with_other_labels_are_left_out(registry: CollectorRegistry, watching: Watching) -> None:
    Gauge("opportune_of_models", "Of each.", ["model"], registry=registry).labels("a/1").set(1)
    Gauge(TASKS, "Tasks.", registry=registry).set(7)

    assert watching.scrape() == {TASKS: 7.0}


def test_each_snapshot_is_noted() -> None:
    watching = Watching("127.0.0.1:1")

    for scrape in ({SNAPSHOT_AGE: 7.0}, {}, {SNAPSHOT_AGE: 0.2}, {SNAPSHOT_AGE: 1.2}, {SNAPSHOT_AGE: 0.1}):
        watching._look_at(scrape)

    assert watching.snapshots == 2
