"""Reads `manifest.toml`, which says what a model file must be before it may be served."""

import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from server.domain.attribute import AttributeType
from server.domain.identifier import ID_PATTERN
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

MANIFEST = "manifest.toml"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024

_Id = Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN}$")]


class ModelRefusedError(Exception):
    """A model that may not be served: which, and why."""

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(f"model {model} refused: {problem}")
        self.problem = problem


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _File(_Document):
    path: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+\.onnx$")]
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class _Feature(_Document):
    name: str
    type: Literal["number", "boolean", "category", "timestamp_age"]
    values: list[str] = []


class _Input(_Document):
    name: str
    scope: Literal["customer", "offer", "pair"]
    features: list[_Feature] = Field(min_length=1)


class _Output(_Document):
    name: str
    kind: Literal["log_odds", "probability"]


class _Line(_Document):
    slope: float = Field(allow_inf_nan=False)
    intercept: float = Field(allow_inf_nan=False)


class _Calibration(_Document):
    method: Literal["logistic", "none"]
    by: Annotated[str, StringConstraints(pattern=r"^offer\.\w+$")] | None = None
    fitted_on: str = ""
    default: _Line = _Line(slope=1.0, intercept=0.0)
    groups: dict[str, _Line] = {}


class _Training(_Document):
    model_config = ConfigDict(extra="allow")
    data: str
    from_: Annotated[date | None, Field(alias="from")] = None
    until: date | None = None


class _Golden(_Document):
    output: list[float] = Field(min_length=1)
    propensity: list[float]
    inputs: dict[str, list[list[float]]]
    groups: list[str] = []


class _Manifest(_Document):
    name: _Id
    version: _Id
    description: str = ""
    file: _File
    inputs: list[_Input] = Field(min_length=1)
    output: _Output
    calibration: _Calibration
    training: _Training
    golden: _Golden

    @model_validator(mode="after")
    def _golden_fits(self) -> Self:
        names = {entry.name for entry in self.inputs}
        if set(self.golden.inputs) != names:
            raise ValueError("golden.inputs must name exactly the inputs")
        rows = len(self.golden.output)
        if len(self.golden.propensity) != rows or len(self.golden.groups) not in (0, rows):
            raise ValueError("golden.output, golden.propensity and golden.groups must be of one length")
        for entry in self.inputs:
            vectors = self.golden.inputs[entry.name]
            wanted = 1 if entry.scope == "customer" else rows
            if len(vectors) != wanted or any(len(vector) != len(entry.features) for vector in vectors):
                raise ValueError(f"golden.inputs.{entry.name} must be {wanted} rows of {len(entry.features)} features")
        return self


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the model version in a folder.

    Raises:
        ModelRefusedError: the manifest is missing, too large, not TOML, or says something impossible; the model is
            named by its folder, `name/version`.
    """
    model = f"{folder.parent.name}/{folder.name}"
    path = folder / MANIFEST
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ModelRefusedError(model, f"{MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")
        document = _Manifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise ModelRefusedError(model, f"cannot read {MANIFEST}: {problem}") from problem
    except ValidationError as problem:
        listed = "; ".join(f"{'.'.join(map(str, e['loc'])) or MANIFEST}: {e['msg']}" for e in problem.errors())
        raise ModelRefusedError(model, listed) from problem
    if (document.name, document.version) != (folder.parent.name, folder.name):
        raise ModelRefusedError(model, f"{MANIFEST} is of {document.name}/{document.version}")
    return _to_domain(document, folder)


def _to_domain(document: _Manifest, folder: Path) -> Manifest:
    calibration, golden = document.calibration, document.golden
    return Manifest(
        name=document.name,
        version=document.version,
        file=folder / document.file.path,
        sha256=document.file.sha256,
        inputs=tuple(
            ModelInput(
                entry.name,
                Scope(entry.scope),
                tuple(Feature(f.name, AttributeType(f.type), tuple(f.values)) for f in entry.features),
            )
            for entry in document.inputs
        ),
        output=document.output.name,
        output_kind=OutputKind(document.output.kind),
        calibration=Calibration(
            default=CalibrationLine(calibration.default.slope, calibration.default.intercept),
            by=calibration.by,
            groups={group: CalibrationLine(line.slope, line.intercept) for group, line in calibration.groups.items()},
        ),
        golden=Golden(
            inputs={name: np.array(rows, np.float32) for name, rows in golden.inputs.items()},
            output=np.array(golden.output, np.float32),
            propensity=np.array(golden.propensity, np.float64),
            groups=tuple(golden.groups),
        ),
    )
