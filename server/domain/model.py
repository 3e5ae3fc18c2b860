"""Propensity models: what they take, what they give, and how their output becomes a probability."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import AttributeType, FloatRow


class Scope(StrEnum):
    """What the rows of a model input are: the one customer, the offers, or each offer with the customer."""

    CUSTOMER = "customer"
    OFFER = "offer"
    PAIR = "pair"


class OutputKind(StrEnum):
    """What a model's output is."""

    LOG_ODDS = "log_odds"
    PROBABILITY = "probability"


@dataclass(frozen=True, slots=True)
class Feature:
    """One number that a model reads: an expression such as `customer.spend[offer.department]`, and its type.

    `values` are a category's values in the order of the codes that the model was trained with.
    """

    name: str
    type: AttributeType
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelInput:
    """One input tensor: float32 [1, features] for the customer, [offers, features] otherwise."""

    name: str
    scope: Scope
    features: tuple[Feature, ...]


class CalibrationLine(NamedTuple):
    """Calibrated log-odds = slope x log-odds + intercept (Platt, 1999)."""

    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """A line for each group of offers, told apart by the category attribute `by` (`offer.campaign_type`)."""

    default: CalibrationLine
    by: str | None = None
    groups: Mapping[str, CalibrationLine] = field(default_factory=dict)

    def lines(self, groups: Sequence[str | None]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Slopes and intercepts for rows of these groups."""
        lines = [self.default if group is None else self.groups.get(group, self.default) for group in groups]
        return np.array([line.slope for line in lines]), np.array([line.intercept for line in lines])


@dataclass(frozen=True, slots=True)
class Golden:
    """Inputs whose outputs are known, checked when the model is loaded."""

    inputs: Mapping[str, FloatRow]
    output: FloatRow
    propensity: NDArray[np.float64]
    groups: tuple[str, ...]


class ScoreReference(NamedTuple):
    """How a model's propensities were spread over what it was trained on.

    Attributes:
        edges: Where one bin ends and the next begins, rising; a propensity that equals an edge is above it.
        shares: Of the propensities in each bin, one more than there are edges; they add up to 1.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `manifest.toml` says about one version of a model."""

    name: str
    version: str
    file: Path
    sha256: str
    inputs: tuple[ModelInput, ...]
    output: str
    output_kind: OutputKind
    calibration: Calibration
    golden: Golden
    scores: ScoreReference | None = None

    @property
    def id(self) -> str:
        """`name/version`, which is how placements name a model."""
        return f"{self.name}/{self.version}"


RUN_LIMIT_NS = 1_000_000_000
"""How long a run may take that nobody waits for: a run blocks everything else."""


class Model(Protocol):
    """A model that is loaded and verified."""

    @property
    def manifest(self) -> Manifest:
        """What the model takes and gives."""
        ...

    def precompute(self, offers: Mapping[str, FloatRow]) -> dict[str, FloatRow]:
        """Computes what depends on offers alone: the inputs of scope offer, to float32 [offers, …] for `run`.

        Raises:
            ModelFailure: the model failed.
        """
        ...

    def run(self, inputs: Mapping[str, FloatRow], limit_ns: int = RUN_LIMIT_NS) -> FloatRow:
        """Scores rows: float32 [rows], raw, of the manifest's output kind.

        Args:
            inputs: The inputs of scope customer and pair, and the rows of what `precompute` gave.
            limit_ns: How long the run may take.

        Raises:
            ModelTimeout: the run was cut off at its limit.
            ModelFailure: the model failed, or gave something that is not a finite number.
        """
        ...


class ModelFailure(Exception):  # noqa: N818 - an answer on a lower rung, not an error of the call
    """A model that could not score; the decision goes on without it and says so."""


class ModelTimeout(ModelFailure):
    """A model that took longer than it may and was cut off."""
