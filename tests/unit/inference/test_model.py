import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from server.domain.model import Model, ModelFailure, OutputKind, Scope, ScoreReference
from server.inference.manifest import MAX_MANIFEST_BYTES, ModelRefusedError
from server.inference.model import MAX_MODEL_BYTES, load_model, load_models
from tests.support.onnx_files import edit_manifest, graph, linear, write_model

CUSTOMER = np.array([[2.0, 1.0]], np.float32)
OFFERS = np.array([[1.0], [3.0], [-2.0]], np.float32)


def refusal(folder: Path) -> str:
    with pytest.raises(ModelRefusedError) as refused:
        load_model(folder)
    return str(refused.value)


def dividing() -> onnx.ModelProto:
    """Gives what `linear()` gives for the golden rows, and no number for an offer of zero."""
    nodes = [
        helper.make_node("MatMul", ["customer", "wc"], ["c"]),
        helper.make_node("Div", ["offer", "offer"], ["one"]),
        helper.make_node("Mul", ["one", "offer"], ["same"]),
        helper.make_node("MatMul", ["same", "wo"], ["o"]),
        helper.make_node("Add", ["c", "o"], ["score"]),
    ]
    weights = {"wc": np.array([[1.0], [-1.0]], np.float32), "wo": np.array([[0.5]], np.float32)}
    return graph(nodes, {"customer": [1, 2], "offer": ["N", 1]}, weights)


def test_verified_model_scores_its_rows(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path))

    tensors = model.precompute({"offer": OFFERS})
    scores = model.run({"customer": CUSTOMER, **{name: rows[[2, 0]] for name, rows in tensors.items()}})

    np.testing.assert_allclose(scores, [0.0, 1.5], atol=1e-6)
    assert scores.dtype == np.float32


def test_manifest_says_what_the_model_is(tmp_path: Path) -> None:
    model: Model = load_model(write_model(tmp_path))

    assert model.manifest.id == "tiny/1"
    assert [entry.scope for entry in model.manifest.inputs] == [Scope.CUSTOMER, Scope.OFFER]
    assert model.manifest.output_kind is OutputKind.LOG_ODDS
    assert model.manifest.calibration.by == "offer.kind"


def test_all_versions_below_a_folder_are_loaded_by_id(tmp_path: Path) -> None:
    write_model(tmp_path)

    assert list(load_models(tmp_path)) == ["tiny/1"]
    assert load_models(tmp_path / "nothing") == {}


def test_one_refused_model_refuses_all(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    (folder.parent / "2").mkdir()
    (folder.parent / "2" / "manifest.toml").write_text("name = 'tiny'")

    with pytest.raises(ModelRefusedError, match="tiny/2"):
        load_models(tmp_path)


def test_file_with_another_hash_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    (folder / "model.onnx").write_bytes(linear(offer=(0.75,)).SerializeToString())

    found = refusal(folder)

    assert "model tiny/1 refused" in found
    assert "sha256" in found


def test_no_flipped_bit_is_ever_served(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    path = folder / "model.onnx"
    content = path.read_bytes()
    chance = random.Random(1)

    for bit in chance.sample(range(len(content) * 8), 100):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert "sha256" in refusal(folder)


@pytest.mark.parametrize("size", [0, 1, 100])
def test_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    folder = write_model(tmp_path)
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:size])

    assert "sha256" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256)), b"\x08\x08"])
def test_file_that_is_no_model_is_refused_even_with_the_right_hash(tmp_path: Path, content: bytes) -> None:
    assert "model tiny/1 refused" in refusal(write_model(tmp_path, content))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    (folder / "model.onnx").unlink()

    assert "cannot read model.onnx" in refusal(folder)


def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()

    assert "cannot read model.onnx" in refusal(folder)


def test_missing_manifest_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    (folder / "manifest.toml").unlink()

    assert "cannot read manifest.toml" in refusal(folder)


