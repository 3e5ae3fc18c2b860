import json
import re
import tomllib
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from opportune.v1.decision_service_pb2 import RankOffersRequest

from loadtest import manifest
from loadtest.catalog import offer_features
from loadtest.model import Perceptron
from loadtest.population import sample
from loadtest.predicates import deal
from loadtest.schema import CONTEXT, CUSTOMER, Attribute
from loadtest.workload import SEED, SyntheticWorkload, Workload

TODAY = date(2026, 11, 22)


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return SyntheticWorkload(tmp_path_factory.mktemp("workload"), offers=1_000, profiles=2_000, today=TODAY)


@pytest.fixture(scope="module")
def catalog(workload: Workload) -> Any:
    return json.loads(workload.catalog.read_text())


def values(attributes: tuple[Attribute, ...], row: list[float]) -> SimpleNamespace:
    """A row as a condition reads it."""
    named = {}
    for attribute, value in zip(attributes, row, strict=True):
        named[attribute.id] = attribute.values[int(value)] if attribute.values else value
    return SimpleNamespace(**named)


def test_catalog_has_exactly_200_distinct_predicates_and_each_offer_three_of_them(catalog: Any) -> None:
    per_offer = [offer["eligible"].split(" && ") for offer in catalog["offers"]]

    assert len({predicate for predicates in per_offer for predicate in predicates}) == 200
    assert {len(set(predicates)) for predicates in per_offer} == {3}


def test_each_predicate_is_dealt_as_often_as_any_other() -> None:
    dealt = np.array(deal(np.random.default_rng(1), 1_000)).ravel()

    assert np.ptp(np.bincount(dealt, minlength=200)) <= 1


def test_about_a_third_of_the_offers_is_eligible_when_every_condition_is_evaluated(catalog: Any) -> None:
    customers = sample(CUSTOMER, 60, seed=5).tolist()
    moments = sample(CONTEXT, 60, seed=6).tolist()
    conditions = [
        compile(offer["eligible"].replace("&&", "and").replace("true", "True"), "eligible", "eval")
        for offer in catalog["offers"]
        if offer["schedule"]["start"] <= TODAY.isoformat() < offer["schedule"]["end"]
    ]

    shares = []
    for customer, moment in zip(customers, moments, strict=True):
        names = {"customer": values(CUSTOMER, customer), "context": values(CONTEXT, moment)}
        shares.append(sum(eval(condition, names) for condition in conditions) / len(catalog["offers"]))

    assert 0.25 <= float(np.mean(shares)) <= 0.45
    assert min(shares) > 0.1


def test_all_but_a_few_offers_run_today(catalog: Any) -> None:
    running = [
        offer["schedule"]["start"] <= TODAY.isoformat() < offer["schedule"]["end"] for offer in catalog["offers"]
    ]

    assert sum(running) == 980


def test_catalog_has_the_declared_shape_and_no_later_keys(catalog: Any) -> None:
    offer = catalog["offers"][0]
    types = [attribute["type"] for attribute in catalog["attributes"]]

    assert set(catalog) == {"currency", "attributes", "context", "offers", "placements"}
    assert (types.count("number"), types.count("category"), types.count("boolean")) == (56, 4, 4)
    assert sorted(entry["type"] for entry in catalog["context"]) == ["boolean", "category", "number", "number"]
    assert set(offer) == {
        "id", "tactic", "value", "attributes", "eligible", "schedule", "channels", "creatives", "exclusion_group",
        "caps",
    }  # fmt: skip
    assert all(len(offer["caps"]) == 3 and offer["exclusion_group"] for offer in catalog["offers"])
    assert set(offer["attributes"]) == {"department", *(f"f{index:02d}" for index in range(60))}
    assert catalog["placements"] == [
        {"id": "home", "channel": "web", "slots": 10, "model": "synthetic-mlp/1"},
    ]


def test_profiles_set_every_attribute_in_messages_below_one_mebibyte(workload: Workload) -> None:
    messages = list(workload.deltas())
    deltas = [delta for message in messages for delta in message.deltas]

    assert max(message.ByteSize() for message in messages) < 1 << 20
    assert max(len(message.deltas) for message in messages) <= 1_000
    assert len({delta.customer_id for delta in deltas}) == 2_000
    assert all(len(delta.attributes.set) == 64 for delta in deltas[:50])


def test_requests_are_of_many_customers_who_exist_and_carry_four_context_attributes(workload: Workload) -> None:
    requests = [RankOffersRequest.FromString(request) for request in workload.requests(3_000)]
    rows = {int(request.customer_id.removeprefix("loadtest:")) for request in requests}

    assert rows <= set(range(2_000))
    assert len(rows) > 1_000
    assert {len(request.context.attributes) for request in requests} == {4}


def test_workload_is_the_same_in_every_run(workload: Workload, tmp_path: Path) -> None:
    again = SyntheticWorkload(tmp_path, offers=1_000, profiles=2_000, today=TODAY)

    assert again.catalog.read_text() == workload.catalog.read_text()
    assert again.requests(100) == workload.requests(100)
    assert manifest_of(again) == manifest_of(workload)


def manifest_of(workload: Workload) -> Any:
    return tomllib.loads((workload.models / manifest.MODEL / "manifest.toml").read_text())


def session_of(workload: Workload) -> Any:
    return onnxruntime.InferenceSession(workload.models / manifest.MODEL / "model.onnx")


def test_exported_model_equals_the_forward_pass_in_numpy(workload: Workload) -> None:
    perceptron = Perceptron.seeded(SEED)
    offers = offer_features(1_000, seed=9).astype(np.float32)
    session = session_of(workload)

    for customer in sample((*CUSTOMER, *CONTEXT), 20, seed=8)[:, None]:
        (log_odds,) = session.run(["log_odds"], {"customer": customer, "offer": offers})

        assert log_odds.shape == (1_000, 1)
        assert log_odds.dtype == np.float32
        np.testing.assert_allclose(log_odds, perceptron.forward(customer, offers), rtol=0, atol=1e-5)


def test_golden_vectors_of_the_manifest_are_what_the_model_gives(workload: Workload) -> None:
    golden = manifest_of(workload)["golden"]
    inputs = {name: np.array(rows, np.float32) for name, rows in golden["inputs"].items()}

    (log_odds,) = session_of(workload).run(["log_odds"], inputs)

    np.testing.assert_allclose(log_odds[:, 0], golden["output"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-log_odds[:, 0])), golden["propensity"], rtol=0, atol=1e-6)


def test_manifest_names_the_features_in_the_order_of_the_columns(workload: Workload) -> None:
    customer, offer = manifest_of(workload)["inputs"]

    assert [feature["name"] for feature in customer["features"][:64]] == [f"customer.{one.id}" for one in CUSTOMER]
    assert [feature["name"] for feature in customer["features"][64:]] == [f"context.{one.id}" for one in CONTEXT]
    assert (customer["scope"], offer["scope"], len(offer["features"])) == ("customer", "offer", 60)
    assert re.fullmatch("[0-9a-f]{64}", manifest_of(workload)["file"]["sha256"])


def test_propensities_look_like_those_of_offers() -> None:
    customers = sample((*CUSTOMER, *CONTEXT), 500, seed=8)
    log_odds = Perceptron.seeded(SEED).forward(customers, offer_features(500, seed=9).astype(np.float32))

    low, high = np.percentile(1 / (1 + np.exp(-log_odds)), [5, 95])

    assert 0.0005 < low < 0.005
    assert 0.03 < high < 0.2
