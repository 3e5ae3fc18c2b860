"""Bounds on what was measured; without `--benchmark-enable` nothing was, and nothing is checked."""

from pytest_benchmark.fixture import BenchmarkFixture


def assert_at_most(benchmark: BenchmarkFixture, bound_us: float) -> None:
    """The median of the runs is at most so many microseconds; the mean would count what else the machine does."""
    if benchmark.enabled:
        assert benchmark.stats is not None
        median_us = benchmark.stats.stats.median * 1e6
        assert median_us <= bound_us, f"{median_us:.1f} us"
