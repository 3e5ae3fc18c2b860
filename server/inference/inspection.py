"""What a model file may contain: operators that only compute, and tensors that hold what they say.

ONNX Runtime takes nearly anything: a file of 114 bytes can ask for gigabytes, a tensor can be in another file, a loop
can run for ever. What is let through here is a list of operators without control flow, files, chance or custom code.

How large a tensor becomes must depend on how many rows there are, and never on what is in them: it is tried out with
many rows before the server loads a model, and nobody can try all that customers may bring.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import prod

import onnx
from onnx import AttributeProto, TensorProto

from server.inference.manifest import ModelRefusedError

MAX_NODES = 20_000
MAX_ATTRIBUTE_VALUES = 16_000_000
"""Numbers in one attribute of a node: a boosted model has them there, a few for each node of its trees."""

_MATH = """
    Abs Add And ArgMax ArgMin BatchNormalization Cast Ceil Clip Compress Concat Constant ConstantOfShape Cos CumSum Div
    Dropout Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
    GlobalMaxPool Greater GreaterOrEqual HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max Mean Min Mish Mod Mul Neg Not OneHot Or
    PRelu Pad Pow QuantizeLinear DequantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round ScatterElements ScatterND
    Selu Shape
    Sigmoid Sign Sin Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Swish Tanh ThresholdedRelu Tile TopK
    Transpose Trilu Unsqueeze Where Xor
"""
_CLASSIC = """
    ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LabelEncoder LinearClassifier LinearRegressor Normalizer
    OneHotEncoder Scaler SVMClassifier SVMRegressor TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor
"""
ALLOWED = frozenset({("", name) for name in _MATH.split()} | {("ai.onnx.ml", name) for name in _CLASSIC.split()})
"""The operators that a model may have, each with its domain."""

_SIZED_BY_ALL = frozenset({"ConstantOfShape", "Range"})
"""Operators whose operands all say how large their output is."""

_BY_OTHERS = """
    Compress Expand OneHot Pad ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Reshape Slice Split Squeeze Tile TopK Unsqueeze
"""
_SIZED_BY_OTHERS = frozenset(_BY_OTHERS.split())
"""Those whose operands behind the first say so. Some never give more than they get, but what has another shape may grow
in the next operator: a column times itself as a row."""

_BYTES: dict[int, int] = {
    TensorProto.FLOAT: 4, TensorProto.DOUBLE: 8, TensorProto.FLOAT16: 2, TensorProto.BFLOAT16: 2,
    TensorProto.INT8: 1, TensorProto.UINT8: 1, TensorProto.BOOL: 1, TensorProto.INT16: 2, TensorProto.UINT16: 2,
    TensorProto.INT32: 4, TensorProto.UINT32: 4, TensorProto.INT64: 8, TensorProto.UINT64: 8,
}  # fmt: skip
_VALUES: dict[int, str] = {
    TensorProto.FLOAT: "float_data", TensorProto.DOUBLE: "double_data", TensorProto.INT64: "int64_data",
    TensorProto.UINT64: "uint64_data", TensorProto.UINT32: "uint64_data", TensorProto.STRING: "string_data",
}  # fmt: skip


def inspect(model: str, content: onnx.ModelProto) -> None:
    """Looks at everything that a file contains, and runs none of it.

    Args:
        model: `name/version`, for the error.

    Raises:
        ModelRefusedError: it has what no model may have; the first that was found is named.
    """
    for problem in _problems(content):
        raise ModelRefusedError(model, problem)


def _problems(content: onnx.ModelProto) -> Iterator[str]:
    graph = content.graph
    if content.functions or content.training_info:
        yield "it has functions or training graphs of its own"
    domains = {_domain(opset.domain) for opset in content.opset_import}
    if strange := sorted(domains - {domain for domain, _ in ALLOWED}):
        yield f"it imports operators of {', '.join(strange)}"
    if len(graph.node) > MAX_NODES:
        yield f"it has {len(graph.node):,} nodes; {MAX_NODES:,} are allowed"
    if graph.sparse_initializer:
        yield "it has sparse tensors"
    for tensor in graph.initializer:
        yield from _problems_of_tensor(tensor)
    for node in graph.node:
        yield from _problems_of_node(node)
    yield from _problems_of_sizes(graph)


def _problems_of_sizes(graph: onnx.GraphProto) -> Iterator[str]:
    """What says how large a tensor becomes is made of constants and of sizes of other tensors alone."""
    made = {name for node in graph.node for name in node.output}
    # An operand that is left out has no name.
    known = {tensor.name for tensor in graph.initializer} - made | {""}
    # The nodes of an ONNX graph are sorted topologically; where they are not, what is not known yet is refused.
    for node in graph.node:
        for name in _operands_of_size(node):
            if name not in known:
                yield f"{node.op_type} takes the size of its output from {name}, which inputs may say"
        if node.op_type == "Shape" or known.issuperset(node.input):
            known.update(node.output)


def _operands_of_size(node: onnx.NodeProto) -> Sequence[str]:
    if node.op_type in _SIZED_BY_ALL:
        return node.input
    return node.input[1:] if node.op_type in _SIZED_BY_OTHERS else ()


def _problems_of_node(node: onnx.NodeProto) -> Iterator[str]:
    if (_domain(node.domain), node.op_type) not in ALLOWED:
        yield f"its operator {node.domain + '.' if node.domain else ''}{node.op_type} is not allowed"
    for attribute in node.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            yield f"{node.op_type}.{attribute.name} is a graph of its own"
        if attribute.type in (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS):
            yield f"{node.op_type}.{attribute.name} is a sparse tensor"
        if max(len(attribute.floats), len(attribute.ints), len(attribute.strings)) > MAX_ATTRIBUTE_VALUES:
            yield f"{node.op_type}.{attribute.name} has more than {MAX_ATTRIBUTE_VALUES:,} values"
        yield from _problems_of_tensors([attribute.t] if attribute.HasField("t") else attribute.tensors)


def _problems_of_tensors(tensors: Iterable[TensorProto]) -> Iterator[str]:
    for tensor in tensors:
        yield from _problems_of_tensor(tensor)


def _problems_of_tensor(tensor: TensorProto) -> Iterator[str]:
    """A tensor has all of its values with it, as many as its shape says."""
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        yield f"tensor {tensor.name} keeps its values in another file"
        return
    if any(size < 0 for size in tensor.dims):
        yield f"tensor {tensor.name} has a negative size"
        return
    count = prod(tensor.dims)
    if tensor.HasField("raw_data"):
        size = _BYTES.get(tensor.data_type)
        fits = size is not None and len(tensor.raw_data) == count * size
    else:
        fits = len(getattr(tensor, _VALUES.get(tensor.data_type, "int32_data"))) == count
    if not fits:
        yield f"tensor {tensor.name} has not as many values as its shape says"


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
