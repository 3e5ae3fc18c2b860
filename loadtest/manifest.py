"""The files of the synthetic model: `model.onnx`, and the `manifest.toml` that describes and verifies it."""

import hashlib
import json
from pathlib import Path

import numpy as np

from loadtest.catalog import offer_features
from loadtest.model import Perceptron
from loadtest.population import sample
from loadtest.schema import CONTEXT, CUSTOMER, OFFER, Attribute

NAME, VERSION = "synthetic-mlp", "1"
MODEL = f"{NAME}/{VERSION}"
GOLDEN_ROWS = 8

TEMPLATE = """\
name = "{name}"
version = "{version}"
description = "A seeded perceptron 128 -> 32 -> 1 for load tests; it has learned nothing."

[file]
path = "model.onnx"
sha256 = "{sha256}"

[[inputs]]
name = "customer"
scope = "customer"
features = [
{customer_features}
]

[[inputs]]
name = "offer"
scope = "offer"
features = [
{offer_features}
]

[output]
name = "log_odds"
kind = "log_odds"

[calibration]
method = "logistic"
fitted_on = "none: synthetic"

[calibration.default]
slope = 1.0
intercept = 0.0

[training]
data = "synthetic"

[golden]
propensity = {propensity}
output = {output}

[golden.inputs]
customer = {customer}
offer = {offer}
"""


def write(models: Path, seed: int, version: str = VERSION) -> str:
    """Writes a version of the model below `models`, and returns its name there: `synthetic-mlp/1`."""
    directory = models / NAME / version
    directory.mkdir(parents=True)
    perceptron = Perceptron.seeded(seed)
    content = perceptron.onnx_bytes()
    (directory / "model.onnx").write_bytes(content)
    (directory / "manifest.toml").write_text(_manifest(perceptron, hashlib.sha256(content).hexdigest(), seed, version))
    return f"{NAME}/{version}"


def _manifest(perceptron: Perceptron, sha256: str, seed: int, version: str) -> str:
    customer = sample((*CUSTOMER, *CONTEXT), 1, seed + 1)
    offer = offer_features(GOLDEN_ROWS, seed + 1).astype(np.float32)
    output = perceptron.forward(customer, offer)[:, 0]
    features = [_feature("customer", attribute) for attribute in CUSTOMER]
    features += [_feature("context", attribute) for attribute in CONTEXT]
    return TEMPLATE.format(
        name=NAME,
        version=version,
        sha256=sha256,
        customer_features="\n".join(features),
        offer_features="\n".join(_feature("offer", Attribute(name, "number")) for name in OFFER),
        propensity=json.dumps((1 / (1 + np.exp(-output))).tolist()),
        output=json.dumps(output.tolist()),
        customer=json.dumps(customer.tolist()),
        offer=json.dumps(offer.tolist()),
    )


def _feature(scope: str, attribute: Attribute) -> str:
    values = f", values = {json.dumps(list(attribute.values))}" if attribute.values else ""
    return f'  {{name = "{scope}.{attribute.id}", type = "{attribute.type}"{values}}},'
