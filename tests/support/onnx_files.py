"""Tiny ONNX networks, and model folders as the server loads them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

Weights = Mapping[str, NDArray[Any]]
Shape = Sequence[int | str]


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    weights: Weights | None = None,
    output: str = "score",
    element: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model of these nodes, with the one output `score`."""
    made = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, element, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def linear(customer: Sequence[float] = (1.0, -1.0), offer: Sequence[float] = (0.5,)) -> onnx.ModelProto:
    """score = customer . weights + offer . weights, for inputs `customer` [1, c] and `offer` [N, o]."""
    return graph(
        [
            helper.make_node("MatMul", ["customer", "wc"], ["c"]),
            helper.make_node("MatMul", ["offer", "wo"], ["o"]),
            helper.make_node("Add", ["c", "o"], ["score"]),
        ],
        {"customer": [1, len(customer)], "offer": ["N", len(offer)]},
        {
            "wc": np.array(customer, np.float32)[:, None],
            "wo": np.array(offer, np.float32)[:, None],
        },
    )


MANIFEST = """
name = "{name}"
version = "{version}"

[file]
path = "{path}"
sha256 = "{sha256}"

[[inputs]]
name = "customer"
scope = "customer"
features = [{{ name = "customer.a", type = "number" }}, {{ name = "customer.b", type = "number" }}]

[[inputs]]
name = "offer"
scope = "offer"
features = [{{ name = "offer.c", type = "number" }}]

[output]
name = "score"
kind = "log_odds"

[calibration]
method = "logistic"
by = "offer.kind"
default = {{ slope = 1.0, intercept = 0.0 }}
groups = {{ X = {{ slope = 2.0, intercept = -1.0 }} }}

[training]
data = "made up"

[golden]
output = {output}
propensity = {propensity}
groups = ["X", "Y"]
inputs = {{ customer = [[2.0, 1.0]], offer = [[1.0], [3.0]] }}
"""
"""Describes `linear()`: scores 1.5 and 2.5 for its golden rows, of groups X and Y."""


def write_model(root: Path, model: onnx.ModelProto | bytes | None = None, **changes: str) -> Path:
    """Writes a model folder `tiny/1` that the server accepts, apart from `changes` to its manifest's fields.

    Returns:
        The folder of the version.
    """
    name, version = "tiny", "1"
    folder = root / name / version
    folder.mkdir(parents=True)
    content = model if isinstance(model, bytes) else (model or linear()).SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    fields = {
        "name": name,
        "version": version,
        "path": "model.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "output": "[1.5, 2.5]",
        "propensity": str([1 / (1 + float(np.exp(-2.0))), 1 / (1 + float(np.exp(-2.5)))]),
    }
    (folder / "manifest.toml").write_text(MANIFEST.format(**(fields | changes)), encoding="utf-8")
    return folder


def edit_manifest(folder: Path, before: str, after: str) -> None:
    """Replaces a part of a manifest, which must be there."""
    path = folder / "manifest.toml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
