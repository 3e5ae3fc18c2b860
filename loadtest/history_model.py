"""The model of the scenario `replay`: a seeded perceptron 3 + 1 -> 8 -> 1 over what its history changes."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HIDDEN = 8
MODEL = "history/1"

_MANIFEST = """\
name = "history"
version = "1"

[file]
path = "model.onnx"
sha256 = "{sha256}"

[[inputs]]
name = "customer"
scope = "customer"
features = [
  {{name = "customer.visits", type = "number"}},
  {{name = "customer.bought", type = "number"}},
  {{name = "customer.taste", type = "number"}},
]

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
data = "synthetic"

[golden]
output = {output}
propensity = {propensity}
inputs = {{customer = [[1.0, 2.0, 3.0]], offer = [[0.25], [0.5]]}}
"""


def write_history_model(root: Path, seed: int) -> None:
    """Writes the model as `root/history/1`."""
    rng = np.random.default_rng(seed)
    weights = {
        name: rng.standard_normal(shape).astype(np.float32) / 4
        for name, shape in (("wc", (3, HIDDEN)), ("wo", (1, HIDDEN)), ("b", (HIDDEN,)), ("w2", (HIDDEN, 1)))
    }
    folder = root / MODEL
    folder.mkdir(parents=True)
    content = _graph(weights).SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    hidden = np.array([[1.0, 2.0, 3.0]]) @ weights["wc"] + np.array([[0.25], [0.5]]) @ weights["wo"] + weights["b"]
    golden = (np.maximum(hidden, 0) @ weights["w2"]).reshape(-1)
    manifest = _MANIFEST.format(
        sha256=hashlib.sha256(content).hexdigest(),
        output=golden.tolist(),
        propensity=(1 / (1 + np.exp(-golden))).tolist(),
    )
    (folder / "manifest.toml").write_text(manifest, encoding="utf-8")


def _graph(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    nodes = [
        helper.make_node("IsNaN", ["customer"], ["is_missing"]),
        helper.make_node("Where", ["is_missing", "zero", "customer"], ["known"]),
        helper.make_node("MatMul", ["known", "wc"], ["customer_part"]),
        helper.make_node("MatMul", ["offer", "wo"], ["offer_product"]),
        helper.make_node("Add", ["offer_product", "b"], ["offer_part"]),
        helper.make_node("Add", ["customer_part", "offer_part"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "w2"], ["log_odds"]),
    ]
    graph = helper.make_graph(
        nodes,
        "history",
        [
            helper.make_tensor_value_info("customer", TensorProto.FLOAT, [1, 3]),
            helper.make_tensor_value_info("offer", TensorProto.FLOAT, ["offers", 1]),
        ],
        [helper.make_tensor_value_info("log_odds", TensorProto.FLOAT, ["offers", 1])],
        [
            numpy_helper.from_array(np.zeros((), np.float32), "zero"),
            *(numpy_helper.from_array(values, name) for name, values in weights.items()),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
