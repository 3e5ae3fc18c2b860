"""The vault of a server that is to forget everything when it stops. Texts are encrypted here too."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from server.domain.clock import microseconds_of
from server.domain.vault import Holding, OpenedText, SealedText
from server.execution.state import utc_now
from server.storage.sealing import VaultSealer


class _Held(NamedTuple):
    event_time_us: int
    stored_us: int
    sealed: bytes | None


class MemoryVault:
    """`Vault` in memory."""

    def __init__(self, sealer: VaultSealer, clock: Callable[[], datetime] = utc_now) -> None:
        self._sealer = sealer
        self._clock = clock
        self._texts: dict[str, dict[str, _Held]] = {}
        self._scrubbed_us = 0

    @property
    def scrubbed_us(self) -> int:
        """The time of the last scrub."""
        return self._scrubbed_us

    async def put(self, texts: Sequence[SealedText]) -> None:
        """Keeps texts, each unless there is one with a later event time; takes back everything of some identifiers."""
        now_us = microseconds_of(self._clock())
        for identifier, attribute, event_time_us, sealed in texts:
            if not attribute:
                self._texts.pop(identifier, None)
                continue
            held = self._texts.setdefault(identifier, {})
            if attribute not in held or event_time_us >= held[attribute].event_time_us:
                held[attribute] = _Held(event_time_us, now_us, sealed)

    async def read(self, identifiers: Sequence[str]) -> dict[str, list[OpenedText]]:
        """The texts of identifiers, decrypted."""
        found = {identifier: self._opened(identifier) for identifier in identifiers}
        return {identifier: texts for identifier, texts in found.items() if texts}

    async def count(self, identifiers: Sequence[str]) -> int:
        """How many texts and times of texts there are of identifiers."""
        return sum(len(self._texts.get(identifier, ())) for identifier in identifiers)

    async def holdings(self, after: str, limit: int) -> list[Holding]:
        """Up to `limit` identifiers behind one that something is held of."""
        identifiers = sorted(identifier for identifier in self._texts if identifier > after)
        return [
            Holding(identifier, max(held.stored_us for held in self._texts[identifier].values()))
            for identifier in identifiers[:limit]
        ]

    async def scrub(self, time_us: int) -> None:
        """Notes the time; memory keeps nothing that was taken back."""
        self._scrubbed_us = max(self._scrubbed_us, time_us)

    async def close(self) -> None:
        """Has nothing to let go of."""

    def _opened(self, identifier: str) -> list[OpenedText]:
        return [
            OpenedText(attribute, held.event_time_us, self._sealer.open(identifier, attribute, held.sealed))
            for attribute, held in sorted(self._texts.get(identifier, {}).items())
            if held.sealed is not None
        ]
