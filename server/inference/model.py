"""ONNX models: loaded only when file, tensors and golden vectors are what the manifest says.

ONNX Runtime checks next to nothing itself: most files with a flipped bit load and score differently. So the hash
decides whether the file is the one that was released, and the golden vectors whether it scores as it did then.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from server.domain.attribute import FloatRow
from server.domain.model import Manifest, ModelFailure, Scope
from server.inference.calibration import propensities
from server.inference.manifest import MANIFEST, ModelRefusedError, read_manifest

MAX_MODEL_BYTES = 256 * 1024 * 1024
GOLDEN_TOLERANCE = 1e-5


class OnnxModel:
    """A verified model. `run` works on the calling thread, without spinning: a call costs about 14 us plus the rows."""

    def __init__(self, manifest: Manifest, content: bytes) -> None:
        self._manifest = manifest
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._outputs = [manifest.output]

    @property
    def manifest(self) -> Manifest:
        """What the model takes and gives."""
        return self._manifest

    def run(self, inputs: Mapping[str, FloatRow]) -> FloatRow:
        """Scores the rows: float32 [rows], raw, of the manifest's output kind.

        Raises:
            ModelFailure: ONNX Runtime failed, or a score is not a finite number.
        """
        try:
            scores: FloatRow = self._session.run(self._outputs, inputs)[0].reshape(-1)
        except Exception as problem:  # ONNX Runtime raises its own family of exceptions, which has no public base.
            raise ModelFailure(f"{self._manifest.id}: {type(problem).__name__}") from problem
        # One sum tells whether any score is NaN or infinite.
        if not np.isfinite(scores.sum()):
            raise ModelFailure(f"{self._manifest.id}: a score is not a finite number")
        return scores

    def tensors(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The inputs and outputs that the file itself declares, as name to (type, shape)."""
        inputs = {node.name: (node.type, node.shape) for node in self._session.get_inputs()}
        outputs = {node.name: (node.type, node.shape) for node in self._session.get_outputs()}
        return inputs, outputs


def load_models(root: Path) -> dict[str, OnnxModel]:
    """Every model version below a folder, verified, by `name/version`.

    Raises:
        ModelRefusedError: one of them is not what its manifest says; nothing is loaded then.
    """
    folders = sorted(path.parent for path in root.glob(f"*/*/{MANIFEST}"))
    return {f"{folder.parent.name}/{folder.name}": load_model(folder) for folder in folders}


def load_model(folder: Path) -> OnnxModel:
    """Loads and verifies the model version in a folder `…/name/version`.

    Raises:
        ModelRefusedError: hash, inputs, output or golden vectors differ from the manifest.
    """
    manifest = read_manifest(folder)
    content = _verified_content(manifest)
    try:
        model = OnnxModel(manifest, content)
    except Exception as problem:  # As in run: ONNX Runtime's exceptions have no public base.
        raise ModelRefusedError(manifest.id, f"ONNX Runtime cannot load it: {problem}") from problem
    _verify_tensors(model)
    _verify_golden(model)
    return model


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


def _verify_tensors(model: OnnxModel) -> None:
    manifest = model.manifest
    inputs, outputs = model.tensors()
    declared = {entry.name for entry in manifest.inputs}
    if set(inputs) != declared:
        raise ModelRefusedError(manifest.id, f"its inputs are {sorted(inputs)}, the manifest says {sorted(declared)}")
    for entry in manifest.inputs:
        type_, shape = inputs[entry.name]
        rows = shape[0] if len(shape) == 2 else None
        fixed_rows = rows == 1 if entry.scope is Scope.CUSTOMER else not isinstance(rows, int)
        # A customer input may also leave its number of rows open; it always gets one.
        fits = type_ == "tensor(float)" and len(shape) == 2 and shape[1] == len(entry.features)
        if not fits or not (fixed_rows or (entry.scope is Scope.CUSTOMER and not isinstance(rows, int))):
            wanted = f"float32 [{'1' if entry.scope is Scope.CUSTOMER else 'N'}, {len(entry.features)}]"
            raise ModelRefusedError(manifest.id, f"input {entry.name} is {type_} {shape}, the manifest says {wanted}")
    if manifest.output not in outputs or outputs[manifest.output][0] != "tensor(float)":
        raise ModelRefusedError(manifest.id, f"it has no float output named {manifest.output}")


def _verify_golden(model: OnnxModel) -> None:
    manifest, golden = model.manifest, model.manifest.golden
    try:
        output = model.run(golden.inputs)
    except ModelFailure as problem:
        raise ModelRefusedError(manifest.id, f"golden vectors: {problem}") from problem
    if len(output) != len(golden.output):
        raise ModelRefusedError(manifest.id, f"{len(golden.output)} golden rows gave {len(output)} scores")
    groups = golden.groups or (None,) * len(output)
    calibrated = propensities(output, manifest.output_kind, *manifest.calibration.lines(groups))
    for name, found, wanted in (
        ("output", output, golden.output),
        ("propensity", calibrated, golden.propensity),
    ):
        difference = float(np.max(np.abs(found - wanted)))
        if not difference <= GOLDEN_TOLERANCE:
            raise ModelRefusedError(manifest.id, f"golden {name} differs by {difference:.2g}")
