"""The scenario `audience`, with its processes, against a made-up server."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from loadtest import bulk
from loadtest.audience import AudienceOptions, audience
from loadtest.counter import CONDITION, Counts, MiscountedError, expected, holds
from loadtest.schema import CUSTOMER
from loadtest.serving import ServeCommand
from loadtest.workload import Workload
from loadtest.writing_report import audience_table
from server.domain.attribute import Attribute, AttributeType, Schema
from server.intelligence.audience import Audience

FAKE = str(Path(__file__).parent / "fake_server.py")
TYPES = {
    "number": AttributeType.NUMBER,
    "category": AttributeType.CATEGORY,
    "boolean": AttributeType.BOOLEAN,
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows too short to mean anything: here only the way through matters."""
    monkeypatch.setattr("loadtest.audience.WARM_UP_S", 0.1)


def fake(data: Path, *settings: str) -> ServeCommand:
    def command(workload: Workload, port: int, transport: str) -> Sequence[str]:
        return [FAKE, str(port), str(data), *settings]

    return command


def miscounting(data: Path, *settings: str) -> ServeCommand:
    """A server that counts one customer too many."""
    return fake(data, *settings, "miscount")


def test_audience_counts_everybody_and_measures_rankings_beside_it(left_behind: Callable[[], set[int]]) -> None:
    options = AudienceOptions(20, 3_000, "grpcio", runs=3, rate_rps=50, seconds=0.5)

    figures = audience(options, fake)

    assert (figures["customers"], figures["matched"], figures["predicates"]) == (3_000, expected(3_000), 4)
    assert 0 < float(str(figures["count_ms_best"])) <= float(str(figures["count_ms"]))
    assert len(figures["count_ms_all"]) == 3  # type: ignore[arg-type]
    assert int(str(figures["counts_beside"])) >= 1
    assert float(str(figures["p99_ratio"])) > 0
    assert {"rank_p99_ms_without", "rank_p99_ms_with", "loop_share", "machine", "steal_percent"} <= set(figures)
    assert figures["errors"] == 0
    assert f"{expected(3_000):,} of 3,000 customers" in audience_table(figures)
    assert not left_behind()


def test_server_that_counts_others_than_were_loaded_fails_the_scenario(left_behind: Callable[[], set[int]]) -> None:
    with pytest.raises(MiscountedError, match=r"The server counts 2\d\d of 1,000"):
        audience(AudienceOptions(20, 1_000, "grpcio", runs=1, seconds=0.5), miscounting)

    assert not left_behind()


def test_the_condition_is_what_the_load_test_works_out_beside_the_server() -> None:
    schema = Schema(tuple(Attribute(each.id, TYPES[each.type], each.values) for each in CUSTOMER))
    compiled = Audience.compile(CONDITION, schema)
    matrix = bulk.batch(1, 1_024)

    held = compiled.holds(matrix.T[compiled.columns], None, 0.0)

    np.testing.assert_array_equal(held, holds(matrix))
    assert 0.15 < held.mean() < 0.35


def test_expected_customers_are_those_of_every_batch_and_of_the_last_short_one() -> None:
    first, second = bulk.batch(1, bulk.CUSTOMERS_AT_ONCE), bulk.batch(2, 10)

    assert expected(bulk.CUSTOMERS_AT_ONCE + 10) == holds(first).sum() + holds(second).sum()


def test_best_and_median_are_those_of_the_counts() -> None:
    counts = Counts([5.0, 1.0, 3.0, 9.0])

    assert (counts.best_ms, counts.median_ms) == (1.0, 4.0)
