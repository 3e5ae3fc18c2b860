from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from server.domain.attribute import AttributeType, FloatRow
from server.domain.model import (
    Calibration,
    CalibrationLine,
    Feature,
    Golden,
    Manifest,
    ModelInput,
    OutputKind,
    Scope,
)
from server.inference.model import OnnxModel
from server.inference.partition import Partition, partition
from tests.support.onnx_files import Shape, graph, linear

ROWS = 7
OFFER = {"offer": np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)}
CUSTOMER = {"customer": np.random.default_rng(1).normal(size=(1, 4)).astype(np.float32)}
INPUTS: Mapping[str, Shape] = {"customer": [1, 4], "offer": ["N", 3]}


def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


def run(model: onnx.ModelProto, outputs: list[str], inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[NDArray[Any]] = session.run(outputs, dict(inputs))
    return found


def whole(model: onnx.ModelProto, offers: NDArray[np.intp]) -> FloatRow:
    """The whole graph on the rows of these offers."""
    return run(model, ["score"], CUSTOMER | {"offer": OFFER["offer"][offers]})[0].reshape(-1)


def split(parts: Partition, offers: NDArray[np.intp]) -> FloatRow:
    """The same in two runs: one for all offers, one for the rows of these."""
    if parts.offer_part is None:
        tensors = dict(OFFER)
    else:
        tensors = dict(zip(parts.boundary, run(parts.offer_part, list(parts.boundary), OFFER), strict=True))
    rows = {name: tensor[offers] for name, tensor in tensors.items()}
    return run(parts.request_part, ["score"], CUSTOMER | rows)[0].reshape(-1)


def loaded(model: onnx.ModelProto, offers: NDArray[np.intp]) -> FloatRow:
    """The same as the server does it, which splits a graph only if its parts go together row by row."""
    inputs = tuple(
        ModelInput(name, scope, tuple(Feature(f"offer.{name}{n}", AttributeType.NUMBER) for n in range(width)))
        for name, scope, width in (("customer", Scope.CUSTOMER, 4), ("offer", Scope.OFFER, 3))
    )
    golden = Golden(CUSTOMER | OFFER, np.zeros(ROWS, np.float32), np.zeros(ROWS), ())
    calibration = Calibration(CalibrationLine())
    manifest = Manifest(
        "m", "1", Path("m.onnx"), "", inputs, "score", OutputKind.LOG_ODDS, calibration, golden
    )  # fmt: skip
    made = OnnxModel(manifest, model)
    rows = {name: tensor[offers] for name, tensor in made.precompute(OFFER).items()}
    return made.run(CUSTOMER | rows)


def network(seed: int) -> onnx.ModelProto:
    """A random network: a customer tower, an offer tower, a layer over both; some also read the offer again."""
    chance = np.random.default_rng(seed)
    weights: dict[str, NDArray[Any]] = {}
    nodes: list[onnx.NodeProto] = []

    def weight(*size: int) -> str:
        name = f"w{len(weights)}"
        weights[name] = chance.normal(size=size).astype(np.float32)
        return name

    def tower(start: str, width: int, out: int, name: str) -> str:
        current = start
        for layer in range(int(chance.integers(1, 4))):
            size = out if layer == 0 else int(out)
            nodes.append(node("MatMul", [current, weight(width, size)], f"{name}{layer}m"))
            nodes.append(node("Add", [f"{name}{layer}m", weight(size)], f"{name}{layer}b"))
            nodes.append(node(str(chance.choice(["Relu", "Tanh", "Sigmoid"])), [f"{name}{layer}b"], f"{name}{layer}"))
            current, width = f"{name}{layer}", size
        return current

    hidden = int(chance.integers(1, 6))
    offer, customer = tower("offer", 3, hidden, "o"), tower("customer", 4, hidden, "c")
    nodes.append(node(str(chance.choice(["Add", "Mul"])), [customer, offer], "both"))
    last = tower("both", hidden, hidden, "b")
    if chance.random() < 0.5:
        nodes.append(node("MatMul", ["offer", weight(3, hidden)], "wide"))
        nodes.append(node("Add", [last, "wide"], "deep"))
        last = "deep"
    if chance.random() < 0.5:
        nodes.append(node("Concat", [last, "offer"], "joined", axis=1))
        last, hidden = "joined", hidden + 3
    nodes.append(node("MatMul", [last, weight(hidden, 1)], "score"))
    return graph(nodes, INPUTS, weights)


@pytest.mark.parametrize("seed", range(40))
def test_split_network_scores_like_the_whole(seed: int) -> None:
    model = network(seed)
    parts = partition(model, ["offer"])

    for offers in (np.arange(ROWS), np.array([4, 0, 6]), np.array([2])):
        np.testing.assert_allclose(split(parts, offers), whole(model, offers), rtol=1e-6, atol=1e-6)


def test_offer_part_takes_the_work_that_depends_on_offers_alone() -> None:
    parts = partition(linear(), ["offer"])

    assert parts.offer_part is not None
    assert parts.boundary == ("o",)
    assert [each.op_type for each in parts.offer_part.graph.node] == ["MatMul"]
    assert [each.op_type for each in parts.request_part.graph.node] == ["MatMul", "Add"]
    assert {value.name for value in parts.request_part.graph.input} == {"customer", "o"}


def test_graph_without_work_on_offers_alone_stays_whole() -> None:
    model = graph(
        [node("Concat", ["customer", "offer"], "x", axis=1), node("MatMul", ["x", "w"], "score")],
        {"customer": ["N", 4], "offer": ["N", 3]},
        {"w": np.ones((7, 1), np.float32)},
    )

    assert partition(model, ["offer"]) == Partition(None, model, ("offer",))


def test_graph_without_offer_inputs_stays_whole() -> None:
    model = graph([node("MatMul", ["pair", "w"], "score")], {"pair": ["N", 2]}, {"w": np.ones((2, 1), np.float32)})

    assert partition(model, []) == Partition(None, model, ())


def test_graph_whose_output_depends_on_offers_alone_stays_whole() -> None:
    model = graph([node("MatMul", ["offer", "w"], "score")], {"offer": ["N", 3]}, {"w": np.ones((3, 1), np.float32)})

    assert partition(model, ["offer"]).offer_part is None


def test_graph_with_branches_stays_whole() -> None:
    def branch(name: str, factor: str) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([node("Mul", ["o", factor], name)], name, [], [output])

    model = graph(
        [
            node("MatMul", ["offer", "w"], "o"),
            node("ReduceMax", ["customer"], "largest", keepdims=0),
            node("Greater", ["largest", "zero"], "positive"),
            node("If", ["positive"], "score", then_branch=branch("a", "one"), else_branch=branch("b", "two")),
        ],
        INPUTS,
        {
            "w": np.ones((3, 1), np.float32),
            "zero": np.array(0, np.float32),
            "one": np.array(1, np.float32),
            "two": np.array(2, np.float32),
        },
    )
    parts = partition(model, ["offer"])

    assert parts.offer_part is None
    np.testing.assert_allclose(split(parts, np.array([3, 1])), whole(model, np.array([3, 1])))


def test_weights_that_also_stand_among_the_inputs_are_constants() -> None:
    model = linear()
    model.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims) for tensor in model.graph.initializer
    )

    assert partition(model, ["offer"]).boundary == ("o",)


