"""What columns of many customers cost, page by page. Run with `--benchmark-enable`; without, once and untimed.

`COLUMNS_BENCH_CUSTOMERS=200000` makes a base that no cache holds, 150 MB, in some 20 s.
"""

import os
from collections import deque
from functools import cache

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from server.input.columns import CustomerColumns
from server.input.customers import customer_ids
from server.input.profiles import ProfileTable
from tests.support.clock import TODAY
from tests.support.crowds import SCHEMA, crowd, pages_of

CUSTOMERS = int(os.environ.get("COLUMNS_BENCH_CUSTOMERS", "2000"))
NOW = TODAY + 0.5

PLAIN = ("visits", "member", "basket", "spend3.department7")
QUESTIONS = {
    "plain": PLAIN,
    "age_and_purpose": ("visits", "last_visit", "income", "basket"),
    "window": ("visits", "member", "basket", "revenue_30d"),
    "keyed_window_with_purpose": ("visits", "last_visit", "bought_7d", "bought_90d.department3"),
    "decayed": ("visits", "member", "basket", "affinity.department5"),
    "everything": tuple(SCHEMA.columns),
}
BASES = {"alone": (0.0, 0.0), "bucketed": (0.3, 0.0), "joined": (0.0, 0.1), "mixed": (0.3, 0.1)}


@cache
def base(name: str) -> ProfileTable:
    bucketed, joined = BASES[name]
    return crowd(CUSTOMERS, bucketed=bucketed, joined=joined)


def columns_of(table: ProfileTable, question: str) -> CustomerColumns:
    return CustomerColumns(table, np.array([SCHEMA.columns[name] for name in QUESTIONS[question]], np.intp))


def note_blocks(benchmark: BenchmarkFixture, blocks: int) -> None:
    """Says what one block cost, if it was timed."""
    if benchmark.stats is not None:
        benchmark.extra_info["us_per_block"] = round(benchmark.stats["median"] / blocks * 1e6, 1)


@pytest.mark.parametrize("on", BASES)
@pytest.mark.parametrize("question", QUESTIONS)
def test_blocks(benchmark: BenchmarkFixture, on: str, question: str) -> None:
    table = base(on)
    columns = columns_of(table, question)

    benchmark(lambda: deque(columns.blocks(NOW), 0))

    note_blocks(benchmark, pages_of(table))


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_rows_at_random(benchmark: BenchmarkFixture, share: float) -> None:
    table = base("mixed")
    columns = columns_of(table, "everything")
    rows = np.concatenate([block.rows for block in columns.blocks(NOW)])
    some = np.sort(np.random.default_rng(0).choice(rows, min(4_096, int(len(rows) * share)), replace=False))

    benchmark(columns.read, some, NOW)


@pytest.mark.parametrize("on", ["alone", "joined"])
def test_names(benchmark: BenchmarkFixture, on: str) -> None:
    table = base(on)
    rows = next(columns_of(table, "plain").blocks(NOW)).rows

    benchmark(customer_ids, table, rows)
