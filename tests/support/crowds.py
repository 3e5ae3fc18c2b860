"""Tables of many customers, made at once: cells of any bits, day buckets and joined identifiers at random."""

import numpy as np

from server.domain.attribute import Attribute, AttributeType
from server.input.day_buckets import Amounts, Keys
from server.input.pages import PAGE_BITS, PAGE_ROWS
from server.input.profiles import ProfileTable
from tests.support.catalogs import boolean, count, decayed, keyed, last, number, schema, timestamp, total
from tests.support.clock import TODAY

DEPARTMENTS = tuple(f"department{number}" for number in range(20))
SCHEMA = schema(
    number("visits"),
    number("level"),
    boolean("member"),
    number("basket"),
    timestamp("last_visit"),
    Attribute("income", AttributeType.NUMBER, purpose="personalization"),
    Attribute("distance", AttributeType.NUMBER, purpose="location"),
    *(keyed(f"spend{number}", "department", *DEPARTMENTS) for number in range(6)),
    last("last_purchase", "purchase"),
    count("bought_7d", "purchase", 7),
    total("revenue_30d", "purchase", "amount", 30),
    count("bought_90d", "purchase", 90, by="department", keys=DEPARTMENTS, purpose="personalization"),
    decayed("affinity", "view", "weight", 14, by="department", keys=DEPARTMENTS),
    decayed("interest", "view", "weight", 3, purpose="location"),
)
"""189 columns of every kind."""


def crowd(customers: int, seed: int = 0, *, bucketed: float = 0.0, joined: float = 0.0) -> ProfileTable:
    """A table of customers `c0`, `c1` and so on, filled page by page, in a tenth of the time that deltas take.

    Args:
        bucketed: The share of customers who have day buckets; runs are given out in no order of rows.
        joined: The share of identifiers that are joined with another, in pairs and some of them in threes.
    """
    random = np.random.default_rng(seed)
    table = ProfileTable(SCHEMA)
    for place in range(customers):
        table.ensure(f"c{place}")
    for page_number, page in enumerate(table.pages):
        rows = min(customers - page_number * PAGE_ROWS, PAGE_ROWS)
        page.values[:rows] = random.normal(scale=1e3, size=(rows, SCHEMA.width))
        page.values[:rows][random.random((rows, SCHEMA.width)) < 0.2] = np.nan
        for sums in table.aggregates.decayed:
            page.values[:rows, sums.landmark] = np.floor(TODAY / sums.half_life_days) - random.integers(0, 9, rows)
        page.values[:rows, table.aggregates.windows > 0] = 0
        page.granted[:rows] = page.recorded[:rows] = random.integers(0, 4, rows)
    for row in random.permutation(customers)[: int(customers * bucketed)].tolist():
        table.buckets.assign(row, *_buckets(table, random))
    pairs = random.permutation(customers)[: int(customers * joined)].tolist()
    for left, right in zip(pairs[::2], pairs[1::2], strict=False):
        table.link(left, right, False, 1)
    for left, right in zip(pairs[::16], pairs[2::16], strict=False):
        table.link(left, right, False, 1)
    return table


def pages_of(table: ProfileTable) -> int:
    """How many pages a table has."""
    return table.identifiers.end + PAGE_ROWS - 1 >> PAGE_BITS


def _buckets(table: ProfileTable, random: np.random.Generator) -> tuple[Keys, Amounts]:
    """Amounts whose sum depends on the order, on some days around today: mostly few, now and then hundreds."""
    some = min(int(random.geometric(0.12)) + (random.random() < 0.01) * 200, 300)
    windowed = np.flatnonzero(table.aggregates.windows)
    days = TODAY - random.integers(-3, 120, some)
    keys = np.unique(days << 16 | random.choice(windowed, some))
    amounts = random.normal(size=len(keys)) * 10.0 ** random.integers(-3, 6, len(keys))
    # Large ones cancel out, with what of the small ones they have swallowed before.
    large = random.random(len(keys)) < 0.4
    amounts[large] = random.choice([-1e25, 1e25], int(large.sum()))
    return random.permutation(keys), amounts.astype(np.float32)
