"""What conditions cost: 200 distinct predicates, three for each offer, about half of which hold."""

from random import Random

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from server.domain.attribute import BoolRow, FloatRow, Schema
from server.domain.offer import Offer
from server.domain.offer_table import infer_schema
from server.intelligence.audience import Audience
from server.intelligence.conditions.condition_set import ConditionSet
from server.intelligence.conditions.history import HistoryColumns
from server.intelligence.conditions.requirement import Requirement
from server.intelligence.conditions.vocabulary import Vocabulary
from server.intelligence.eligibility import Eligibility, compile_eligibility, pack
from tests.bench.bounds import assert_at_most
from tests.support.catalogs import category, number, offer, schema

NUMBERS, CATEGORIES, LETTERS = 40, 10, "abcd"
CUSTOMER: Schema = schema(
    *(number(f"n{place}") for place in range(NUMBERS)),
    *(category(f"c{place}", *LETTERS) for place in range(CATEGORIES)),
)
CONTEXT = schema(category("channel", "web"))
NOW_DAYS = 2_500.0


def predicates(random: Random) -> list[str]:
    """Two hundred different comparisons, three in four of numbers."""
    of_numbers = [
        f"customer.n{random.randrange(NUMBERS)} {random.choice(['<', '<=', '>', '>='])} {n / 200}" for n in range(150)
    ]
    pairs = random.sample([(place, letter) for place in range(CATEGORIES) for letter in LETTERS], 40)
    of_texts = [f'customer.c{place} == "{letter}"' for place, letter in pairs]
    of_presence = [f"has(customer.n{place})" for place in range(10)]
    return of_numbers + of_texts + of_presence


def compiled(offers: list[Offer], history: HistoryColumns | None = None) -> Eligibility:
    """The eligibility of these offers."""
    roots = {"customer": CUSTOMER, "context": CONTEXT, "offer": infer_schema(offers)[0]}
    columns = HistoryColumns() if history is None else history
    known = Vocabulary(roots, variables=("customer", "context"), history=columns, has_time=True)
    eligibility, problems = compile_eligibility(offers, known)
    assert not problems
    return eligibility


def somebody(random: Random, history: int = 0) -> FloatRow:
    """A customer who has every attribute."""
    numbers = [random.random() for _ in range(NUMBERS)]
    codes = [float(random.randrange(len(LETTERS))) for _ in range(CATEGORIES)]
    contacts = [float(random.randrange(3)) for _ in range(history)]
    return np.array([*numbers, *codes, 0.0, np.nan, *contacts], np.float32)


@pytest.mark.parametrize(("count", "bound_us"), [(1_000, 20), (10_000, 100)])
def test_eligibility_alone(benchmark: BenchmarkFixture, count: int, bound_us: float) -> None:
    random = Random(1)
    texts = predicates(random)
    eligibility = compiled([offer(str(n), eligible=" && ".join(random.sample(texts, 3))) for n in range(count)])
    row, standing = somebody(random), pack(np.ones(count, np.bool_))
    assert len(eligibility.predicates) == 200

    def run() -> BoolRow:
        return eligibility.eligible(eligibility.truth(row, NOW_DAYS), standing)

    allowed = benchmark(run)

    assert 0 < allowed.sum() < count
    assert_at_most(benchmark, bound_us)


def test_eligibility_where_each_offer_has_a_bound_of_its_own(benchmark: BenchmarkFixture) -> None:
    random = Random(1)
    text = "customer.n1 >= offer.level && history.offer_impressions_7d < 2"
    offers = [offer(str(n), eligible=text, attributes={"level": n / 10_000}) for n in range(10_000)]
    eligibility = compiled(offers)
    row, standing = somebody(random, history=10_000), pack(np.ones(10_000, np.bool_))

    allowed = benchmark(lambda: eligibility.eligible(eligibility.truth(row, NOW_DAYS), standing))

    assert 0 < allowed.sum() < 10_000
    assert_at_most(benchmark, 400)


def test_eligibility_that_computes(benchmark: BenchmarkFixture) -> None:
    random = Random(1)
    texts = [f"customer.n{n} * customer.n{n + 1} - customer.n{n + 2} / 2 > {n / 100}" for n in range(30)]
    texts += predicates(random)[:170]
    eligibility = compiled([offer(str(n), eligible=" && ".join(random.sample(texts, 3))) for n in range(1_000)])
    row, standing = somebody(random), pack(np.ones(1_000, np.bool_))

    benchmark(lambda: eligibility.eligible(eligibility.truth(row, NOW_DAYS), standing))

    assert_at_most(benchmark, 60)


def test_fifty_conditions_of_rules(benchmark: BenchmarkFixture) -> None:
    random = Random(1)
    texts = predicates(random)
    known = Vocabulary({"customer": CUSTOMER, "context": CONTEXT}, variables=("customer", "context"))
    wanted = [Requirement("", " && ".join(random.sample(texts, 2))) for _ in range(50)]
    conditions, problems = ConditionSet.compile(wanted, known)
    assert not problems
    row = somebody(random)

    benchmark(lambda: conditions.holds(row, NOW_DAYS))

    assert_at_most(benchmark, 20)


@pytest.mark.parametrize(
    ("text", "bound_us"),
    [
        ('customer.n1 > 0.5 && customer.n2 < 0.5 && customer.c1 == "a" && has(customer.n3)', 15),
        ('customer.n1 > 0.5 && customer.n2 < 0.5 && customer.c1 in ["a", "b"] && customer.n3 != 1', 25),
        (
            "customer.n1 * 2 > customer.n2 && customer.n3 / customer.n4 < 1 && customer.n5 - 1 < 0 && customer.n6 > 0",
            60,
        ),
    ],
)
def test_audience_of_512_customers(benchmark: BenchmarkFixture, text: str, bound_us: float) -> None:
    audience = Audience.compile(text, CUSTOMER)
    rows = np.random.default_rng(1).random((len(audience.columns), 512), np.float32)

    members = benchmark(lambda: audience.holds(rows, None, NOW_DAYS))

    assert members.shape == (512,)
    assert_at_most(benchmark, bound_us)
