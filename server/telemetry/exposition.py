"""Metrics as Prometheus reads them: each declared metric is read where its value is, when somebody asks.

Rendering goes on between calls, a metric at a time: all of them take some milliseconds together, one at most one.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client import core as prometheus
from prometheus_client.exposition import choose_encoder

from server.telemetry import metrics
from server.telemetry.instruments import Distribution, Labels
from server.telemetry.metrics import Kind, Metric

Value = float | Distribution
Reading = Value | None | Mapping[Labels, Value]
"""A value, one for each combination of labels, or nothing to tell."""

_END = b"# EOF\n"
_BASE_UNITS = frozenset({"seconds", "bytes"})
_LOG = logging.getLogger(__name__)


_AT_ONCE = 75
"""Lines that are rendered in one go, in a millisecond: all of them, in a thread, would hold the GIL for 5 at a time."""


class Page(NamedTuple):
    """A scrape: its bytes and their media type."""

    content: bytes
    media_type: str


class _One:
    """A registry of a single family, for an encoder."""

    def __init__(self, family: prometheus.Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[prometheus.Metric]:
        yield self._family


class Exposition:
    """Where each metric is read."""

    def __init__(self) -> None:
        self._readers: dict[Metric, Callable[[], Reading]] = {}
        self._unreadable = 0
        self._told: set[Metric] = set()
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        self.read(metrics.UNREADABLE, lambda: self._unreadable)

    def read(self, metric: Metric, reader: Callable[[], Reading]) -> None:
        """Has a metric read by calling `reader`, on the event loop; it must take microseconds.

        Raises:
            ValueError: it is read somewhere already.
        """
        if metric in self._readers:
            raise ValueError(f"{metric.name} is read twice")
        self._readers[metric] = reader

    def known(self) -> frozenset[Metric]:
        """The metrics that are read."""
        return frozenset(self._readers)

    def collect(self) -> Iterator[prometheus.Metric]:
        """Every metric that has a value, as prometheus_client wants it. One that cannot be read is left out."""
        for metric, reader in list(self._readers.items()):
            try:
                reading = reader()
            except Exception:
                self._unreadable += 1
                if metric not in self._told:
                    # Scrapes come every few seconds: once is enough.
                    self._told.add(metric)
                    _LOG.exception("%s cannot be read", metric.name)
                continue
            if reading is not None:
                yield _family(metric, reading)

    async def render(self, accept: str) -> Page:
        """A scrape, in the format that the `Accept` header asks for; other tasks have their turns meanwhile."""
        encode, media_type = choose_encoder(accept)
        parts = []
        for family in self.collect():
            for number, part in enumerate(_parts(family)):
                content = encode(_One(part)).removesuffix(_END)
                parts.append(_without_head(content) if number else content)
                await asyncio.sleep(0)
        if "openmetrics" in media_type:
            parts.append(_END)
        return Page(b"".join(parts), media_type)


def _family(metric: Metric, reading: Value | Mapping[Labels, Value]) -> prometheus.Metric:
    name = metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name
    unit = metric.unit if metric.unit in _BASE_UNITS and name.endswith(metric.unit) else ""
    family = prometheus.Metric(name, metric.meaning, metric.kind.value, unit)
    readings = reading if isinstance(reading, Mapping) else {(): reading}
    for labels, value in readings.items():
        named = dict(zip(metric.labels, labels, strict=True))
        if isinstance(value, Distribution):
            _add_buckets(family, named, value)
        else:
            family.add_sample(metric.name, named, value)
    return family


def _parts(family: prometheus.Metric) -> Iterator[prometheus.Metric]:
    """A family as several, none of which is long."""
    for start in range(0, max(len(family.samples), 1), _AT_ONCE):
        part = prometheus.Metric(family.name, family.documentation, family.type, family.unit)
        part.samples = family.samples[start : start + _AT_ONCE]
        yield part


def _without_head(content: bytes) -> bytes:
    """The lines of a part that is not a family's first."""
    return b"".join(line for line in content.splitlines(keepends=True) if not line.startswith(b"#"))


def _add_buckets(family: prometheus.Metric, labels: dict[str, str], distribution: Distribution) -> None:
    # A copy, as the loop may go on counting once it has been asked.
    counts, total = distribution.counts.copy(), 0
    for bound, count in zip((*distribution.bounds, float("inf")), counts, strict=True):
        total += count
        family.add_sample(f"{family.name}_bucket", {**labels, "le": prometheus_number(bound)}, total)
    family.add_sample(f"{family.name}_count", labels, total)
    family.add_sample(f"{family.name}_sum", labels, distribution.sum)


def prometheus_number(value: float) -> str:
    """A bound as both formats write it."""
    return "+Inf" if value == float("inf") else repr(value)
