"""JSON Web Tokens: whose they are, if they are good.

The signature, audience and issuer are PyJWT's business. The times are compared here, with a clock that is passed in.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jwt
from jwt import PyJWK

from server.domain.caller import Caller, Role, roles_from
from server.domain.errors import ErrorReason, OpportuneError
from server.wire.static_tokens import MAX_NAME

_RETRY_MS = 6_000
_REQUIRED = ["exp", "iss", "aud", "sub"]
_OPTIONS: Any = {"require": _REQUIRED, "verify_exp": False, "verify_nbf": False, "verify_iat": False}


class Keys(Protocol):
    """Where keys are found."""

    def find(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        """The key for a token, None if there is none yet."""
        ...


class TokenRules(NamedTuple):
    """What a token must be.

    Attributes:
        issuer: Who must have made it.
        audience: Whom it must be for.
        algorithms: What it may be signed with.
        roles_claim: Which claim has the roles, a list or words in a text; `a.b` is looked for in `a` as well.
        leeway_s: How far clocks may be apart.
    """

    issuer: str
    audience: str
    algorithms: frozenset[str]
    roles_claim: str = "roles"
    leeway_s: float = 30.0


class JsonWebTokens:
    """Verifies tokens of one issuer."""

    def __init__(self, keys: Keys, rules: TokenRules, clock: Callable[[], float]) -> None:
        """The clock tells seconds since 1970."""
        self._keys = keys
        self._rules = rules
        self._clock = clock

    def owner(self, token: str) -> Caller:
        """Whose token it is.

        Raises:
            OpportuneError: CREDENTIALS_INVALID or CREDENTIALS_EXPIRED; nothing of the token is in the message.
        """
        try:
            claims = self._claims(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise invalid_credentials() from None
        self._check_times(claims)
        name = claims["sub"]
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            raise invalid_credentials()
        return Caller(name, self._roles(claims), float(claims["exp"]) + self._rules.leeway_s)

    def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in self._rules.algorithms or not (key_id is None or isinstance(key_id, str)):
            raise invalid_credentials()
        key = self._keys.find(key_id, algorithm)
        if key is None:
            raise invalid_credentials(_RETRY_MS)
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self._rules.audience,
            issuer=self._rules.issuer,
            options=_OPTIONS,
        )
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now, leeway = self._clock(), self._rules.leeway_s
        expires = _time(claims["exp"])
        starts = [_time(claims[name]) for name in ("nbf", "iat") if name in claims]
        if any(start > now + leeway for start in starts):
            raise invalid_credentials()
        if now >= expires + leeway:
            raise expired_credentials()

    def _roles(self, claims: Mapping[str, Any]) -> frozenset[Role]:
        found: Any = claims
        claim = self._rules.roles_claim
        for name in [claim] if claim in claims else claim.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, str):
            found = found.split()
        return roles_from(found) if isinstance(found, list) else frozenset()


def invalid_credentials(retry_after_ms: int | None = None) -> OpportuneError:
    """The one answer to credentials that are not good."""
    message = "the credentials are not valid here"
    return OpportuneError(ErrorReason.CREDENTIALS_INVALID, message, retry_after_ms=retry_after_ms)


def expired_credentials() -> OpportuneError:
    """The answer to credentials that were good."""
    return OpportuneError(ErrorReason.CREDENTIALS_EXPIRED, "the credentials have expired")


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise invalid_credentials()
    return float(value)
