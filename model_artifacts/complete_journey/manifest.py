"""The manifest beside a model file: what the server needs to know to feed it, check it and trust it.

Written by hand as TOML (the standard library only reads it); NaN is `nan`.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from model_artifacts.complete_journey.calibration import Calibration, Line, Types
from model_artifacts.complete_journey.features import Matrix
from model_artifacts.complete_journey.metrics import Floats
from model_artifacts.complete_journey.schema import feature_type
from model_artifacts.complete_journey.scores import Scores

Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Training:
    """What a model was fitted on: campaigns that start in [since, until), and their labelled pairs."""

    since: date
    until: date
    labels_until: date
    pairs: int
    positives: int


@dataclass(frozen=True, slots=True)
class Golden:
    """Rows with the answers that the model must give to them, checked whenever it is loaded."""

    features: Matrix
    groups: Types
    output: Floats
    propensity: Floats


def manifest(
    *,
    name: str,
    version: str,
    description: str,
    model_bytes: bytes,
    names: Sequence[str],
    calibration: Calibration,
    training: Training,
    golden: Golden,
    scores: Scores,
) -> Table:
    """The manifest as plain data, in the order in which it is written."""
    return {
        "name": name,
        "version": version,
        "description": description,
        "file": {"path": "model.onnx", "sha256": hashlib.sha256(model_bytes).hexdigest()},
        "output": {"name": "log_odds", "kind": "log_odds"},
        "training": {
            "data": "complete-journey",
            "from": training.since,
            "until": training.until,
            "labels_until": training.labels_until,
            "pairs": training.pairs,
            "positives": training.positives,
        },
        "calibration": {
            "method": "logistic",
            "by": calibration.by,
            "fitted_on": calibration.fitted_on,
            "default": _line(calibration.default),
            "groups": {group: _line(line) for group, line in calibration.groups.items()},
        },
        "scores": scores_table(scores),
        "golden": {
            "groups": golden.groups.tolist(),
            "propensity": golden.propensity.tolist(),
            "output": golden.output.tolist(),
            "inputs": {"features": [[float(str(value)) for value in row] for row in golden.features]},
        },
        "inputs": [{"name": "features", "scope": "pair", "features": [feature_type(name) for name in names]}],
    }


def scores_table(scores: Scores) -> Table:
    return {"edges": list(scores.edges), "shares": list(scores.shares)}


def _line(line: Line) -> Table:
    return {"slope": line.slope, "intercept": line.intercept}


def read(path: Path) -> Table:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def calibration_of(table: Table) -> Calibration:
    """The calibration that a manifest states."""
    stated = table["calibration"]
    groups = {group: Line(**line) for group, line in stated.get("groups", {}).items()}
    return Calibration(Line(**stated["default"]), groups, stated["fitted_on"], stated["by"])


def text(table: Mapping[str, Any]) -> str:
    """The table as TOML: plain values first, then tables, then arrays of tables."""
    return "\n".join(_lines(table, "")).lstrip("\n") + "\n"


def _lines(table: Mapping[str, Any], path: str) -> list[str]:
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    arrays = {key: value for key, value in table.items() if path == "" and _is_array_of_tables(value)}
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if key not in tables and key not in arrays]
    for key, value in tables.items():
        lines += ["", f"[{path}{key}]", *_lines(value, f"{path}{key}.")]
    for key, values in arrays.items():
        for value in values:
            lines += ["", f"[[{key}]]", *_lines(value, f"{key}.")]
    return lines


def _is_array_of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _value(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        nested = bool(value) and isinstance(value[0], list | dict)
        return "[\n" + "".join(f"  {_value(item)},\n" for item in value) + "]" if nested else _flat(value)
    return str(value.isoformat()) if isinstance(value, date) else str(value)


def _flat(values: Sequence[Any]) -> str:
    return "[" + ", ".join(_value(value) for value in values) + "]"


def _float(value: float) -> str:
    if np.isnan(value):
        return "nan"
    shown = repr(value)
    return shown if any(mark in shown for mark in ".en") else f"{shown}.0"
