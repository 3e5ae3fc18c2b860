"""Who is who: how identifiers are joined into customers, and when they must not be."""

from dataclasses import dataclass

from server.domain.matching import MatchRule

DEFAULT_MAX_IDENTIFIERS = 32


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """What a catalog says about joining identifiers.

    Attributes:
        max_identifiers: A customer has at most so many; a join that would make more is refused and recorded, as it
            is rather a till's shared card than a person.
        rules: Which identifying texts must agree for two identifiers to be joined by themselves.
    """

    max_identifiers: int = DEFAULT_MAX_IDENTIFIERS
    rules: tuple[MatchRule, ...] = ()


DEFAULT_POLICY = IdentityPolicy()
"""What holds for a catalog that says nothing of identities."""
