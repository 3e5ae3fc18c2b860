"""Inspection: what a model file may contain is known before anything of it runs."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from server.inference.inspection import ALLOWED, inspect
from server.inference.manifest import ModelRefusedError
from server.inference.model import load_model
from tests.support.hostile_models import REFUSED_UNSEEN, sized
from tests.support.onnx_files import linear, write_model

SHIPPED = sorted(Path("model_artifacts").glob("*/*/model.onnx"))


@pytest.mark.parametrize("name", REFUSED_UNSEEN)
def test_hostile_model_is_refused_by_looking_at_it(name: str) -> None:
    make, said = REFUSED_UNSEEN[name]

    with pytest.raises(ModelRefusedError, match=said) as refused:
        inspect("tiny/1", make())

    assert str(refused.value).startswith("model tiny/1 refused: ")


@pytest.mark.parametrize("name", REFUSED_UNSEEN)
def test_loading_looks_before_it_runs(tmp_path: Path, name: str) -> None:
    make, said = REFUSED_UNSEEN[name]

    with pytest.raises(ModelRefusedError, match=said):
        load_model(write_model(tmp_path, make().SerializeToString()))


@pytest.mark.parametrize("file", SHIPPED, ids=str)
def test_shipped_models_have_nothing_to_object_to(file: Path) -> None:
    inspect("shipped", onnx.load(file))


SIZED = {
    "Compress": ["s", "told"],
    "ConstantOfShape": ["told"],
    "Expand": ["s", "told"],
    "OneHot": ["whole", "told", "off_on"],
    "Pad": ["s", "told"],
    "Range": ["first", "told", "step"],
    "ReduceMax": ["s", "told"],
    "ReduceSum": ["s", "told"],
    "Reshape": ["s", "told"],
    "Slice": ["s", "zero", "told"],
    "Split": ["s", "told"],
    "Squeeze": ["s", "told"],
    "Tile": ["s", "told"],
    "TopK": ["s", "told"],
    "Unsqueeze": ["s", "told"],
}
"""Operators that have the size or the shape of their output from `told`, with their operands."""


@pytest.mark.parametrize("kind", SIZED)
def test_size_must_not_be_a_matter_of_what_is_in_the_inputs(kind: str) -> None:
    with pytest.raises(ModelRefusedError, match=f"{kind} takes the size of its output from told"):
        inspect("tiny/1", sized(kind, *SIZED[kind]))


@pytest.mark.parametrize("kind", SIZED)
def test_size_may_be_computed_from_how_many_rows_there_are(kind: str) -> None:
    said = [
        onnx.helper.make_node("Shape", ["offer"], ["large"]),
        onnx.helper.make_node("Mul", ["large", "one"], ["told"]),
    ]

    inspect("tiny/1", sized(kind, *SIZED[kind], said=said))


def test_size_may_be_a_constant_within_a_node() -> None:
    value = onnx.numpy_helper.from_array(np.array([2], np.int64))

    inspect("tiny/1", sized("Tile", "s", "told", said=[onnx.helper.make_node("Constant", [], ["told"], value=value)]))


def test_size_of_rows_times_a_feature_is_refused() -> None:
    said = [
        onnx.helper.make_node("Shape", ["offer"], ["large"]),
        onnx.helper.make_node("Mul", ["large", "whole"], ["told"]),
    ]

    with pytest.raises(ModelRefusedError, match="Expand takes the size of its output from told"):
        inspect("tiny/1", sized("Expand", "s", "told", said=said))


def _takes_whole_numbers(schema: onnx.defs.OpSchema) -> bool:
    return any(set(operand.types) <= {"tensor(int32)", "tensor(int64)"} for operand in schema.inputs)


def test_whoever_lets_an_operator_through_has_to_think_of_its_sizes() -> None:
    """Sizes, places and axes are whole numbers; those that only pick what is there already may come from anywhere."""
    harmless = {"CumSum", "Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Trilu"}
    schemas = onnx.defs.get_all_schemas_with_history()
    allowed = [schema for schema in schemas if not schema.domain and ("", schema.name) in ALLOWED]

    passed = set()
    for kind in {schema.name for schema in allowed if _takes_whole_numbers(schema)}:
        try:
            inspect("tiny/1", sized(kind, "s", "told"))
            passed.add(kind)
        except ModelRefusedError as refused:
            assert f"{kind} takes the size of its output" in str(refused)

    assert passed == harmless


def test_every_allowed_operator_is_one_of_onnx() -> None:
    known = {(schema.domain, schema.name) for schema in onnx.defs.get_all_schemas_with_history()}

    assert ALLOWED - known == set()


def test_no_allowed_operator_has_a_graph_of_its_own_or_is_left_to_chance() -> None:
    for domain, name in ALLOWED:
        schema = onnx.defs.get_schema(name, domain=domain)
        kinds = {attribute.type for attribute in schema.attributes.values()}
        assert kinds.isdisjoint({onnx.defs.OpSchema.AttrType.GRAPH, onnx.defs.OpSchema.AttrType.GRAPHS}), name
        assert not name.startswith("Random"), name


def test_model_without_anything_special_passes() -> None:
    inspect("tiny/1", linear())