def test_oversized_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    with (folder / "model.onnx").open("r+b") as file:
        file.truncate(MAX_MODEL_BYTES + 1)

    assert "larger than" in refusal(folder)


def test_oversized_manifest_is_refused_without_reading_it(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    with (folder / "manifest.toml").open("r+b") as file:
        file.truncate(MAX_MANIFEST_BYTES + 1)

    assert "larger than" in refusal(folder)


@pytest.mark.parametrize(
    "path", ["../1/model.onnx", "/etc/passwd", "sub/model.onnx", "..", "model.onnx/..", "model", "", "model.onnx\\n"]
)
def test_manifest_names_no_file_outside_its_folder(tmp_path: Path, path: str) -> None:
    assert "file.path" in refusal(write_model(tmp_path, path=path))


def test_model_with_data_outside_its_file_is_refused(tmp_path: Path) -> None:
    model = linear()
    weights = model.graph.initializer[0]
    (tmp_path / "weights.bin").write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../weights.bin")

    assert "model tiny/1 refused" in refusal(write_model(tmp_path, model))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('name = "tiny"', 'name = "other"', "is of other/1"),
        ('version = "1"', 'version = "2"', "is of tiny/2"),
        ('sha256 = "', 'sha256 = "z', "file.sha256"),
        ('kind = "log_odds"', 'kind = "odds"', "output.kind"),
        ('scope = "offer"', 'scope = "catalog"', "scope"),
        ('method = "logistic"', 'method = "isotonic"', "calibration.method"),
        ('by = "offer.kind"', 'by = "customer.kind"', "calibration.by"),
        ("slope = 2.0", "slope = nan", "slope"),
        ("slope = 2.0", "slope = inf", "slope"),
        ('data = "made up"', "", "training.data"),
        ("output = [1.5, 2.5]", "output = []", "golden"),
        ("output = [1.5, 2.5]", "output = [1.5]", "one length"),
        ('groups = ["X", "Y"]', 'groups = ["X"]', "one length"),
        ("customer = [[2.0, 1.0]]", "customer = [[2.0]]", "golden.inputs.customer"),
        ("customer = [[2.0, 1.0]]", "customers = [[2.0, 1.0]]", "exactly the inputs"),
        ("offer = [[1.0], [3.0]]", "offer = [[1.0]]", "golden.inputs.offer"),
        ("[output]", "[outputs]", "outputs"),
        ("[output]", "[output", "cannot read manifest.toml"),
        ('data = "made up"', 'data = "\x00"', "cannot read manifest.toml"),
    ],
)
def test_manifest_that_says_something_impossible_is_refused(
    tmp_path: Path, before: str, after: str, words: str
) -> None:
    folder = write_model(tmp_path)
    edit_manifest(folder, before, after)

    assert words in refusal(folder)


def test_manifest_that_is_not_text_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    (folder / "manifest.toml").write_bytes(b"\xff\xfe")

    assert "cannot read manifest.toml" in refusal(folder)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('name = "customer"', 'name = "household"', "exactly the inputs"),
        (
            '{ name = "offer.c", type = "number" }',
            '{ name = "offer.c", type = "number" }, { name = "offer.d", type = "number" }',
            "2",
        ),
    ],
)
def test_manifest_whose_features_do_not_fit_its_golden_rows_is_refused(
    tmp_path: Path, before: str, after: str, words: str
) -> None:
    folder = write_model(tmp_path)
    edit_manifest(folder, before, after)

    assert words in refusal(folder)


def other_names() -> onnx.ModelProto:
    model = linear()
    for node in model.graph.node:
        node.input[:] = ["shopper" if name == "customer" else name for name in node.input]
    model.graph.input[0].name = "shopper"
    return model


def other_output() -> onnx.ModelProto:
    model = linear()
    model.graph.node[-1].output[0] = model.graph.output[0].name = "propensity"
    return model


def fixed_rows() -> onnx.ModelProto:
    model = linear()
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 2
    return model


