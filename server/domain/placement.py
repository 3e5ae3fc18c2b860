"""Placements: where answers are shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Diversity:
    """At most `most` offers of a decision have the same value of an attribute of offers."""

    by: str
    most: int


@dataclass(frozen=True, slots=True)
class Placement:
    """A place with `slots` for offers. `model` is `name/version`, or empty to rank by value alone.

    `fallback_offers` are shown, if eligible, when the model cannot answer. `deadline_ms` bounds a decision here.
    At most `max_per_group` offers of an exclusion group are shown together.
    """

    id: str
    channels: tuple[str, ...]
    slots: int
    model: str = ""
    fallback_offers: tuple[str, ...] = ()
    deadline_ms: float | None = None
    enabled: bool = True
    max_per_group: int = 1
    diversity: tuple[Diversity, ...] = ()
