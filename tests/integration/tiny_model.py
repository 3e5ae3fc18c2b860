"""A propensity model small enough to compute by hand: log-odds = 0.1 visits + 0.05 hour + 2 level - 3."""

import hashlib
import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET = 17
_GOLDEN_CUSTOMER = (10.0, 20.0)
_GOLDEN_LEVELS = (0.2, 0.5)

_MANIFEST = """\
name = "{name}"
version = "{version}"

[file]
path = "model.onnx"
sha256 = "{sha256}"

[[inputs]]
name = "customer"
scope = "customer"
features = [{{name = "customer.visits", type = "number"}}, {{name = "context.hour", type = "number"}}]

[[inputs]]
name = "offer"
scope = "offer"
features = [{{name = "offer.level", type = "number"}}]

[output]
name = "log_odds"
kind = "log_odds"

[calibration]
method = "none"

[training]
data = "made up"

[golden]
output = {output}
propensity = {propensity}

[golden.inputs]
customer = [{customer}]
offer = {offers}
"""


def log_odds(visits: float, hour: float, level: float) -> float:
    """What the model says."""
    return 0.1 * visits + 0.05 * hour + 2.0 * level - 3.0


def propensity(visits: float, hour: float, level: float) -> float:
    """The probability that it stands for."""
    return 1.0 / (1.0 + math.exp(-log_odds(visits, hour, level)))


def write_model(root: Path, name: str, version: str, *, takes_missing: bool = True) -> Path:
    """Writes the model as `root/name/version` and returns its folder.

    Args:
        takes_missing: Whether a missing input counts as 0; otherwise the model gives NaN, and so cannot score.
    """
    folder = root / name / version
    folder.mkdir(parents=True)
    content = _graph(takes_missing).SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    golden = [log_odds(*_GOLDEN_CUSTOMER, level) for level in _GOLDEN_LEVELS]
    manifest = _MANIFEST.format(
        name=name,
        version=version,
        sha256=hashlib.sha256(content).hexdigest(),
        output=golden,
        propensity=[propensity(*_GOLDEN_CUSTOMER, level) for level in _GOLDEN_LEVELS],
        customer=list(_GOLDEN_CUSTOMER),
        offers=[[level] for level in _GOLDEN_LEVELS],
    )
    (folder / "manifest.toml").write_text(manifest, encoding="utf-8")
    return folder


def _graph(takes_missing: bool) -> onnx.ModelProto:
    weights = {
        "zero": np.zeros((), np.float32),
        "customer_weights": np.array([[0.1], [0.05]], np.float32),
        "offer_weights": np.array([[2.0]], np.float32),
        "bias": np.array([-3.0], np.float32),
    }
    nodes = [
        helper.make_node("IsNaN", ["customer"], ["is_missing"]),
        helper.make_node("Where", ["is_missing", "zero", "customer"], ["known"]),
        helper.make_node("MatMul", ["known" if takes_missing else "customer", "customer_weights"], ["customer_part"]),
        helper.make_node("MatMul", ["offer", "offer_weights"], ["offer_part"]),
        helper.make_node("Add", ["offer_part", "bias"], ["offer_score"]),
        helper.make_node("Add", ["customer_part", "offer_score"], ["log_odds"]),
    ]
    graph = helper.make_graph(
        nodes if takes_missing else nodes[2:],
        "tiny",
        [
            helper.make_tensor_value_info("customer", TensorProto.FLOAT, [1, 2]),
            helper.make_tensor_value_info("offer", TensorProto.FLOAT, ["offers", 1]),
        ],
        [helper.make_tensor_value_info("log_odds", TensorProto.FLOAT, ["offers", 1])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
