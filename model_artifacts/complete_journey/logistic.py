"""The logistic regression, with everything it does to its inputs inside the ONNX graph.

A feature becomes sign(x) * log(1 + |x|), is scaled by the training mean and deviation, clipped, and zero where
it is missing, with a flag that says so. The campaign type is a flag per type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from model_artifacts.complete_journey.boosted import model
from model_artifacts.complete_journey.features import Matrix
from model_artifacts.complete_journey.metrics import Floats, Labels

PENALTY = 0.03  # inverse strength of the ridge, on scaled inputs
NOMINAL = "offer.campaign_type"
_TYPES = 3
_CLIP = 4.0  # deviations
_SMALLEST_SCALE = 1e-3


@dataclass(frozen=True, slots=True)
class Logistic:
    """Coefficients on the scaled inputs; all arrays have one value per feature unless they say otherwise."""

    center: Matrix
    scale: Matrix
    line: Matrix
    missing: Matrix
    nominal: int  # position of the campaign type
    types: Matrix  # one value per campaign type
    intercept: float

    @classmethod
    def fit(cls, features: Matrix, labels: Labels, weights: Floats, names: Sequence[str]) -> Logistic:
        center, scale = _moments(_signed_log(features))
        nominal = list(names).index(NOMINAL)
        inputs = _inputs(features, center, scale, nominal)
        fitted = LogisticRegression(C=PENALTY, max_iter=500, tol=1e-5).fit(inputs, labels, weights)
        parts = np.split(fitted.coef_[0].astype(np.float32), np.cumsum([len(names)] * 2))
        return cls(center, scale, parts[0], parts[1], nominal, parts[2], float(fitted.intercept_[0]))

    def log_odds(self, features: Matrix) -> Floats:
        coefficients = np.concatenate([self.line, self.missing, self.types]).astype(np.float64)
        inputs = _inputs(features, self.center, self.scale, self.nominal)
        return np.asarray(inputs.astype(np.float64) @ coefficients + self.intercept, dtype=np.float64)

    def graph(self, features: int) -> onnx.ModelProto:
        """Input `features` float32 [N, features], output `log_odds` float32 [N, 1]."""
        weights = np.concatenate([self.line, self.missing, self.types])
        constants = {
            "one": np.float32(1.0),
            "zero": np.float32(0.0),
            "center": self.center,
            "scale": self.scale,
            "low": np.float32(-_CLIP),
            "high": np.float32(_CLIP),
            "nominal": np.array([self.nominal], dtype=np.int64),
            "type_codes": np.arange(_TYPES, dtype=np.float32),
            "weights": weights.astype(np.float32)[:, None],
            "intercept": np.array([self.intercept], dtype=np.float32),
        }
        nodes = [_constant(name, np.asarray(value)) for name, value in constants.items()]
        return model([*nodes, *(_node(*step) for step in _STEPS)], features, {"": 17})


_STEPS: tuple[tuple[str, str, str], ...] = (
    # operator, inputs, output; the concatenation at the end is the order of `weights`
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
    ("Gather", "features nominal", "type_code"),
    ("Equal", "type_code type_codes", "is_type"),
    ("Cast", "is_type", "types"),
    ("Concat", "line missing types", "inputs"),
    ("Gemm", "inputs weights intercept", "log_odds"),
)
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "Cast": {"to": onnx.TensorProto.FLOAT},
    "Gather": {"axis": 1},
    "Concat": {"axis": 1},
}


def _node(operator: str, inputs: str, output: str) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **_ATTRIBUTES.get(operator, {}))


def _constant(name: str, value: NDArray[np.generic]) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def _signed_log(features: Matrix) -> Matrix:
    return np.asarray(np.sign(features) * np.log(np.abs(features) + np.float32(1.0)), dtype=np.float32)


def _moments(logs: Matrix) -> tuple[Matrix, Matrix]:
    """Mean and deviation of what is there in each column; 0 and the smallest scale where nothing is."""
    there = ~np.isnan(logs)
    count = np.maximum(there.sum(axis=0), 1)
    center = np.where(there, logs, 0.0).sum(axis=0, dtype=np.float64) / count
    spread = np.where(there, logs - center, 0.0)
    scale = np.sqrt((spread**2).sum(axis=0, dtype=np.float64) / count)
    return center.astype(np.float32), np.maximum(scale, _SMALLEST_SCALE).astype(np.float32)


def _inputs(features: Matrix, center: Matrix, scale: Matrix, nominal: int) -> Matrix:
    missing = np.isnan(features)
    line = np.clip(np.where(missing, np.float32(0.0), (_signed_log(features) - center) / scale), -_CLIP, _CLIP)
    types = features[:, [nominal]] == np.arange(_TYPES, dtype=np.float32)
    parts = [line, missing, types]
    return np.concatenate([part.astype(np.float32) for part in parts], axis=1)
