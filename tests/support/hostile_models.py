"""Model files that are made to hurt whoever loads them. Each has the inputs and the output that its manifest says."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from tests.support.onnx_files import graph, linear

INPUTS: Mapping[str, Sequence[int | str]] = {"customer": [1, 2], "offer": ["N", 1]}
LINEAR = [
    helper.make_node("MatMul", ["customer", "wc"], ["c"]),
    helper.make_node("MatMul", ["offer", "wo"], ["o"]),
]
WEIGHTS = {"wc": np.array([[1.0], [-1.0]], np.float32), "wo": np.array([[0.5]], np.float32)}


def _with(*nodes: onnx.NodeProto, **weights: np.ndarray) -> onnx.ModelProto:
    """The linear model with other nodes between its sum `s` and its `score`."""
    last = helper.make_node("Add", ["c", "o"], ["s" if nodes else "score"])
    return graph([*LINEAR, last, *nodes], INPUTS, WEIGHTS | weights)


def _external() -> onnx.ModelProto:
    model = linear()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    return model


def _loop() -> onnx.ModelProto:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("Identity", ["value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    for_ever = np.array(2**62, np.int64)
    loop = helper.make_node("Loop", ["turns", "", "s"], ["score"], body=body)
    return _with(loop, turns=for_ever)


def _hidden_graph() -> onnx.ModelProto:
    """A graph as an attribute of an operator that has no use for it."""
    node = helper.make_node("Identity", ["s"], ["score"])
    node.attribute.append(AttributeProto(name="body", type=AttributeProto.GRAPH, g=linear().graph))
    return _with(node)


def _tensor_of_nothing() -> onnx.ModelProto:
    """A few bytes that say they are a terabyte."""
    model = linear()
    model.graph.initializer[0].dims[:] = [2**20, 2**20]
    return model


def _hidden_tensor() -> onnx.ModelProto:
    """The same within a node."""
    value = TensorProto(name="value", data_type=TensorProto.FLOAT, dims=[2**40], raw_data=b"1234")
    return _with(helper.make_node("Constant", [], ["k"], value=value), helper.make_node("Add", ["s", "k"], ["score"]))


def _negative() -> onnx.ModelProto:
    model = linear()
    model.graph.initializer[0].dims[:] = [-2, -1]
    return model


def _function() -> onnx.ModelProto:
    model = _with(helper.make_node("Identity", ["s"], ["score"]))
    model.functions.append(
        helper.make_function("", "Identity", ["x"], ["y"], [helper.make_node("Neg", ["x"], ["y"])], model.opset_import)
    )
    return model


def _of_vendor() -> onnx.ModelProto:
    model = _with(helper.make_node("FusedGemm", ["s"], ["score"], domain="com.microsoft"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def _crowd() -> onnx.ModelProto:
    count = 20_001
    nodes = [helper.make_node("Neg", [f"n{n}"], [f"n{n + 1}"]) for n in range(count)]
    return _with(
        helper.make_node("Identity", ["s"], ["n0"]), *nodes, helper.make_node("Identity", [f"n{count}"], ["score"])
    )


def _sparse() -> onnx.ModelProto:
    model = linear()
    values = helper.make_tensor("values", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("places", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2**40]))
    return model


def sized(kind: str, *operands: str, said: Sequence[onnx.NodeProto] = ()) -> onnx.ModelProto:
    """The linear model beside an operator whose output is as large as `told` says.

    Args:
        said: What gives `told`; if nothing does, it is what a feature of the customer says.
    """
    told = said or [
        helper.make_node("ReduceMax", ["customer"], ["most"], axes=[1], keepdims=0),
        helper.make_node("Cast", ["most"], ["told"], to=TensorProto.INT64),
    ]
    return _with(
        *told,
        helper.make_node("Cast", ["s"], ["whole"], to=TensorProto.INT64),
        helper.make_node(kind, operands, ["much"]),
        helper.make_node("Identity", ["s"], ["score"]),
        zero=np.array([0], np.int64),
        one=np.array([1], np.int64),
        first=np.array(0, np.int64),
        step=np.array(1, np.int64),
        off_on=np.array([0, 1], np.int64),
    )


def _spent() -> onnx.ModelProto:
    """Counts up to what the customer has spent: a few numbers for the golden one, gigabytes for others."""
    nodes = [
        helper.make_node("ReduceMax", ["customer"], ["spent"], keepdims=0),
        helper.make_node("Range", ["first", "spent", "step"], ["every"]),
        helper.make_node("ReduceSum", ["every"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "first"], ["none"]),
        helper.make_node("Add", ["s", "none"], ["score"]),
    ]
    return _with(*nodes, first=np.array(0, np.float32), step=np.array(1, np.float32))


def _laid_out() -> onnx.ModelProto:
    """Lays 65,536 numbers out as a feature says, then takes every row times every other: one product, or billions."""
    nodes = [
        helper.make_node("ReduceMax", ["customer"], ["most"], axes=[1], keepdims=0),
        helper.make_node("Cast", ["most"], ["rows"], to=TensorProto.INT64),
        helper.make_node("Concat", ["rows", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["numbers", "shape"], ["table"]),
        helper.make_node("Transpose", ["table"], ["across"], perm=[1, 0]),
        helper.make_node("MatMul", ["table", "across"], ["products"]),
        helper.make_node("ReduceSum", ["products"], ["none"], keepdims=0),
        helper.make_node("Add", ["s", "none"], ["score"]),
    ]
    return _with(*nodes, rest=np.array([-1], np.int64), numbers=np.zeros(65_536, np.float32))


def _laid_out_unseen() -> onnx.ModelProto:
    """Makes what is known of a constant anew from a feature."""
    model = sized("ConstantOfShape", "told")
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "told"))
    return model


REFUSED_UNSEEN: Mapping[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a tensor in another file": (_external, "keeps its values in another file"),
    "a loop without end": (_loop, "operator Loop is not allowed"),
    "a graph where none belongs": (_hidden_graph, "Identity.body is a graph of its own"),
    "a terabyte in eight bytes": (_tensor_of_nothing, "has not as many values as its shape says"),
    "a terabyte within a node": (_hidden_tensor, "has not as many values as its shape says"),
    "a negative size": (_negative, "has a negative size"),
    "an operator with a new meaning": (_function, "functions or training graphs"),
    "an operator of a vendor": (_of_vendor, "imports operators of com.microsoft"),
    "more nodes than a model has": (_crowd, "20,006 nodes; 20,000 are allowed"),
    "a sparse terabyte": (_sparse, "sparse tensors"),
    "chance": (
        lambda: _with(helper.make_node("RandomNormalLike", ["s"], ["score"])),
        "RandomNormalLike is not allowed",
    ),
    "as many numbers as a customer has spent": (_spent, "Range takes the size of its output from spent"),
    "a table as wide as a feature says": (_laid_out, "Reshape takes the size of its output from shape"),
    "a constant that is made anew": (_laid_out_unseen, "ConstantOfShape takes the size of its output from told"),
    "text": (
        lambda: _with(
            helper.make_node("Identity", ["s"], ["score"]), helper.make_node("StringNormalizer", ["s"], ["t"])
        ),
        "StringNormalizer is not allowed",
    ),
}
"""What is refused by looking at it, and what is said then."""


def _large_zeros(elements: int) -> list[onnx.NodeProto]:
    """The sum of so many zeros, which changes no score."""
    return [
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["s", "zero"], ["score"]),
    ]


def gigabytes() -> onnx.ModelProto:
    """Some hundred bytes that ask for 14 GiB, when it is loaded or when it runs."""
    elements = 14 * 2**30 // 4
    return _with(*_large_zeros(elements), size=np.array([elements], np.int64))


def gigabytes_for_many_rows() -> onnx.ModelProto:
    """Takes a row times every other row, again and again: little for eight rows, gigabytes for thousands."""
    nodes = [
        helper.make_node("Transpose", ["s"], ["across"], perm=[1, 0]),
        helper.make_node("Mul", ["s", "across"], ["square"]),
        helper.make_node("Unsqueeze", ["square", "axis"], ["thick"]),
        helper.make_node("Expand", ["thick", "copies"], ["copied"]),
        helper.make_node("ReduceSum", ["copied", "axes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "nothing"], ["none"]),
        helper.make_node("Reshape", ["none", "column"], ["of_rows"]),
        helper.make_node("Add", ["s", "of_rows"], ["score"]),
    ]
    return _with(
        *nodes,
        axis=np.array([2], np.int64),
        copies=np.array([1, 1, 1_000], np.int64),
        axes=np.array([1, 2], np.int64),
        nothing=np.array(0, np.float32),
        column=np.array([-1, 1], np.int64),
    )


def cut_short(content: bytes) -> bytes:
    """The first half of a file."""
    return content[: len(content) // 2]


def nested(depth: int = 200_000) -> bytes:
    """Bytes that open one message within another, so deep that a parser that follows runs out of stack."""
    graph_field, node_field, attribute_field, g_field = b"\x3a", b"\x0a", b"\x2a", b"\x32"
    content = b""
    # Lengths grow inwards to outwards, so the innermost message is written first.
    for _ in range(min(depth, 2_000)):
        for field in (g_field, attribute_field, node_field):
            content = field + _varint(len(content)) + content
    return graph_field + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
