"""LinkIdentifiers and UnlinkIdentifier."""

from server.domain.clock import microseconds_of
from server.domain.errors import ErrorReason, OpportuneError, invalid_field
from server.domain.identifier import require_identifier
from server.domain.journal import IdentifiersLinked, IdentifierUnlinked
from server.domain.profile import Profile
from server.execution.profiles import GetProfile, profile_not_found, profile_of
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
        self._state = state

    async def __call__(self, customer_id: str, other_id: str) -> list[Profile]:
        """The profiles of the customers that were one, that of the identifier first.

        Raises:
            OpportuneError: INVALID_FIELD, NOT_LINKED, JOURNAL_FULL, JOURNAL_FAILED; PROFILE_NOT_FOUND if all of them
                have been erased meanwhile.
        """
        require_identifier("customer_id", customer_id)
        if other_id:
            require_identifier("other_id", other_id)
        before = self._members(customer_id, other_id)
        await self._writer.write(IdentifierUnlinked(microseconds_of(self._clock()), customer_id, other_id))
        # They are parted, so it is too late to refuse one of whom nothing is known but what was shown.
        profiles: list[Profile] = []
        for identifier in (customer_id, *before):
            if not any(identifier in profile.identifiers for profile in profiles):
                profiles += self._profile(identifier)
        if not profiles:
            raise profile_not_found()
        return profiles

    def _profile(self, identifier: str) -> list[Profile]:
        """What there is of an identifier; nothing if it has been erased meanwhile."""
        profiles = self._state.profiles
        row = profiles.find(identifier)
        if row < 0:
            return []
        return [profile_of(profiles, identifier, profiles.graph.customer(row), profiles.members(row), self._clock())]

    def _members(self, customer_id: str, other_id: str) -> list[str]:
        """The identifiers of the customer as they are now; refuses to part what is not linked."""
        profiles = self._state.profiles
        row = profiles.find(customer_id)
        links = [] if row < 0 else profiles.graph.links(row)
        other = profiles.find(other_id) if other_id else None
        if not any(row in link[:2] and (other is None or other in link[:2]) for link in links):
            raise OpportuneError(ErrorReason.NOT_LINKED, "the identifiers are not linked")
        return [profiles.name(member) for member in profiles.members(row)]
