from random import Random

import prometheus_client

from server.telemetry.instruments import Distribution, Distributions
from server.telemetry.metrics import Kind, Metric

SIZES = Metric("sizes", Kind.HISTOGRAM, "things", "Sizes.", ("kind",), (1.0, 2.0, 5.0))


def test_values_are_counted_in_the_buckets_that_prometheus_puts_them_in() -> None:
    random = Random(1)
    values = [0.0, 1.0, 1.0000001, 5.0, 5.1, *(random.uniform(0, 8) for _ in range(200))]
    registry = prometheus_client.CollectorRegistry()
    theirs = prometheus_client.Histogram("sizes", "Sizes.", buckets=SIZES.bounds, registry=registry)
    ours = Distribution(SIZES)

    for value in values:
        theirs.observe(value)
        ours.observe(value)

    for place, bound in enumerate(("1.0", "2.0", "5.0", "+Inf")):
        assert sum(ours.counts[: place + 1]) == registry.get_sample_value("sizes_bucket", {"le": bound})
    assert ours.sum == registry.get_sample_value("sizes_sum")
    assert ours.count == registry.get_sample_value("sizes_count") == len(values)


def test_each_combination_of_labels_has_a_distribution_of_its_own() -> None:
    sizes = Distributions(SIZES)
    small = sizes.of("small")

    small.observe(1.0)
    sizes.of("small").observe(1.0)
    sizes.of("never")

    assert {labels: kept.count for labels, kept in sizes.read().items()} == {("small",): 2}
