"""Models that score what a test says, without ONNX."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from server.domain.attribute import AttributeType, FloatRow
from server.domain.model import (
    RUN_LIMIT_NS,
    Calibration,
    CalibrationLine,
    Feature,
    Golden,
    Manifest,
    ModelFailure,
    ModelInput,
    ModelTimeout,
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

    def run(self, inputs: Mapping[str, FloatRow], limit_ns: int = RUN_LIMIT_NS) -> FloatRow:
        """Scores rows with the function."""
        self.calls.append(inputs)
        return self._score(inputs)


class ManualNs:
    """A clock in nanoseconds that stands still until a test moves it."""

    def __init__(self, now_ns: int = 1_000_000_000_000) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, *, ms: float = 0.0, us: float = 0.0) -> None:
        """Moves the time forward."""
        self.now_ns += round(ms * 1e6 + us * 1e3)


class SlowModel(FakeModel):
    """Takes `fixed_ns` and `per_row_ns` on a manual clock, and is cut off up to `granularity_ns` after its limit.

    With `cuttable` False it is one node that takes all the time, and comes to its end whatever its limit is.
    """

    def __init__(self, clock: ManualNs, fixed_ns: int = 100_000, per_row_ns: int = 1_000) -> None:
        super().__init__()
        self.clock = clock
        self.fixed_ns = fixed_ns
        self.per_row_ns = per_row_ns
        self.granularity_ns = 0
        self.cuttable = True
        self.limits_ns: list[int] = []

    def run(self, inputs: Mapping[str, FloatRow], limit_ns: int = RUN_LIMIT_NS) -> FloatRow:
        """Scores each offer with its attribute `appeal`, later."""
        self.limits_ns.append(limit_ns)
        needed_ns = self.fixed_ns + self.per_row_ns * len(inputs["offer"])
        if self.cuttable and needed_ns > limit_ns + self.granularity_ns:
            self.clock.now_ns += limit_ns + self.granularity_ns
            raise ModelTimeout("fake/1: cut off")
        self.clock.now_ns += needed_ns
        return super().run(inputs, limit_ns)


class Unprepared(FakeModel):
    """Fails for any offers at all."""

    def precompute(self, offers: Mapping[str, FloatRow]) -> dict[str, FloatRow]:
        raise ModelFailure("fake/1: cannot take these offers")