def doubles() -> onnx.ModelProto:
    model = linear()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    return model


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (other_names(), "its inputs are ['offer', 'shopper']"),
        (linear(customer=(1.0,)), "input customer is not float32 [1, 2]"),
        (linear(offer=(1.0, 2.0)), "input offer is not float32 [N, 1]"),
        (fixed_rows(), "input offer is not float32 [N, 1]"),
        (doubles(), "input customer is not float32"),
        (other_output(), "no float output named score"),
    ],
)
def test_graph_that_takes_or_gives_something_else_is_refused(
    tmp_path: Path, model: onnx.ModelProto, words: str
) -> None:
    assert words in refusal(write_model(tmp_path, model))


def test_model_that_scores_otherwise_than_its_golden_rows_is_refused(tmp_path: Path) -> None:
    assert "golden output differs by" in refusal(write_model(tmp_path, linear(offer=(0.5001,))))


def test_calibration_that_gives_other_propensities_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    edit_manifest(folder, "slope = 2.0", "slope = 2.001")

    assert "golden propensity differs by" in refusal(folder)


@pytest.mark.parametrize("output", ["[nan, 2.5]", "[inf, 2.5]"])
def test_golden_rows_that_are_no_numbers_are_refused(tmp_path: Path, output: str) -> None:
    assert "refused" in refusal(write_model(tmp_path, output=output))


def test_model_that_gives_no_number_for_its_golden_rows_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path, dividing())
    edit_manifest(folder, "offer = [[1.0], [3.0]]", "offer = [[1.0], [0.0]]")

    assert "not a finite number" in refusal(folder)


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_score_that_is_no_finite_number_is_a_failure_and_not_a_score(tmp_path: Path, bad: float) -> None:
    model = load_model(write_model(tmp_path, dividing()))
    tensors = model.precompute({"offer": np.array([[1.0], [bad]], np.float32)})

    with pytest.raises(ModelFailure, match="tiny/1"):
        model.run({"customer": CUSTOMER, **tensors})


@pytest.mark.parametrize(
    "inputs", [{}, {"customer": CUSTOMER}, {"customer": np.zeros((1, 5), np.float32), "o": OFFERS}]
)
def test_inputs_that_do_not_fit_are_a_failure(tmp_path: Path, inputs: dict[str, np.ndarray]) -> None:
    model = load_model(write_model(tmp_path))

    with pytest.raises(ModelFailure, match="tiny/1"):
        model.run(inputs)


def test_offers_that_do_not_fit_are_a_failure(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path))

    with pytest.raises(ModelFailure, match="tiny/1"):
        model.precompute({"offer": np.zeros((3, 7), np.float32)})


def test_manifest_may_say_how_scores_were_spread_in_training(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    without = load_model(folder).manifest.scores

    edit_manifest(folder, "[golden]", "[scores]\nedges = [0.1, 0.5]\nshares = [0.2, 0.3, 0.5]\n\n[golden]")

    assert without is None
    assert load_model(folder).manifest.scores == ScoreReference((0.1, 0.5), (0.2, 0.3, 0.5))


@pytest.mark.parametrize(
    ("edges", "shares"),
    [
        ("[]", "[1.0]"),
        ("[0.5, 0.1]", "[0.2, 0.3, 0.5]"),
        ("[0.5, 0.5]", "[0.2, 0.3, 0.5]"),
        ("[0.5]", "[0.2, 0.3, 0.5]"),
        ("[0.5]", "[0.2, 0.3]"),
        ("[1.5]", "[0.5, 0.5]"),
        ("[0.5]", "[1.5, -0.5]"),
        ("[nan]", "[0.5, 0.5]"),
    ],
)
def test_scores_that_are_not_spread_over_bins_are_refused(tmp_path: Path, edges: str, shares: str) -> None:
    folder = write_model(tmp_path)
    edit_manifest(folder, "[golden]", f"[scores]\nedges = {edges}\nshares = {shares}\n\n[golden]")

    assert "scores" in refusal(folder)
