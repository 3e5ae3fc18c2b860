"""Facts in a few words: entries are made, applied and kept, so that the same fold can be made again."""

from collections.abc import Iterable, Sequence

from server.domain.attribute import Schema
from server.domain.identity import IdentityPolicy
from server.domain.journal import (
    CatalogPublished,
    DeltasReceived,
    Entry,
    IdentifiersLinked,
    IdentifierUnlinked,
    Record,
)
from server.domain.profile import Profile, ProfileDelta, RejectedDelta
from server.execution.facts import CompiledDelta, Facts
from server.execution.profiles import profile_of
from server.execution.snapshot import Capture, capture, restore
from server.input.digest import digest_of
from tests.support.clock import NOON, NOON_US, TODAY


def published(schema: Schema, policy: IdentityPolicy | None = None, version: int = 1) -> CatalogPublished:
    """The entry of a catalog with these attributes of customers."""
    return CatalogPublished(NOON_US, version, f"etag-{version}", "", schema, policy or IdentityPolicy())


def received(*deltas: ProfileDelta, source: str = "", sequence: int = 0, time_us: int = NOON_US) -> DeltasReceived:
    """The entry of one request of a source."""
    return DeltasReceived(time_us, source, sequence, deltas)


def linked(left: str, right: str) -> IdentifiersLinked:
    """The entry that joins two identifiers."""
    return IdentifiersLinked(NOON_US, left, right)


def unlinked(left: str, right: str = "") -> IdentifierUnlinked:
    """The entry that parts two identifiers."""
    return IdentifierUnlinked(NOON_US, left, right)


def apply(facts: Facts, *entries: Entry) -> Sequence[RejectedDelta]:
    """Applies the next entries; returns what was refused of the last one."""
    refused: Sequence[RejectedDelta] = ()
    for entry in entries:
        refused = facts.apply(Record(facts.offset + 1, entry)).refused
    return refused


def apply_compiled(facts: Facts, entry: Entry) -> Sequence[RejectedDelta]:
    """Applies the next entry with its deltas compiled beforehand, as the server does before it writes them."""
    compiled = None
    if isinstance(entry, DeltasReceived):
        compiled = [CompiledDelta(place, delta, facts.compile(delta)) for place, delta in enumerate(entry.deltas)]
    return facts.apply(Record(facts.offset + 1, entry), compiled).refused


def folded(entries: Iterable[Entry]) -> Facts:
    """The facts that entries come to."""
    facts = Facts()
    apply(facts, *entries)
    return facts


def captured(facts: Facts) -> Capture:
    """The beginning of a snapshot."""
    return capture(facts, NOON_US)


def restored(taken: Capture) -> Facts:
    """The facts of a snapshot whose pages are all asked for now."""
    return restore(taken.header, list(taken.pages))


def digest(facts: Facts) -> str:
    """The digest of all profiles at `NOON`."""
    return digest_of(facts.profiles, TODAY)


def profile(facts: Facts, customer_id: str) -> Profile:
    """What is known at `NOON` about a customer that is known."""
    profiles = facts.profiles
    row = profiles.find(customer_id)
    assert row >= 0
    return profile_of(profiles, customer_id, profiles.graph.customer(row), profiles.members(row), NOON)


def profiles_of(facts: Facts, customer_ids: Sequence[str]) -> list[tuple[object, ...]]:
    """What is known about customers, but for versions, which count entries and not facts."""
    found = [profile(facts, customer_id) for customer_id in customer_ids]
    return [(p.customer_id, p.attributes, p.consents, p.update_time, p.identifiers) for p in found]
