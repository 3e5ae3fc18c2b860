"""ExportProfile: everything that is held about a customer, for a person to read."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple

from server.domain.attribute import Value
from server.domain.journal import Journal
from server.domain.profile import Profile, ProfileDelta
from server.domain.vault import Vault
from server.execution.state import Clock, State


class ExportedValue(NamedTuple):
    """One value that is held of an identifier. Sums and counts have no event time."""

    identifier: str
    store: str
    name: str
    value: Value
    event_time: datetime | None


class ExportedChange(NamedTuple):
    """One change that was made: a delta, or what happened in words."""

    source: str
    sequence: int
    receive_time: datetime
    delta: ProfileDelta | None
    description: str


ExportPart = Profile | ExportedValue | ExportedChange


class ExportProfile:
    """Exports what is held about a customer."""

    def __init__(self, state: State, journal: Journal, vault: Vault | None, clock: Clock) -> None:
        self._state = state

    async def __call__(self, customer_id: str) -> AsyncIterator[ExportPart]:
        """The profile, then each value of each identifier, then each change, oldest first."""
        raise NotImplementedError
        yield
