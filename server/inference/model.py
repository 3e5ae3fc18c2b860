"""ONNX models: loaded only when file, tensors and golden vectors are what the manifest says.

ONNX Runtime checks next to nothing itself: most files with a flipped bit load and score differently. So the hash
decides whether the file is the one that was released, and the golden vectors whether it scores as it did then.
"""

import hashlib
import math
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from server.domain.attribute import FloatRow
from server.domain.model import RUN_LIMIT_NS, Golden, Manifest, ModelFailure, ModelTimeout, Scope
from server.inference.calibration import propensities
from server.inference.inspection import inspect
from server.inference.manifest import MANIFEST, ModelRefusedError, read_manifest
from server.inference.partition import Partition, partition
from server.inference.watchdog import Watchdog

MAX_MODEL_BYTES = 256 * 1024 * 1024
GOLDEN_TOLERANCE = 1e-5
PRECOMPUTE_LIMIT_NS = 10_000_000_000
"""How long the offer part may take for all offers of a catalog."""


class OnnxModel:
    """A model in two parts, one run for each catalog and one for each request.

    Runs work on the calling thread, without spinning: a call costs about 14 us plus the rows.
    """

    def __init__(self, manifest: Manifest, model: onnx.ModelProto, watchdog: Watchdog | None = None) -> None:
        """Makes the sessions; a process needs one watchdog for all its models."""
        self._manifest = manifest
        self._watchdog = watchdog or Watchdog()
        offer_inputs = [entry.name for entry in manifest.inputs if entry.scope is Scope.OFFER]
        self._outputs = [manifest.output]
        self._split(partition(model, offer_inputs))
        if self._offer_part is not None and not self._is_row_by_row(manifest.golden):
            self._split(Partition(None, model, tuple(offer_inputs)))

    def _split(self, parts: Partition) -> None:
        self._boundary = parts.boundary
        self._offer_part = None if parts.offer_part is None else _session(parts.offer_part)
        self._request_part = _session(parts.request_part)

    def _is_row_by_row(self, golden: Golden) -> bool:
        """Whether what is computed in advance for offers may be picked apart again, offer by offer."""
        offers = {
            entry.name: golden.inputs[entry.name] for entry in self._manifest.inputs if entry.scope is Scope.OFFER
        }
        once = self.precompute(offers)
        twice = self.precompute({name: np.concatenate([rows, rows[::-1]]) for name, rows in offers.items()})
        count = len(golden.output)
        return all(
            rows.ndim > 0
            and len(rows) == count
            and len(twice[name]) == 2 * count
            and np.allclose(twice[name], np.concatenate([rows, rows[::-1]]), rtol=1e-5, atol=1e-6, equal_nan=True)
            for name, rows in once.items()
        )

    @property
    def manifest(self) -> Manifest:
        """What the model takes and gives."""
        return self._manifest

    def precompute(self, offers: Mapping[str, FloatRow]) -> dict[str, FloatRow]:
        """Computes what depends on offers alone: the inputs of scope offer, to float32 [offers, …] for `run`.

        Raises:
            ModelTimeout: it took longer than `PRECOMPUTE_LIMIT_NS`.
            ModelFailure: ONNX Runtime failed.
        """
        if self._offer_part is None:
            return dict(offers)
        tensors = self._limited(self._offer_part, list(self._boundary), offers, PRECOMPUTE_LIMIT_NS)
        return dict(zip(self._boundary, tensors, strict=True))

    def run(self, inputs: Mapping[str, FloatRow], limit_ns: int = RUN_LIMIT_NS) -> FloatRow:
        """Scores rows: float32 [rows], raw, of the manifest's output kind.

        Args:
            inputs: The inputs of scope customer and pair, and the rows of what `precompute` gave.
            limit_ns: How long the run may take. It is cut off between two nodes of the graph; see `Watchdog`.

        Raises:
            ModelTimeout: the run was cut off.
            ModelFailure: ONNX Runtime failed, or a score is not a finite number.
        """
        scores: FloatRow = self._limited(self._request_part, self._outputs, inputs, limit_ns)[0].reshape(-1)
        # The sum of squares tells whether any score is NaN or infinite, or so large that it may as well be.
        if not math.isfinite(scores.dot(scores)):
            raise ModelFailure(f"{self._manifest.id}: a score is not a finite number")
        return scores

    def _limited(
        self, session: onnxruntime.InferenceSession, outputs: list[str], inputs: Mapping[str, FloatRow], limit_ns: int
    ) -> Sequence[FloatRow]:
        """Runs a session, and gives what it gave, even late: scores that are there are better than none."""
        options = self._watchdog.begin(limit_ns)
        try:
            tensors: Sequence[FloatRow] = session.run(outputs, inputs, options)
        except Exception as problem:  # ONNX Runtime raises its own family of exceptions, which has no public base.
            # A run that was ended fails like any other (onnxruntime#20999), so the watchdog has to say which it was.
            if self._watchdog.end(options):
                raise ModelTimeout(f"{self._manifest.id}: cut off after {limit_ns / 1e6:.1f} ms") from problem
            raise ModelFailure(f"{self._manifest.id}: {type(problem).__name__}") from problem
        self._watchdog.end(options)
        return tensors


