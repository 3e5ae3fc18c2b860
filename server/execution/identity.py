"""LinkIdentifiers and UnlinkIdentifier."""

from server.domain.clock import microseconds_of
from server.domain.errors import ErrorReason, OpportuneError, invalid_field
from server.domain.identifier import require_identifier
from server.domain.journal import IdentifiersLinked, IdentifierUnlinked
from server.domain.profile import Profile
from server.execution.profiles import GetProfile
from server.execution.state import Clock, State
from server.execution.writer import Writer


class LinkIdentifiers:
    """Joins two identifiers: they are one customer's."""

    def __init__(self, state: State, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._profile = GetProfile(state, clock)
        self._state = state

    async def __call__(self, customer_id: str, other_id: str) -> Profile:
        """The joined profile.

        Raises:
            OpportuneError: INVALID_FIELD, NO_CATALOG, TOO_MANY_IDENTIFIERS, JOURNAL_FULL, JOURNAL_FAILED.
        """
        require_identifier("customer_id", customer_id)
        require_identifier("other_id", other_id)
        if customer_id == other_id:
            raise invalid_field("other_id", "is the same identifier")
        # Before the first catalog nobody has said how identifiers may be joined.
        _ = self._state.catalog
        entry = IdentifiersLinked(microseconds_of(self._clock()), customer_id, other_id)
        written = await self._writer.write(entry)
        for refused in written.refused:
            raise refused.error
        return self._profile(customer_id)


class UnlinkIdentifier:
    """Parts identifiers, as if they had never been joined."""

    def __init__(self, state: State, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._profile = GetProfile(state, clock)
        self._state = state

    async def __call__(self, customer_id: str, other_id: str) -> list[Profile]:
        """The profiles of the customers that were one, that of the identifier first.

        Raises:
            OpportuneError: INVALID_FIELD, NOT_LINKED, JOURNAL_FULL, JOURNAL_FAILED.
        """
        require_identifier("customer_id", customer_id)
        if other_id:
            require_identifier("other_id", other_id)
        before = self._members(customer_id, other_id)
        await self._writer.write(IdentifierUnlinked(microseconds_of(self._clock()), customer_id, other_id))
        profiles = [self._profile(customer_id)]
        for identifier in before:
            if not any(identifier in profile.identifiers for profile in profiles):
                profiles.append(self._profile(identifier))
        return profiles

    def _members(self, customer_id: str, other_id: str) -> list[str]:
        """The identifiers of the customer as they are now; refuses to part what is not linked."""
        profiles = self._state.profiles
        row = profiles.find(customer_id)
        links = [] if row < 0 else profiles.graph.links(row)
        other = profiles.find(other_id) if other_id else None
        if not any(row in link[:2] and (other is None or other in link[:2]) for link in links):
            raise OpportuneError(ErrorReason.NOT_LINKED, "the identifiers are not linked")
        return [profiles.name(member) for member in profiles.members(row)]
