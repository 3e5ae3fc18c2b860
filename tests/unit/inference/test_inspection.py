"""Inspection: what a model file may contain is known before anything of it runs."""

from pathlib import Path

import onnx
import pytest

from server.inference.inspection import ALLOWED, inspect
from server.inference.manifest import ModelRefusedError
from server.inference.model import load_model
from tests.support.hostile_models import REFUSED_UNSEEN
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
