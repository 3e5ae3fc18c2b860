"""Records of decisions: one like those of a running server, and any that a decision might make."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from server.domain.decision import Context, RankQuery
from server.domain.decision_record import MAX_LOST, DecisionRecord

TIME = datetime(2026, 11, 22, 12, tzinfo=UTC)
SIZES = (100, 200, 10)
"""Variables, clauses and offers shown of a record that is as large as usual."""


def record(number: int, customer_id: str = "cookie:1", time_us: int | None = None, tag: int | None = None) -> Any:
    """A record of the usual size whose content follows from its number."""
    variables, clauses, shown = SIZES
    rng = np.random.default_rng(number)
    return DecisionRecord(
        number=number,
        tag=number * 7 if tag is None else tag,
        time_us=number * 1_000 if time_us is None else time_us,
        profile_version=number + 3,
        catalog_version=3,
        query=RankQuery(customer_id, "home", Context("web", "de", TIME, {"device": "mobile", "hour": 12.0})),
        result=1,
        rung=1,
        model_id="propensity/3",
        plans=((1, 350, 0),),
        variables=rng.random(variables, np.float32),
        truth=rng.random(clauses) < 0.5,
        granted=5,
        counted=((0, 0, {3: 2, 5: 1}), (0, 2, {1: 2_500_000})),
        capped=np.sort(rng.integers(0, 1_000, 3)),
        capped_by=rng.integers(0, 9, 3),
        repeated=np.empty(0, np.intp),
        repeated_propensity=np.empty(0),
        shown=rng.integers(0, 1_000, shown),
        shown_at=np.zeros(shown, np.intp),
        propensity=rng.random(shown),
        expected_value=rng.random(shown),
        lost=rng.integers(0, 1_000, MAX_LOST),
        lost_propensity=rng.random(MAX_LOST, np.float32),
        lost_expected_value=rng.random(MAX_LOST, np.float32),
        timings_ns=(12_000, 35_000, 50_000, 20_000),
    )


# Strategies.

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_positive = st.integers(0, 2**63 - 1)
_64_bits = st.integers(0, 2**64 - 1)
_small = st.integers(0, 2**31 - 1)
_zones = st.sampled_from([UTC, timezone(timedelta(hours=2))])
_times = st.datetimes(datetime(1970, 1, 2), datetime(2199, 1, 1), timezones=_zones)
_values = st.one_of(
    st.floats(), st.integers(-(2**63), 2**64 - 1), _texts, st.booleans(), _times, st.lists(_texts).map(tuple)
)
_contexts = st.builds(Context, _texts, _texts, _times, st.dictionaries(_texts, _values, max_size=4))
_queries = st.builds(
    RankQuery,
    customer_id=_texts, placement_id=_texts, context=_contexts, max_offers=_small,
    candidate_offer_ids=st.lists(_texts, max_size=5).map(tuple), filter=_texts, order_by=_texts,
    full_view=st.booleans(), include_content=st.booleans(), request_id=_texts, validate_only=st.booleans(),
    min_profile_version=_positive, further_placement_ids=st.lists(_texts, max_size=3).map(tuple),
)  # fmt: skip


def _array(dtype: type[np.generic], length: int) -> st.SearchStrategy[Any]:
    elements = st.integers(0, 2**31 - 1) if dtype is np.intp else None
    return arrays.arrays(dtype, length, elements=elements)


@st.composite
def records(draw: st.DrawFn) -> DecisionRecord:
    """Any record that a decision might make."""
    capped, repeated, shown, lost = (draw(st.integers(0, MAX_LOST)) for _ in range(4))
    return DecisionRecord(
        number=draw(st.integers(1, 2**63 - 1)),
        tag=draw(_64_bits),
        time_us=draw(_positive),
        profile_version=draw(_positive),
        catalog_version=draw(_positive),
        query=draw(_queries),
        result=draw(_small),
        rung=draw(_small),
        model_id=draw(_texts),
        plans=draw(st.lists(st.tuples(_small, _small, _small), max_size=3).map(tuple)),
        variables=draw(_array(np.float32, draw(st.integers(0, 40)))),
        truth=draw(_array(np.bool_, draw(st.integers(0, 40)))),
        granted=draw(_small),
        counted=draw(
            st.lists(st.tuples(_small, _small, st.dictionaries(_small, _positive, max_size=3)), max_size=3).map(tuple)
        ),
        capped=draw(_array(np.intp, capped)),
        capped_by=draw(_array(np.intp, capped)),
        repeated=draw(_array(np.intp, repeated)),
        repeated_propensity=draw(_array(np.float64, repeated)),
        shown=draw(_array(np.intp, shown)),
        shown_at=draw(_array(np.intp, shown)),
        propensity=draw(_array(np.float64, shown)),
        expected_value=draw(_array(np.float64, shown)),
        lost=draw(_array(np.intp, lost)),
        lost_propensity=draw(_array(np.float32, lost)),
        lost_expected_value=draw(_array(np.float32, lost)),
        timings_ns=draw(st.lists(_positive, max_size=5).map(tuple)),
    )
