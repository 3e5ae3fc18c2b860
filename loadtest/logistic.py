"""The synthetic logistic regression: one row for each pair of customer and offer, in the graph that the demo's has.

A feature becomes sign(x) x log(1 + |x|), is scaled, clipped, and 0 where it is missing, with a flag that says so. All
of that is done for every pair, so this is a model that gains nothing from what is computed beforehand.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from loadtest.catalog import offer_features
from loadtest.population import Matrix, sample
from loadtest.schema import NUMBERS, OFFER

NAME, VERSION = "synthetic-logistic", "1"
MODEL = f"{NAME}/{VERSION}"
OPSET, IR_VERSION = 17, 8
GOLDEN_ROWS = 8
CLIP = 4.0
LOG_ODDS_MEAN, LOG_ODDS_SD = -4.6, 1.1

CUSTOMER = NUMBERS[:34]
OFFERS = OFFER[:14]
"""48 features together, as many as the demo's model has: 34 of the customer, 14 of the offer."""

STEPS = (
    ("IsNaN", "features", "is_missing"),
    ("Cast", "is_missing", "missing"),
    ("Abs", "features", "size"),
    ("Add", "size one", "size_one"),
    ("Log", "size_one", "log_size"),
    ("Sign", "features", "sign"),
    ("Mul", "sign log_size", "signed_log"),
    ("Sub", "signed_log center", "centered"),
    ("Div", "centered scale", "scaled"),
    ("Where", "is_missing zero scaled", "imputed"),
    ("Clip", "imputed low high", "line"),
    ("Concat", "line missing", "inputs"),
    ("Gemm", "inputs weights intercept", "log_odds"),
)
"""Operator, inputs and output of each node."""

ATTRIBUTES: dict[str, dict[str, Any]] = {"Cast": {"to": TensorProto.FLOAT}, "Concat": {"axis": 1}}

TEMPLATE = """\
name = "{name}"
version = "{version}"
description = "A seeded logistic regression over 48 features for load tests; it has learned nothing."

[file]
path = "model.onnx"
sha256 = "{sha256}"

[[inputs]]
name = "features"
scope = "pair"
features = [
{features}
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
features = {golden}
"""


@dataclass(frozen=True, slots=True)
class Logistic:
    """Coefficients on scaled features and on their flags, all float32."""

    center: Matrix
    scale: Matrix
    weights: Matrix
    intercept: Matrix

    @classmethod
    def seeded(cls, seed: int) -> Self:
        """Random coefficients, scaled on a sample so that the log-odds have the mean and deviation above."""
        rng = np.random.default_rng(seed)
        logs = signed_log(pairs(1_024, seed))
        center, scale = logs.mean(axis=0), logs.std(axis=0)
        weights = rng.standard_normal((2 * logs.shape[1], 1))
        weights *= LOG_ODDS_SD / np.linalg.norm(weights[: logs.shape[1]])
        return cls(*(part.astype(np.float32) for part in (center, scale, weights, np.array([LOG_ODDS_MEAN]))))

    def forward(self, features: Matrix) -> NDArray[np.float64]:
        """The log-odds in float64: [rows]."""
        missing = np.isnan(features)
        scaled = np.where(missing, 0.0, (signed_log(features) - self.center) / self.scale.astype(np.float64))
        inputs = np.concatenate([np.clip(scaled, -CLIP, CLIP), missing], axis=1)
        return np.asarray((inputs @ self.weights.astype(np.float64))[:, 0] + self.intercept[0])

    def onnx_bytes(self) -> bytes:
        """The model as ONNX: `features` [N, 48] in, `log_odds` [N, 1] out."""
        parts = {
            "one": np.float32(1), "zero": np.float32(0), "low": np.float32(-CLIP), "high": np.float32(CLIP),
            "center": self.center, "scale": self.scale, "weights": self.weights, "intercept": self.intercept,
        }  # fmt: skip
        graph = helper.make_graph(
            [helper.make_node(step, names.split(), [out], **ATTRIBUTES.get(step, {})) for step, names, out in STEPS],
            NAME,
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", len(self.center)])],
            [helper.make_tensor_value_info("log_odds", TensorProto.FLOAT, ["N", 1])],
            [numpy_helper.from_array(np.asarray(part), name) for name, part in parts.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(made)
        return bytes(made.SerializeToString())


def pairs(rows: int, seed: int) -> Matrix:
    """Features of random pairs: float32 [rows, 48]."""
    offers = offer_features(rows, seed)[:, : len(OFFERS)]
    return np.concatenate([sample(CUSTOMER, rows, seed), offers.astype(np.float32)], axis=1)


def signed_log(features: Matrix) -> NDArray[np.float64]:
    """sign(x) x log(1 + |x|) in float64."""
    wide = features.astype(np.float64)
    return np.asarray(np.sign(wide) * np.log1p(np.abs(wide)))


def write(models: Path, seed: int) -> None:
    """Writes the model below `models`, as `synthetic-logistic/1`."""
    directory = models / NAME / VERSION
    directory.mkdir(parents=True)
    logistic = Logistic.seeded(seed)
    content = logistic.onnx_bytes()
    (directory / "model.onnx").write_bytes(content)
    golden = pairs(GOLDEN_ROWS, seed + 1)
    output = logistic.forward(golden)
    names = [f"customer.{each.id}" for each in CUSTOMER] + [f"offer.{name}" for name in OFFERS]
    text = TEMPLATE.format(
        name=NAME,
        version=VERSION,
        sha256=hashlib.sha256(content).hexdigest(),
        features="\n".join(f'  {{name = "{name}", type = "number"}},' for name in names),
        propensity=json.dumps((1 / (1 + np.exp(-output))).tolist()),
        output=json.dumps(output.tolist()),
        golden=json.dumps(golden.tolist()),
    )
    (directory / "manifest.toml").write_text(text)