def load_models(
    root: Path, inspected: Mapping[str, str] | None = None, watchdog: Watchdog | None = None
) -> dict[str, OnnxModel]:
    """Every model version below a folder, verified, by `name/version`; one watchdog for all of them.

    Args:
        inspected: The hashes of the files that were inspected, by `name/version`; None to take any.

    Raises:
        ModelRefusedError: one of them is not what its manifest says, or not what was inspected; nothing is loaded then.
    """
    folders = sorted(path.parent for path in root.glob(f"*/*/{MANIFEST}"))
    watchdog = watchdog or Watchdog()
    models = {}
    for folder in folders:
        name = f"{folder.parent.name}/{folder.name}"
        models[name] = load_model(folder, watchdog, None if inspected is None else inspected.get(name, ""))
    return models


def load_model(folder: Path, watchdog: Watchdog | None = None, sha256: str | None = None) -> OnnxModel:
    """Loads and verifies the model version in a folder `…/name/version`.

    Args:
        sha256: What the file's hash must be; None for what the manifest says.

    Raises:
        ModelRefusedError: contents, hash, inputs, output or golden vectors are not as they must be.
    """
    steps = load_in_steps(folder, watchdog, sha256)
    while True:
        try:
            next(steps)
        except StopIteration as loaded:
            model: OnnxModel = loaded.value
            return model


def load_in_steps(
    folder: Path, watchdog: Watchdog | None = None, sha256: str | None = None
) -> Generator[None, None, OnnxModel]:
    """As `load_model`, a few milliseconds at a time for models of some thousand nodes; others may work in between.

    Raises:
        ModelRefusedError: as `load_model`.
    """
    manifest = read_manifest(folder)
    if sha256 is not None and manifest.sha256 != sha256:
        raise ModelRefusedError(manifest.id, "it has changed since it was inspected")
    yield
    content = _verified_content(manifest)
    yield
    try:
        graph = onnx.load_model_from_string(content)
        inspect(manifest.id, graph)
        _verify_tensors(manifest, graph.graph)
        yield
        model = OnnxModel(manifest, graph, watchdog)
    except ModelRefusedError:
        raise
    except Exception as problem:  # The exceptions of onnx and ONNX Runtime have no common public base.
        raise ModelRefusedError(manifest.id, f"it cannot be loaded: {problem}") from problem
    yield
    _verify_golden(model)
    return model


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _verified_content(manifest: Manifest) -> bytes:
    try:
        if manifest.file.stat().st_size > MAX_MODEL_BYTES:
            raise ModelRefusedError(manifest.id, f"the file is larger than {MAX_MODEL_BYTES} bytes")
        content = manifest.file.read_bytes()
    except OSError as problem:
        raise ModelRefusedError(manifest.id, f"cannot read {manifest.file.name}: {problem.strerror}") from problem
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.sha256:
        raise ModelRefusedError(manifest.id, f"its sha256 is {found}, the manifest says {manifest.sha256}")
    return content


def _verify_tensors(manifest: Manifest, graph: onnx.GraphProto) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in constants}
    declared = {entry.name for entry in manifest.inputs}
    if set(inputs) != declared:
        raise ModelRefusedError(manifest.id, f"its inputs are {sorted(inputs)}, the manifest says {sorted(declared)}")
    for entry in manifest.inputs:
        rows = 1 if entry.scope is Scope.CUSTOMER else None
        if not _is_float_matrix(inputs[entry.name], rows, len(entry.features)):
            wanted = f"float32 [{rows or 'N'}, {len(entry.features)}]"
            raise ModelRefusedError(manifest.id, f"input {entry.name} is not {wanted}, as the manifest says")
    outputs = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    if outputs.get(manifest.output) != onnx.TensorProto.FLOAT:
        raise ModelRefusedError(manifest.id, f"it has no float output named {manifest.output}")


def _is_float_matrix(value: onnx.ValueInfoProto, rows: int | None, columns: int) -> bool:
    """Whether a tensor is float32 [rows, columns]; its number of rows must be open unless it is given."""
    tensor = value.type.tensor_type
    shape = [dimension.dim_value for dimension in tensor.shape.dim]
    # An open dimension has the value 0.
    return tensor.elem_type == onnx.TensorProto.FLOAT and shape in ([rows or 0, columns], [0, columns])


def _verify_golden(model: OnnxModel) -> None:
    manifest, golden = model.manifest, model.manifest.golden
    of_offers = {entry.name for entry in manifest.inputs if entry.scope is Scope.OFFER}
    try:
        tensors = model.precompute({name: rows for name, rows in golden.inputs.items() if name in of_offers})
        output = model.run({name: rows for name, rows in golden.inputs.items() if name not in of_offers} | tensors)
    except ModelFailure as problem:
        raise ModelRefusedError(manifest.id, f"golden vectors: {problem}") from problem
    if len(output) != len(golden.output):
        raise ModelRefusedError(manifest.id, f"{len(golden.output)} golden rows gave {len(output)} scores")
    groups = golden.groups or (None,) * len(output)
    calibrated = propensities(output, manifest.output_kind, *manifest.calibration.lines(groups))
    for name, found, wanted in (("output", output, golden.output), ("propensity", calibrated, golden.propensity)):
        difference = float(np.max(np.abs(found - wanted)))
        if not difference <= GOLDEN_TOLERANCE:
            raise ModelRefusedError(manifest.id, f"golden {name} differs by {difference:.2g}")