def test_two_towers_joined_by_a_product_score_like_the_whole() -> None:
    model = graph(
        [
            node("MatMul", ["offer", "wo"], "o"),
            node("Transpose", ["o"], "turned", perm=[1, 0]),
            node("MatMul", ["customer", "wc"], "c"),
            node("MatMul", ["c", "turned"], "row"),
            node("Reshape", ["row", "column"], "score"),
        ],
        INPUTS,
        {
            "wo": np.ones((3, 2), np.float32),
            "wc": np.ones((4, 2), np.float32),
            "column": np.array([-1, 1], np.int64),
        },
    )
    offers = np.array([5, 1, 3])

    np.testing.assert_allclose(loaded(model, offers), whole(model, offers), rtol=1e-6)


def test_customer_spread_over_the_offers_scores_like_the_whole() -> None:
    model = graph(
        [
            node("Shape", ["offer"], "shape", end=1),
            node("Concat", ["shape", "width"], "size", axis=0),
            node("Expand", ["customer", "size"], "spread"),
            node("Concat", ["spread", "offer"], "pair", axis=1),
            node("MatMul", ["pair", "w"], "score"),
        ],
        INPUTS,
        {"width": np.array([4], np.int64), "w": np.arange(7, dtype=np.float32)[:, None]},
    )
    offers = np.array([5, 1, 3])

    np.testing.assert_allclose(loaded(model, offers), whole(model, offers), rtol=1e-6)
