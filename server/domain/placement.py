"""Placements: where answers are shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """A place with `slots` for offers. `model` is `name/version`, or empty to rank by value alone.

    `fallback_offers` are shown, if eligible, when the model cannot answer. `deadline_ms` bounds a decision here.
    """

    id: str
    channels: tuple[str, ...]
    slots: int
    model: str = ""
    fallback_offers: tuple[str, ...] = ()
    deadline_ms: float | None = None
    enabled: bool = True
