"""Who calls, and what they may do."""

from collections.abc import Iterable
from enum import Enum
from math import inf
from typing import NamedTuple

SIGNATURES = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""How tokens may be signed: by a private key. Neither `none` nor HMAC: who verifies an HMAC can make one."""


class Role(Enum):
    """What a caller may do. Names are those of `opportune.v1.Role`; values are the words in tokens and files."""

    RANK = "rank"
    INGEST = "ingest"
    CATALOG = "catalog"
    PRIVACY = "privacy"
    ADMIN = "admin"


class Caller(NamedTuple):
    """Somebody whose credentials are good.

    Attributes:
        name: As the credentials say it; for logs and the audit log.
        roles: What they may do.
        expires_s: Until when the credentials are good, in seconds since 1970.
    """

    name: str
    roles: frozenset[Role]
    expires_s: float = inf

    def may(self, role: Role) -> bool:
        """Whether the caller has a role, or may do everything."""
        return role in self.roles or Role.ADMIN in self.roles


def roles_from(words: Iterable[object]) -> frozenset[Role]:
    """The roles among words; what is no role of ours is another service's, and is passed over."""
    known = {role.value: role for role in Role}
    return frozenset(known[word] for word in words if isinstance(word, str) and word in known)
