"""Bounds on figures: `thresholds.toml` says what ratios may come to, and `check` holds figures against it."""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("thresholds.toml")


class BoundsError(Exception):
    """The file of bounds, or a file of figures, is not what it should be."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One bound.

    Attributes:
        scenario: Whose figures it is about.
        field: Which figure, with dots into what is nested: `stream.deltas_per_s`.
        at_most, at_least: One of them, or both.
        where: What the figures must be like for the bound to apply: values by field.
        goal: What the project wants; None if the bound is that.
        why: What the bound keeps from happening.
    """

    scenario: str
    field: str
    why: str
    at_most: float | None = None
    at_least: float | None = None
    goal: float | None = None
    where: Mapping[str, object] | None = None

    def applies(self, figures: Mapping[str, Any]) -> bool:
        """Whether these figures are of its scenario, measured as it wants them."""
        wanted = {"scenario": self.scenario, **(self.where or {})}
        return all(found(figures, field) == value for field, value in wanted.items())

    def holds(self, figures: Mapping[str, Any]) -> bool:
        """Whether the figure keeps to it; a figure that is missing does not."""
        value = found(figures, self.field)
        if not isinstance(value, int | float):
            return False
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    def __str__(self) -> str:
        parts = [f"at most {self.at_most:g}"] if self.at_most is not None else []
        parts += [f"at least {self.at_least:g}"] if self.at_least is not None else []
        return " and ".join(parts) + (f" (goal {self.goal:g})" if self.goal is not None else "")


def found(figures: Mapping[str, Any], field: str) -> Any:
    """The figure at a path with dots, None if there is none."""
    value: Any = figures
    for key in field.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def read_bounds(file: Path = FILE) -> list[Bound]:
    """The bounds of a file.

    Raises:
        BoundsError: it has a bound that says nothing, or a key that is none.
    """
    bounds = []
    for number, entry in enumerate(tomllib.loads(file.read_text(encoding="utf-8")).get("bound", [])):
        try:
            bound = Bound(**entry)
        except TypeError as error:
            raise BoundsError(f"{file}: bound[{number}]: {error}") from None
        if bound.at_most is None and bound.at_least is None:
            raise BoundsError(f"{file}: bound[{number}] has neither at_most nor at_least")
        bounds.append(bound)
    return bounds


def read_figures(files: Iterable[Path]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """What scenarios have written with `--json`.

    Raises:
        BoundsError: a file has no figures.
    """
    for file in files:
        try:
            figures = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BoundsError(f"{file}: {error}") from None
        if not isinstance(figures, dict) or "scenario" not in figures:
            raise BoundsError(f"{file}: not the figures of a scenario")
        yield file, figures


def check(files: Sequence[Path], bounds: Sequence[Bound]) -> bool:
    """Prints a line for each bound that applies, and says whether all of them hold.

    Raises:
        BoundsError: a file has no figures, or no bound applies to it.
    """
    all_hold = True
    for file, figures in read_figures(files):
        of_file = [bound for bound in bounds if bound.applies(figures)]
        if not of_file:
            raise BoundsError(f"{file}: no bound is about figures like these")
        for bound in of_file:
            holds, value = bound.holds(figures), found(figures, bound.field)
            all_hold &= holds
            shown = f"{value:.4g}" if isinstance(value, int | float) else "missing"
            print(f"{'ok  ' if holds else 'FAIL'} {bound.scenario:9} {bound.field:28} {shown:>9}  {bound}")
            if not holds:
                print(f"     {bound.why}")
    return all_hold
