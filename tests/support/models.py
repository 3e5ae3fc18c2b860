"""Models that score what a test says, without ONNX."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from server.domain.attribute import AttributeType, FloatRow
from server.domain.model import (
    Calibration,
    CalibrationLine,
    Feature,
    Golden,
    Manifest,
    ModelFailure,
    ModelInput,
    OutputKind,
    Scope,
)

APPEAL = (ModelInput("offer", Scope.OFFER, (Feature("offer.appeal", AttributeType.NUMBER),)),)
"""One input: the offers' own attribute `appeal`."""

Score = Callable[[Mapping[str, FloatRow]], FloatRow]


def manifest(
    model_id: str = "fake/1",
    inputs: tuple[ModelInput, ...] = APPEAL,
    output_kind: OutputKind = OutputKind.PROBABILITY,
    calibration: Calibration | None = None,
) -> Manifest:
    """A manifest for a model that has no file."""
    name, _, version = model_id.partition("/")
    return Manifest(
        name=name,
        version=version,
        file=Path("model.onnx"),
        sha256="",
        inputs=inputs,
        output="score",
        output_kind=output_kind,
        calibration=calibration or Calibration(CalibrationLine()),
        golden=Golden({}, np.empty(0, np.float32), np.empty(0), ()),
    )


def appeal(inputs: Mapping[str, FloatRow]) -> FloatRow:
    """Scores each offer with its attribute `appeal`."""
    return inputs["offer"][:, 0]


def fails(inputs: Mapping[str, FloatRow]) -> FloatRow:
    """Scores nothing."""
    raise ModelFailure("fake/1: out of order")


class FakeModel:
    """A `server.domain.model.Model` that scores with a function and remembers what it was given."""

    def __init__(self, score: Score = appeal, described: Manifest | None = None) -> None:
        self.calls: list[Mapping[str, FloatRow]] = []
        self._manifest = described or manifest()
        self._score = score

    @property
    def manifest(self) -> Manifest:
        """What the model takes and gives."""
        return self._manifest

    def precompute(self, offers: Mapping[str, FloatRow]) -> dict[str, FloatRow]:
        """Nothing is computed in advance."""
        return dict(offers)

    def run(self, inputs: Mapping[str, FloatRow]) -> FloatRow:
        """Scores rows with the function."""
        self.calls.append(inputs)
        return self._score(inputs)


class Unprepared(FakeModel):
    """Fails for any offers at all."""

    def precompute(self, offers: Mapping[str, FloatRow]) -> dict[str, FloatRow]:
        raise ModelFailure("fake/1: cannot take these offers")
